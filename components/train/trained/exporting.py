"""A trained model as one ONNX graph: packed joints in, the ensemble's class probabilities out.

The streams (bones, k-bones, their motion), all networks, softmax and the weighted mean are inside. Inputs:

- ``joints``, float32 ``[N, M, T, V, 3]``: N clips of T frames, packed and normalised as ``preprocess`` does it; persons
  that are not there are zero. Averaging over several clips of a sequence is left to whoever asks.
- ``following``, of the same shape, only where a motion stream was trained with ``train.motion`` other than ``clip``:
  the positions to which the motion goes (``sequence``: one frame of the sequence later; ``joined``: one frame of the
  clips later, put one after the other).

Its output is ``probabilities``, float32 ``[N, classes]``. The file's metadata say the rest (classes, joints, frames,
normalisation, sampling, streams, weights).
"""

from __future__ import annotations

import json
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from components.contracts.artifact import WRITE_FAILURES
from components.contracts.errors import InputError, ResourceError
from components.train.clips.streams import stream_features
from components.train.trained.ensemble import Ensemble, Member

OPSET = 17
TOLERANCE = 1e-4
"""Largest difference of a probability between the file, under onnxruntime, and the networks."""
_CHECKED = 3
_MISSING = "{package} is not installed; .venv/bin/python -m pip install -e '.[export]' installs what export needs"


@dataclass(frozen=True)
class Exported:
    """``difference``: the largest one of a probability, over random and over body-like clips; None: not checked, since
    onnxruntime is not installed."""

    inputs: tuple[str, ...]
    shape: tuple[int, ...]
    difference: float | None


class Graph(nn.Module):
    """What is exported: all streams of an ensemble on the same joints."""

    def __init__(self, model: Ensemble) -> None:
        super().__init__()
        self.networks = nn.ModuleList(member.network for member in model.members)
        self.streams = [member.stream for member in model.members]
        self.follows = [needs_following(member) for member in model.members]
        self.layout, self.weights = model.layout, model.weights

    def forward(self, joints: Tensor, following: Tensor | None = None) -> Tensor:
        """Return the probabilities of ``[N, M, T, V, 3]``."""
        total = torch.zeros(())
        for network, stream, follows, weight in zip(
            self.networks, self.streams, self.follows, self.weights, strict=True
        ):
            later = following if follows else None
            features = _stream(joints, self.layout.pairs(stream)[:, 1].tolist(), stream, later)
            total = total + network.classify(features).softmax(dim=1) * weight  # type: ignore[operator]
        return total


def needs_following(member: Member) -> bool:
    """Whether the motion of a stream goes to positions that are not those of the clip's next frame."""
    return member.stream.endswith("m") and member.stage.train.motion != "clip"


def _stream(joints: Tensor, parents: Sequence[int], stream: str, later: Tensor | None) -> Tensor:
    """Do what ``stream_features`` does, which writes into its results: that, ONNX has no word for."""
    if not stream.startswith("j"):
        at = torch.tensor(parents)
        joints = joints - joints.index_select(3, at)
        later = None if later is None else later - later.index_select(3, at)
    if not stream.endswith("m"):
        return joints
    if later is not None:
        return later - joints
    return torch.cat([joints[:, :, 1:] - joints[:, :, :-1], torch.zeros_like(joints[:, :, :1])], dim=2)


def export(model: Ensemble, output: Path, *, stream: str | None = None) -> Exported:
    """Write a model as ONNX, and hold the file against the networks.

    Args:
        model: what to export.
        output: the file.
        stream: this stream alone, instead of the ensemble.

    Raises:
        InputError: the model has no such stream, its streams take clips of different lengths, or the file cannot be
            written.
        ResourceError: onnx is not installed, or what was written says something else than the networks.
    """
    try:
        import onnx
    except ImportError:
        raise ResourceError(_MISSING.format(package="onnx")) from None
    model = _only(model, stream)
    lengths = {member.stream: member.stage.train.frames for member in model.members}
    if len(set(lengths.values())) > 1:
        said = ", ".join(f"{name} {frames}" for name, frames in lengths.items())
        raise InputError(f"train.frames: found {said}, expected one length for all; export them apart with --stream")
    graph = Graph(_on_cpu(model)).eval()
    shape = (model.data.max_persons, next(iter(lengths.values())), len(model.layout.joints), 3)
    names = ("joints", "following")[: 1 + any(graph.follows)]
    part = output.with_name(f".{output.name}.part")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        _write(graph, shape, names, part)
        document = onnx.load(str(part))
        onnx.helper.set_model_props(document, {key: _text(value) for key, value in about(model, shape).items()})
        onnx.save(document, str(part))
        difference = _difference(graph, shape, names, part)
        if difference is not None and difference > TOLERANCE:
            raise ResourceError(
                f"differs from the networks by {difference:.1e}, at most {TOLERANCE} expected", at=output
            )
        part.replace(output)
    except OSError as error:
        kind = ResourceError if error.errno in WRITE_FAILURES else InputError
        raise kind(f"cannot be written: {error.strerror or error}", at=output) from None
    finally:
        part.unlink(missing_ok=True)
    return Exported(names, ("N", *shape), difference)  # type: ignore[arg-type]


def about(model: Ensemble, shape: tuple[int, ...]) -> dict[str, Any]:
    """Return what a user of the file has to know, as its metadata say it."""
    data, train = model.data, model.members[0].stage.train
    return {
        "classes": list(model.classes),
        "joints": list(model.layout.joints),
        "streams": {one.stream: weight for one, weight in zip(model.members, model.weights, strict=True)},
        "persons": shape[0],
        "frames": shape[1],
        "dimensions": data.dimensions,
        "normalisation": data.normalisation,
        "align": data.align,
        "sampling": train.sampling,
        "test_clips": train.test_clips,
        "motion": train.motion,
    }


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _only(model: Ensemble, stream: str | None) -> Ensemble:
    if stream is None:
        return model
    chosen = tuple(member for member in model.members if member.stream == stream)
    if not chosen:
        known = ", ".join(member.stream for member in model.members)
        raise InputError(f"--stream: found {stream!r}, expected one of {known}")
    return Ensemble(chosen)


def _on_cpu(model: Ensemble) -> Ensemble:
    for member in model.members:
        member.network.cpu()
    return model


def _write(graph: Graph, shape: tuple[int, ...], names: Sequence[str], file: Path) -> None:
    example = tuple(torch.zeros(2, *shape) for _ in names)
    with warnings.catch_warnings(), torch.inference_mode():
        # Of branches on the number of persons, which is fixed; and that there is a newer exporter, which needs more.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            graph,
            example,
            str(file),
            dynamo=False,
            opset_version=OPSET,
            input_names=list(names),
            output_names=["probabilities"],
            dynamic_axes={name: {0: "N"} for name in (*names, "probabilities")},
        )


def _difference(graph: Graph, shape: tuple[int, ...], names: Sequence[str], file: Path) -> float | None:
    """Return how far the file is from the networks on random clips and on clips like bodies; None: cannot be known."""
    try:
        import onnxruntime
    except ImportError:
        return None
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    generator = torch.Generator().manual_seed(0)
    noise = torch.randn(_CHECKED, *shape, generator=generator)
    # A pose that moves slowly; of several persons, the last is not there.
    body = noise[:, :, :1] * 0.4 + noise.cumsum(dim=2) * 0.01
    body[:, 1:][:, -1:] = 0
    found = 0.0
    for clips in (noise, body):
        given = [clips, clips.roll(-1, dims=2)][: len(names)]
        made = session.run(None, {name: one.numpy() for name, one in zip(names, given, strict=True)})[0]
        found = max(found, float(np.abs(made - expected(graph, *given).numpy()).max()))
    return found


@torch.inference_mode()
def expected(graph: Graph, joints: Tensor, following: Tensor | None = None) -> Tensor:
    """Return what the networks say, their streams made as in training."""
    total = torch.zeros(())
    for network, stream, follows, weight in zip(
        graph.networks, graph.streams, graph.follows, graph.weights, strict=True
    ):
        features = stream_features(joints.clone(), graph.layout, stream, following if follows else None)
        total = total + network.classify(features).softmax(dim=1) * weight  # type: ignore[operator]
    return total
