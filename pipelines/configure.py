"""The first task: validate the experiment and give every stage its own part of it."""

from kfp import dsl

from components.runtime.task import image


@dsl.component(base_image=image("preprocess"), install_kfp_package=False)
def configure(
    config: str,
    overrides: dict,
    rounds: int,
    code: str,
    presets: str,
    preprocess: dsl.OutputPath(str),  # type: ignore[valid-type]
    agent: dsl.OutputPath(str),  # type: ignore[valid-type]
    evaluate: dsl.OutputPath(str),  # type: ignore[valid-type]
    baseline: dsl.OutputPath(str),  # type: ignore[valid-type]
    streams: str = "",
) -> list:
    """Validate the experiment and cut it into the stages' parts, so that each stage's cache knows only its own.

    Args:
        config: The experiment: the name of a preset, s3://bucket/my.yaml, or YAML text.
        overrides: Dotted keys that replace values of the experiment, such as {"train.epochs": 4}.
        rounds: Rounds of this pipeline, which is compiled for a number of rounds.
        code: Digest of the source, so that the cache knows a change of code.
        presets: Digest of the presets, so that the cache knows a change of one.
        preprocess: Configuration of the stage.
        agent: Configuration of the stage.
        evaluate: Configuration of the stage.
        baseline: Configuration of the temporal convolution that is trained beside the streams.
        streams: Streams to train, such as j,b,k; empty: the experiment's.

    Returns:
        For every stream its name and the configurations of its training and of its agent.
    """
    from components.runtime.task import task

    with task("configure", "", code):
        from pathlib import Path

        from components.contracts.errors import InputError
        from components.runtime.experiments import cut, presets_digest, read_experiment_of_run

        if presets and presets != presets_digest():
            raise InputError("the presets here are not those that the pipeline was compiled with; build the image anew")
        chosen = [name.strip() for name in streams.split(",") if name.strip()]
        settings = {**overrides, **({"streams": chosen} if chosen else {}), "rounds": rounds}
        parts = cut(read_experiment_of_run(config, settings))
        files = {preprocess: parts.preprocess, agent: parts.agent, evaluate: parts.evaluate, baseline: parts.baseline}
        for file, content in files.items():
            Path(file).write_text(content)
    return [{"stream": stream, "train": stage, "agent": parts.agent} for stream, stage in parts.train.items()]
