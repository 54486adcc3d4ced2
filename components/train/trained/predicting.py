"""Names what is done in raw skeletons, with the joints that carried the decision (see ``evidence``)."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from components.contracts import checkpoint, dataset
from components.contracts.artifact import MANIFEST, canonical_json
from components.contracts.config import TrainStage
from components.contracts.dataset import Dataset
from components.contracts.errors import InputError
from components.contracts.skeleton import Layout
from components.train.clips.features import test_features
from components.train.clips.gather import ClipSource
from components.train.distributed.process_group import default_device
from components.train.model.folding import fold
from components.train.model.recogniser import Recogniser
from components.train.trained.evidence import class_activation
from components.train.trained.scoring import chosen_weights, fitted

_BATCH = 64
_PREPROCESS = "components.preprocess"  # run, not imported
_PACKING = ("layout", "dimensions", "normalisation", "align", "persons", "max_persons")
"""The settings of ``data`` that decide what a packed sample looks like."""


@dataclass(frozen=True)
class Prediction:
    """One sample: ``probabilities`` ``[classes]``, most likely class, ``evidence`` ``[V]`` of the joints for it."""

    sample_id: str
    classes: tuple[str, ...]
    joints: tuple[str, ...]
    probabilities: np.ndarray
    evidence: np.ndarray

    def to_json(self, top: int) -> str:
        """Return one line with the ``top`` classes and joints."""
        document = {
            "id": self.sample_id,
            "classes": [{"name": name, "probability": round(value, 6)} for name, value in self._classes(top)],
            "joints": [{"name": name, "evidence": round(value, 6)} for name, value in self._joints(top)],
        }
        return json.dumps(document, ensure_ascii=False)

    def to_text(self, top: int) -> str:
        """Return the same for people."""
        lines = [self.sample_id]
        lines += [f"  {value:7.2%}  {name}" for name, value in self._classes(top)]
        joints = ", ".join(f"{name} {value:+.2f}" for name, value in self._joints(top))
        return "\n".join([*lines, f"  joints that say so: {joints}"])

    def _classes(self, top: int) -> list[tuple[str, float]]:
        order = np.argsort(-self.probabilities, kind="stable")[:top]
        return [(self.classes[label], float(self.probabilities[label])) for label in order]

    def _joints(self, top: int) -> list[tuple[str, float]]:
        order = np.argsort(-self.evidence, kind="stable")[:top]
        return [(self.joints[joint], float(self.evidence[joint])) for joint in order]


def predict(source: Path, skeletons: Path, *, clips: int | None = None, best: bool = False) -> Iterator[Prediction]:
    """Classify every clip of a file of raw skeletons, or every sample of a dataset.

    Args:
        source: ``checkpoint`` artifact; its configuration says how skeletons are normalised.
        skeletons: what ``python -m components.preprocess run --format clips`` reads, or a ``dataset`` artifact.
        clips: clips per sample; None: as many as the configuration tests with.
        best: use the weights of the best tested epoch instead of the last one's.

    Raises:
        InputError: the checkpoint or the skeletons cannot be used; of several samples, one that cannot is named.
    """
    opened = checkpoint.open(source)
    stage, stream = opened.config, opened.state.stream
    if clips is not None:
        stage = stage.model_copy(update={"train": stage.train.model_copy(update={"test_clips": clips})})
    model = fitted(source, stage, chosen_weights(source, opened, best=best), opened.state.text_dimensions)
    with tempfile.TemporaryDirectory(prefix="skeletonagent-") as scratch:
        is_artifact = (skeletons / MANIFEST).is_file()
        packed = _opened(skeletons, stage) if is_artifact else _packed(skeletons, stage, Path(scratch))
        yield from _predictions(fold(model.to(default_device())), packed, stage, stream)


def _opened(path: Path, stage: TrainStage) -> Dataset:
    """Open a dataset that was packed as the checkpoint's was."""
    packed = dataset.open(path)
    for name in _PACKING:
        found, expected = getattr(packed.config, name), getattr(stage.data, name)
        if found != expected:
            raise InputError(f"data.{name}: found {found!r}, expected {expected!r} as in training", at=path)
    return packed


def _packed(skeletons: Path, stage: TrainStage, scratch: Path) -> Dataset:
    """Normalise and pack the skeletons as ``preprocess`` does, in a process of its own: stages share no code."""
    if find_spec(_PREPROCESS) is None:
        raise InputError(
            f"raw skeletons take {_PREPROCESS}, which the training image lacks; pack them in the image of "
            "preprocess (run --format clips) and give the dataset here",
            at=skeletons,
        )
    document = stage.model_dump(mode="json", include={"model", "train", "data"}) | {"name": "predict", "rounds": 1}
    document["data"]["format"] = "clips"
    config = scratch / "experiment.yaml"
    config.write_text(canonical_json(document), encoding="utf-8")  # JSON is YAML
    command = [sys.executable, "-m", _PREPROCESS, "run", str(skeletons)]
    command += ["--config", str(config), "--output", str(scratch / "dataset")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]
        raise InputError(lines[-1] if lines else f"{skeletons}: preprocess ended with status {done.returncode}")
    packed = dataset.open(scratch / "dataset")
    if packed.skipped:
        skipped = packed.skipped[0]
        raise InputError(f"clip {skipped.sample_id or skipped.position}: {skipped.reason}", at=skeletons)
    return packed


@torch.inference_mode()
def _predictions(model: Recogniser, packed: Dataset, stage: TrainStage, stream: str) -> Iterator[Prediction]:
    device = default_device()
    source = ClipSource(packed, stage.data.max_persons, device)
    names = _position_names(packed.layout, stream)
    for batch in torch.arange(len(packed)).split(_BATCH):
        probabilities: list[Tensor] = []
        shares: list[Tensor] = []
        for clip in range(stage.train.test_clips):
            features = test_features(source, batch, stage, packed.layout, stream, clip)
            likely, share = class_activation(model, features, source.present(batch))
            probabilities.append(likely)
            shares.append(share)
        mean, evidence = torch.stack(probabilities).mean(dim=0), torch.stack(shares).mean(dim=0)
        chosen = evidence[torch.arange(len(batch), device=device), mean.argmax(dim=1)]
        for sample, row, joints in zip(batch.tolist(), mean.cpu().numpy(), chosen.cpu().numpy(), strict=True):
            yield Prediction(str(packed.sample_ids[sample]), stage.data.classes, names, row, joints)


def _position_names(layout: Layout, stream: str) -> tuple[str, ...]:
    """Return what the positions of a stream are called: joints, or (k-)bones by their two ends."""
    ends = ((layout.joints[end], layout.joints[start]) for end, start in layout.pairs(stream))
    return tuple(end if end == start else f"{end}–{start}" for end, start in ends)
