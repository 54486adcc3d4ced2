"""The first task: validate the experiment and give every stage its own part of it."""

from kfp import dsl

from components.runtime.task import image


@dsl.component(base_image=image("preprocess"), install_kfp_package=False)
def configure(
    config: str,
    overrides: dict,
    rounds: int,
    code: str,
    preprocess: dsl.OutputPath(str),  # type: ignore[valid-type]
    agent: dsl.OutputPath(str),  # type: ignore[valid-type]
    evaluate: dsl.OutputPath(str),  # type: ignore[valid-type]
    presets: dict = {},  # noqa: B006
    streams: str = "",
    protocol: str = "",
    llm_model: str = "",
    llm_base_url: str = "",
    llm_max_requests: int = 0,
    llm_max_tokens: int = 0,
) -> list:
    """Validate the experiment and cut it into the stages' parts, so that each stage's cache knows only its own.

    Args:
        config: The experiment: YAML text, or the name of one of the presets.
        overrides: Dotted keys that replace values of the experiment, such as {"train.epochs": 4}.
        rounds: Rounds of this pipeline, which is compiled for a number of rounds.
        code: Digest of the source, so that the cache knows a change of code.
        preprocess: Configuration of the stage (JSON).
        agent: Configuration of the stage (JSON).
        evaluate: Configuration of the stage (JSON).
        presets: Experiments that have a name (YAML text).
        streams: Streams to train, such as j,b,k; empty: the experiment's.
        protocol: Protocol of the experiment; empty: the experiment's.
        llm_model: Model that the agent asks instead of the experiment's; empty: the experiment's.
        llm_base_url: OpenAI-compatible endpoint; empty: the experiment's.
        llm_max_requests: Classes that a round asks about at most; 0: the experiment's.
        llm_max_tokens: Tokens of a round at most; 0: the experiment's.

    Returns:
        For every stream its name and the configurations (JSON) of its training and of its agent.
    """
    from components.runtime.task import task

    with task("configure", "", code):
        from pathlib import Path

        from components.contracts.config import parse_experiment
        from components.contracts.errors import InputError

        text = presets.get(config.strip(), config)
        if ":" not in text:
            raise InputError(f"config: found {text!r}, expected YAML text or one of {', '.join(sorted(presets))}")
        filled = {
            "streams": [name.strip() for name in streams.split(",") if name.strip()],
            "data.protocol": protocol,
            "agent.provider": "openai" if llm_model else "",
            "agent.model": llm_model,
            "agent.base_url": llm_base_url,
            "agent.max_requests": llm_max_requests,
            "agent.max_tokens": llm_max_tokens,
        }
        settings = {**overrides, **{key: value for key, value in filled.items() if value}, "rounds": rounds}
        experiment = parse_experiment(text, "config", settings)
        asked = experiment.stage_agent().to_json()
        Path(preprocess).write_text(experiment.stage_preprocess().to_json())
        Path(agent).write_text(asked)
        Path(evaluate).write_text(experiment.stage_evaluate().to_json())
        items = [(stream, experiment.stage_train(stream).to_json()) for stream in experiment.streams]
    return [{"stream": stream, "train": stage, "agent": asked} for stream, stage in items]
