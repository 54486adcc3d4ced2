"""The train stage as KFP components: in the task's own pod, or on several nodes in a TrainJob of Kubeflow Trainer.

``model`` joins what the streams have learnt; ``baseline`` is a simpler method to hold them against."""

from kfp import dsl

from components.runtime.task import image


@dsl.component(base_image=image("train"), install_kfp_package=False)
def train(
    stage: str,
    code: str,
    stream: str,
    round_number: int,
    dataset: dsl.Input[dsl.Dataset],
    constraints: dsl.Input[dsl.Artifact],
    checkpoint: dsl.Output[dsl.Model],
    confusion: dsl.Output[dsl.Artifact],
    scores: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    previous: dsl.Input[dsl.Model] = None,
):
    """Train one stream for one round under the agent's constraints.

    Args:
        stage: Configuration of the stage for this stream (JSON).
        code: Digest of the stage's source, so that the cache knows a change of code.
        stream: j, b, k, jm, bm or km.
        round_number: From 1; a later round goes on from the checkpoint of the one before.
        dataset: The packed skeletons.
        constraints: Critical joints and descriptions that guide this round.
        checkpoint: Weights, optimiser state and history, from which the next round goes on.
        confusion: Who was taken for whom, on the training split (for the agent) and on the test split.
        scores: Class probabilities of the test split, and after the last round of held-out training samples, if any.
        metrics: Top-1 of the test split, and loss and top-1 of the last training epoch.
        previous: Checkpoint of the round before; none in round 1.
    """
    from components.runtime.task import resume_place, task

    with task(f"train {stream} round {round_number}", "train", code):
        from pathlib import Path

        from components.contracts.artifact import digest
        from components.contracts.config import TrainStage, parse_section
        from components.train.distributed import torchrun
        from components.train.kfp_outputs import show
        from components.train.round import Round

        inputs = [digest(Path(artifact.path)) for artifact in (dataset, constraints, previous) if artifact]
        place = resume_place(f"{stream}-r{round_number}", stage, code, inputs, beside=checkpoint.uri)
        section, before = parse_section(TrainStage, stage), previous.path if previous else None
        what = Round(section, stream, round_number, dataset.path, constraints.path, before)
        torchrun.train_in_pod(torchrun.gpus() or 1, what, output=Path(checkpoint.path).parent, resume=place)
        show(checkpoint, confusion, scores, metrics)


@dsl.component(base_image=image("train"), install_kfp_package=False)
def train_job(
    stage: str,
    code: str,
    stream: str,
    round_number: int,
    nodes: int,
    gpus: str,
    accelerator: str,
    dataset: dsl.Input[dsl.Dataset],
    constraints: dsl.Input[dsl.Artifact],
    checkpoint: dsl.Output[dsl.Model],
    confusion: dsl.Output[dsl.Artifact],
    scores: dsl.Output[dsl.Artifact],
    metrics: dsl.Output[dsl.Metrics],
    previous: dsl.Input[dsl.Model] = None,
):
    """Train one stream for one round under the agent's constraints, on several nodes.

    Args:
        stage: Configuration of the stage for this stream (JSON).
        code: Digest of the stage's source, so that the cache knows a change of code.
        stream: j, b, k, jm, bm or km.
        round_number: From 1; a later round goes on from the checkpoint of the one before.
        nodes: Nodes of the TrainJob.
        gpus: GPUs of each node; 0 trains on the CPU.
        accelerator: Resource name of the GPU.
        dataset: The packed skeletons.
        constraints: Critical joints and descriptions that guide this round.
        checkpoint: Weights, optimiser state and history, from which the next round goes on.
        confusion: Who was taken for whom, on the training split (for the agent) and on the test split.
        scores: Class probabilities of the test split.
        metrics: Top-1 of the test split, and loss and top-1 of the last training epoch.
        previous: Checkpoint of the round before; none in round 1.
    """
    from components.runtime.task import task

    with task(f"train {stream} round {round_number}", "train", code):
        from pathlib import Path

        from components.contracts.artifact import digest
        from components.contracts.config import TrainStage, parse_section
        from components.train.distributed import trainjob
        from components.train.kfp_outputs import show
        from components.train.round import Round

        inputs = [digest(Path(artifact.path)) for artifact in (dataset, constraints, previous) if artifact]
        what = Round(
            parse_section(TrainStage, stage),
            stream,
            round_number,
            dataset.uri,
            constraints.uri,
            previous.uri if previous else None,
        )
        job = trainjob.Job(what, trainjob.folder(), (stage, code, nodes, gpus, inputs))
        artifacts = {"checkpoint": checkpoint, "confusion": confusion, "scores": scores}
        outputs = {name: Path(artifact.path) for name, artifact in artifacts.items()}
        trainjob.run(job, trainjob.Nodes.read(nodes, gpus, accelerator), outputs)
        show(checkpoint, confusion, scores, metrics)


@dsl.component(base_image=image("train"), install_kfp_package=False)
def model(
    stage: str,
    code: str,
    checkpoints: dsl.Input[list[dsl.Model]],
    model: dsl.Output[dsl.Model],
):
    """Join the last checkpoints of all streams into the model that predicts.

    Args:
        stage: Configuration of the evaluate stage (JSON), which has the streams' weights.
        code: Digest of the stage's source, so that the cache knows a change of code.
        checkpoints: Of every stream, after the last round.
        model: The networks of all streams with their weights; without the optimiser's state.
    """
    from components.runtime.task import describe, task

    with task("model", "train", code):
        from pathlib import Path

        from components.contracts.config import EvaluateStage, parse_section
        from components.train.trained.joining import join_streams

        paths = [Path(checkpoint.path) for checkpoint in checkpoints]
        join_streams(parse_section(EvaluateStage, stage), paths, Path(model.path))
        model.metadata.update(describe(model.path))


@dsl.component(base_image=image("train"), install_kfp_package=False)
def baseline(
    stage: str,
    code: str,
    dataset: dsl.Input[dsl.Dataset],
    scores: dsl.Output[dsl.Artifact],
):
    """Train a small temporal convolution on joints and velocities: what a method reaches that knows no skeleton.

    Args:
        stage: Configuration of the baseline (JSON), which says whether it is wanted.
        code: Digest of the stage's source, so that the cache knows a change of code.
        dataset: The packed skeletons.
        scores: Class probabilities of the test split; without any where the experiment wants no baseline.
    """
    from components.runtime.task import describe, task

    with task("baseline", "train", code):
        from pathlib import Path

        from components.contracts.config import BaselineStage, parse_section
        from components.train.distributed.process_group import default_device
        from components.train.trained.baseline import write_baseline

        section, output = parse_section(BaselineStage, stage), Path(scores.path)
        write_baseline(section, Path(dataset.path), output, default_device())
        scores.metadata.update(describe(scores.path))
