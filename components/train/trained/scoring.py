"""Scores a checkpoint on the test split, without training: accuracy, a ``scores`` artifact, clips per second."""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch

from components.contracts import checkpoint, dataset, scores
from components.contracts.accuracy import confusion_matrix, mean_average_precision, mean_class_accuracy, top_k
from components.contracts.checkpoint import Checkpoint, Tensors
from components.contracts.config import TrainStage
from components.contracts.errors import InputError
from components.contracts.same_data import expect_same_data
from components.contracts.skeleton import load_layout
from components.train.clips.gather import ClipSource
from components.train.distributed.process_group import default_device
from components.train.model.recogniser import Recogniser
from components.train.trained.inference import score


@dataclass(frozen=True)
class Tested:
    """Accuracy on a test split, as shares of 1 (definitions: ``contracts.accuracy``), and the speed."""

    samples: int
    top1: float
    top5: float
    mean_class: float
    mean_average_precision: float
    clips_per_second: float


def test_checkpoint(
    stage: TrainStage, data: Path, source: Path, output: Path | None, *, stream: str, best: bool = False
) -> Tested:
    """Score the protocol's test split with a checkpoint.

    Args:
        stage: the configuration that the checkpoint fits.
        data: ``dataset`` artifact.
        source: ``checkpoint`` artifact.
        output: where to write a ``scores`` artifact, if anywhere.
        stream: the checkpoint's stream.
        best: use the weights of the best tested epoch instead of the last one's.

    Raises:
        InputError: the checkpoint is of another stream or network, or has no such weights.
    """
    opened, packed = checkpoint.open(source), dataset.open(data)
    if opened.state.stream != stream:
        raise InputError(f"stream {opened.state.stream!r} found, {stream!r} expected", at=source)
    expect_same_data(packed.config.layout, packed.config.classes, stage.data, at=data)
    device = default_device()
    model = fitted(source, stage, chosen_weights(source, opened, best=best), opened.state.text_dimensions).to(device)
    clips = ClipSource(packed, stage.data.max_persons, device)
    state = opened.state
    began = time.monotonic()
    numbers, past = packed.split(stage.data.chosen.test), state.history
    result = score(model, clips, packed, numbers, stage, stream=state.stream, round_number=state.round, history=past)
    seconds = time.monotonic() - began
    if output is not None:
        made_from = {"dataset": packed.digest, "checkpoint": opened.digest}
        scores.write(output, result, made_from=made_from, config=stage)
    predicted, labels = result.probabilities, result.labels
    return Tested(
        samples=len(labels),
        top1=top_k(predicted, labels, 1),
        top5=top_k(predicted, labels, 5),
        mean_class=mean_class_accuracy(confusion_matrix(predicted, labels)),
        mean_average_precision=mean_average_precision(predicted, labels),
        clips_per_second=len(labels) * stage.train.test_clips / max(seconds, 1e-9),
    )


def chosen_weights(source: Path, opened: Checkpoint, *, best: bool) -> Tensors:
    """Return the last weights of a checkpoint, or the best ones; ``InputError`` if it has none."""
    if best and not opened.best:
        raise InputError("no best weights found; training keeps them with train.evaluate_every=1", at=source)
    return opened.best if best else opened.model


def fitted(source: Path, stage: TrainStage, weights: Tensors, dimensions: int) -> Recogniser:
    """Return the configured recogniser with these weights; the error names the first tensor that does not fit."""
    joints, classes = len(load_layout(stage.data.layout).joints), len(stage.data.classes)
    model = Recogniser(stage.model, joints, stage.data.max_persons, classes, dimensions)
    expected = {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()}
    for name in sorted(expected.keys() | weights.keys()):
        found = tuple(weights[name].shape) if name in weights else "nothing"
        if found != expected.get(name, "nothing"):
            wanted = expected.get(name, "nothing")
            raise InputError(f"{name}: {found} found, {wanted} expected by the configuration", at=source)
    model.load_state_dict({name: torch.from_numpy(np.array(array)) for name, array in weights.items()})
    return model
