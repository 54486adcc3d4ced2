"""A trained model in memory: the networks of its streams, asked together.

From Python, without anything else::

    from components.train.trained.ensemble import load_model

    print(load_model("runs/demo/model").predict(array).label)

The ensemble's probabilities are the weighted mean of the streams' softmax, in the order and precision in which the
evaluate stage fuses their scores. What each joint adds to the logit of the class that the ensemble chose (see
``evidence``) is averaged over the streams with the same weights. Position v of a bone stream is the bone that ends at
joint v, so its evidence goes to that joint, the one farther from the body's centre; of a k-bone likewise.
"""

from __future__ import annotations

import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
import torch
from torch import Tensor

from components.contracts import checkpoint, model
from components.contracts.artifact import MANIFEST, parse_manifest
from components.contracts.checkpoint import Checkpoint
from components.contracts.config import TrainStage
from components.contracts.data_config import DataConfig
from components.contracts.dataset import Dataset
from components.contracts.errors import InputError
from components.contracts.skeleton import Layout, load_layout
from components.train.clips.features import test_features
from components.train.clips.gather import ClipSource
from components.train.distributed.process_group import default_device
from components.train.model.folding import fold
from components.train.model.recogniser import Recogniser
from components.train.trained.evidence import class_activation
from components.train.trained.packing import Unreadable, packed_clips, written
from components.train.trained.prediction import Prediction
from components.train.trained.scoring import chosen_weights, fitted

_BATCH = 64


@dataclass(frozen=True)
class Member:
    """One stream: its configuration, its network ready for inference, and its weight in the ensemble."""

    stage: TrainStage
    stream: str
    network: Recogniser
    weight: float


@dataclass(frozen=True)
class Ensemble:
    """The streams of a model, in the order of ``STREAMS``; of a checkpoint there is one."""

    members: tuple[Member, ...]

    @property
    def data(self) -> DataConfig:
        """How its clips are packed and normalised; the same for all streams."""
        return self.members[0].stage.data

    @property
    def classes(self) -> tuple[str, ...]:
        return self.data.classes

    @property
    def layout(self) -> Layout:
        return load_layout(self.data.layout)

    @property
    def weights(self) -> tuple[float, ...]:
        """The weight of each stream; they sum to 1."""
        total = float(sum(member.weight for member in self.members))
        return tuple(member.weight / total for member in self.members)

    def predict(self, clip: npt.ArrayLike, *, image: tuple[int, int] | None = None) -> Prediction:
        """Recognise one raw clip, which is normalised as the training data were.

        Args:
            clip: ``[T, V, C]`` or ``[M, T, V, C]``: frames, joints in the layout's order, and x, y, z, or, where the
                model was trained on 2D poses, x, y, score; M persons. Units as in the training data. A joint
                that was not seen is NaN.
            image: (height, width) in pixels, which a model with ``normalisation: image`` needs.

        Raises:
            InputError: the array has another shape, or nothing can be seen in it.
        """
        (prediction,) = self.predict_all([clip], image=image)
        return prediction

    def predict_all(self, clips: Sequence[npt.ArrayLike], *, image: tuple[int, int] | None = None) -> list[Prediction]:
        """Recognise several clips, as ``predict`` does one; normalising them takes a second for all together.

        Raises:
            InputError: as ``predict``; the first such clip is named by its number, from 0.
        """
        with tempfile.TemporaryDirectory(prefix="skeletonagent-") as scratch:
            folder = written(Path(scratch), clips, image)
            found: dict[str, Prediction] = {}
            for packed in packed_clips([folder], self.data):
                if isinstance(packed, Unreadable):
                    raise InputError(packed.what)
                found |= {one.sample_id: one for one in self.predictions(packed.dataset)}
        return [found[f"clip {number}"] for number in range(len(clips))]

    @torch.inference_mode()
    def predictions(self, packed: Dataset) -> Iterator[Prediction]:
        """Yield what is said of every sample of a dataset, in its order."""
        device, layout = default_device(), packed.layout
        clips = ClipSource(packed, self.data.max_persons, device)
        for batch in torch.arange(len(packed)).split(_BATCH):
            rows, shares = zip(*(_asked(member, clips, batch, layout) for member in self.members), strict=True)
            fused = np.zeros(rows[0].shape)
            for row, weight in zip(rows, self.weights, strict=True):
                fused += np.multiply(row, weight, dtype=np.float64)
            chosen = fused.argmax(axis=1)
            places = np.arange(len(batch))
            evidence = sum(
                share[places, chosen] * np.float32(weight) for share, weight in zip(shares, self.weights, strict=True)
            )
            for place, sample in enumerate(batch.tolist()):
                yield Prediction(
                    sample_id=str(packed.sample_ids[sample]),
                    classes=self.classes,
                    joints=layout.joints,
                    probabilities=fused[place],
                    evidence=np.asarray(evidence)[place],
                    streams={one.stream: row[place] for one, row in zip(self.members, rows, strict=True)},
                )


def _asked(
    member: Member, source: ClipSource, batch: Tensor, layout: Layout
) -> tuple[npt.NDArray[np.float32], npt.NDArray[np.float32]]:
    """Return probabilities ``[B, classes]`` and shares of the logits ``[B, classes, V]``, averaged over test clips."""
    probabilities: list[Tensor] = []
    shares: list[Tensor] = []
    for clip in range(member.stage.train.test_clips):
        features = test_features(source, batch, member.stage, layout, member.stream, clip)
        likely, share = class_activation(member.network, features, source.present(batch))
        probabilities.append(likely)
        shares.append(share)
    mean, share = torch.stack(probabilities).mean(dim=0), torch.stack(shares).mean(dim=0)
    return mean.cpu().numpy(), share.cpu().numpy()


def load_model(place: str | Path, *, clips: int | None = None, best: bool = False) -> Ensemble:
    """Load what was trained, from a run's folder, a ``model`` artifact, or a single ``checkpoint``.

    Args:
        place: the folder.
        clips: clips per sample; None: as many as the configuration tests with.
        best: use the weights of the best tested epoch instead of the last one's; a checkpoint only.

    Raises:
        InputError: it is none of these, or damaged, or the run has not finished.
    """
    path = artifact_of(Path(place))
    kind = _kind(path)
    if kind == checkpoint.SCHEMA.name:
        return Ensemble((_member(path, checkpoint.open(path), 1.0, clips, best=best),))
    opened = model.open(path)
    members = [
        _member(path / member.stream, one, member.weight, clips, best=best)
        for member, one in zip(opened.document.streams, opened.checkpoints, strict=True)
    ]
    return Ensemble(tuple(members))


def artifact_of(path: Path) -> Path:
    """Return the model of a run's folder; any other path is returned as it is."""
    if (path / MANIFEST).is_file():
        return path
    if (path / "model" / MANIFEST).is_file():
        return path / "model"
    if (path / "run.json").is_file():
        raise InputError("no model/ found, which a run has as soon as it has finished", at=path)
    return path


def _kind(path: Path) -> str:
    try:
        kind = parse_manifest((path / MANIFEST).read_bytes(), str(path / MANIFEST)).artifact
    except (FileNotFoundError, NotADirectoryError):
        found = "no such folder" if not path.exists() else "no artifact found"
        raise InputError(f"{found}, expected a run's folder, a model or a checkpoint", at=path) from None
    if kind not in (checkpoint.SCHEMA.name, model.SCHEMA.name):
        raise InputError(f"artifact {kind!r} found, expected a run's folder, a model or a checkpoint", at=path)
    return kind


def _member(path: Path, opened: Checkpoint, weight: float, clips: int | None, *, best: bool) -> Member:
    stage = opened.config
    if clips is not None:
        stage = stage.model_copy(update={"train": stage.train.model_copy(update={"test_clips": clips})})
    network = fitted(path, stage, chosen_weights(path, opened, best=best), opened.state.text_dimensions)
    return Member(stage, opened.state.stream, fold(network.to(default_device())), weight)
