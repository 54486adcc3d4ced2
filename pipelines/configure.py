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
) -> list:
    """Validate the experiment and cut it into the stages' parts, so that each stage's cache knows only its own.

    Args:
        config: The experiment (YAML text).
        overrides: Dotted keys that replace values of the experiment, such as {"train.epochs": 4}.
        rounds: Rounds of this pipeline, which is compiled for a number of rounds.
        code: Digest of the source, so that the cache knows a change of code.
        preprocess: Configuration of the stage (JSON).
        agent: Configuration of the stage (JSON).
        evaluate: Configuration of the stage (JSON).

    Returns:
        For every stream its name and the configurations (JSON) of its training and of its agent.
    """
    from components.runtime.task import task

    with task("configure"):
        from pathlib import Path

        from components.contracts.config import parse_experiment

        experiment = parse_experiment(config, "config", {**overrides, "rounds": rounds})
        asked = experiment.stage_agent().to_json()
        Path(preprocess).write_text(experiment.stage_preprocess().to_json())
        Path(agent).write_text(asked)
        Path(evaluate).write_text(experiment.stage_evaluate().to_json())
        items = [(stream, experiment.stage_train(stream).to_json()) for stream in experiment.streams]
    return [{"stream": stream, "train": stage, "agent": asked} for stream, stage in items]
