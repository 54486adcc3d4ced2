"""The ``confusion`` artifact: who was taken for whom in one round of one stream.

``train`` counts the training split, as the network classified it during the round's last epoch, and is all
that the Questioner may see; ``validation`` counts the test split of the protocol after the round and is for
the report only.

From schema 1.1 it also says what could be told apart by what, again on the training split only: ``separability``, by
the data itself, and ``evidence``, where the network looked. From schema 1.2 also which joints of a class move:
``activity``.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, Field

from components.contracts.arrays import expect_shape, read_npz, write_npz
from components.contracts.artifact import Artifact, Manifest, Schema, seal, staged
from components.contracts.artifact import verify as verify_artifact
from components.contracts.config import TrainStage
from components.contracts.documents import reading
from components.contracts.errors import DamagedError

SCHEMA = Schema("confusion", 1, 2)
_COUNTS = ("train", "validation")
_MEASURED = ("separability", "evidence", "pairs", "pair_separability", "activity")
MOST = 256 << 20
"""Bytes of one array: counts of 5,792 classes."""
MOST_SAMPLES = 10**12


@dataclass(frozen=True)
class Confusion(Artifact):
    """Counts ``[true class, predicted class]``, int64 ``[classes, classes]``, and what was measured beside them.

    All that follows is None in artifacts of schema 1.0. V: joints of the layout; of a stream of (k-)bones, position v
    of ``evidence`` is the one that ends at joint v.

    Attributes:
        layout: that of the skeletons, as in the configuration.
        separability: float32 ``[classes, V]`` from 0 to 1: how well the movement of each joint tells the class from
            those that it is confused with (or, if it never is, from the nearest ones).
        evidence: float32 ``[classes, V]``: what each position adds to the logit of the class above the mean over all
            classes, on average over samples of the class.
        pairs: int64 ``[P, 2]``: pairs of confused classes, the lower number first, in ascending order.
        pair_separability: float32 ``[P, V]``: ``separability`` of each of these pairs.
        activity: float32 ``[classes, V]`` from 0 to 1: how much each joint moves in the class, as its mean rank among
            all samples (0.5: as in any other class). Two classes are told apart by the same joints, whichever of them
            moves these: this says which. None in artifacts of schema 1.1.
    """

    stream: str
    round: int
    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    separability: npt.NDArray[np.float32] | None = None
    evidence: npt.NDArray[np.float32] | None = None
    pairs: npt.NDArray[np.int64] | None = None
    pair_separability: npt.NDArray[np.float32] | None = None
    activity: npt.NDArray[np.float32] | None = None
    layout: str = ""

    def merit(self) -> npt.NDArray[np.float32] | None:
        """Return how well each joint singles a class out: float32 ``[classes, V]``; None if that was not measured.

        A left and a right wave are told apart by both hands, and each is to be known by the one that waves: hence
        ``separability`` times ``activity``, where this was measured.
        """
        if self.separability is None or self.activity is None:
            return self.separability
        return self.separability * self.activity


class _About(BaseModel):
    """What of ``about`` is read."""

    stream: str = Field(max_length=100)
    round: int = Field(ge=0, le=1_000_000)


class _Data(BaseModel):
    layout: str = ""


class _Config(BaseModel):
    """What of the configuration is read."""

    data: _Data = _Data()


def write(path: Path, confusion: Confusion, *, made_from: Mapping[str, str], config: TrainStage) -> None:
    """Write the artifact at ``path``, atomically."""
    _check(path, confusion)
    about = {
        "stream": confusion.stream,
        "round": confusion.round,
        "classes": len(confusion.train),
        "train_samples": int(confusion.train.sum()),
        "validation_samples": int(confusion.validation.sum()),
    }
    with staged(path) as scratch:
        arrays = {name: getattr(confusion, name).astype(np.int64) for name in _COUNTS}
        for name in _MEASURED:
            if (array := getattr(confusion, name)) is not None:
                arrays[name] = array.astype(np.int64 if name == "pairs" else np.float32)
        write_npz(scratch / "confusion.npz", arrays)
        seal(scratch, SCHEMA, made_from=made_from, config=config.model_dump(mode="json"), about=about)


def open(path: Path) -> Confusion:
    """Verify and read the artifact; ``InputError`` if it is not one, newer, damaged, or not square."""
    return _opened(path, ("train", "validation"))


def open_train(path: Path) -> Confusion:
    """Open the artifact without what was counted on the test split, which then takes no memory: it is all zeros."""
    return _opened(path, ("train",))


def _opened(path: Path, parts: tuple[str, ...]) -> Confusion:
    manifest = verify(path)
    with reading(path, SCHEMA.name):
        about = _About.model_validate(manifest.about)
        config = _Config.model_validate(manifest.config)
        file = path / "confusion.npz"
        arrays = read_npz(file, parts, beginning=_MEASURED, most_bytes=MOST)
        counts = {name: _counts(file, name, arrays[name]) for name in parts}
        train = counts["train"]
        confusion = Confusion(
            stream=about.stream,
            round=about.round,
            train=train,
            validation=counts.get("validation", np.broadcast_to(np.int64(0), train.shape)),
            layout=config.data.layout,
            **{name: arrays.get(name) for name in _MEASURED},
            manifest=manifest,
        )
        _check_measured(file, confusion)
        return confusion


def _counts(file: Path, name: str, array: npt.NDArray[Any]) -> npt.NDArray[np.int64]:
    """Return counts as they should be: integers from 0 on, square, and few enough to be added up."""
    if array.dtype.kind not in "iu":
        raise DamagedError(f"{name}: {array.dtype} found, counts expected, which are integers", at=file)
    size = array.shape[0] if array.ndim else 0
    expect_shape(file, name, array, (size, size))
    if array.size and array.min() < 0:
        raise DamagedError(f"{name}: negative counts found", at=file)
    if array.size and array.max() > MOST_SAMPLES:
        raise DamagedError(f"{name}: a count of {array.max()} found, at most {MOST_SAMPLES} expected", at=file)
    return array.astype(np.int64, copy=False)


def _check(path: Path, confusion: Confusion) -> None:
    file = path / "confusion.npz"
    for name, counts in (("train", confusion.train), ("validation", confusion.validation)):
        _counts(file, name, counts)
    expect_shape(file, "validation", confusion.validation, confusion.train.shape)
    _check_measured(file, confusion)


def _check_measured(file: Path, confusion: Confusion) -> None:
    classes = len(confusion.train)
    joints = None if confusion.separability is None else confusion.separability.shape[-1]
    pairs = None if confusion.pairs is None else len(confusion.pairs)
    shapes = {"separability": (classes, joints), "evidence": (classes, joints), "pairs": (pairs, 2)}
    shapes |= {"pair_separability": (pairs, joints), "activity": (classes, joints)}
    for name, shape in shapes.items():
        if (array := getattr(confusion, name)) is None:
            continue
        expect_shape(file, name, array, shape)
        if array.dtype.kind not in ("iu" if name == "pairs" else "f"):
            raise DamagedError(f"{name}: {array.dtype} found, numbers expected", at=file)
        if not np.isfinite(array).all():
            raise DamagedError(f"{name}: NaN or infinity found", at=file)
    if confusion.pairs is not None and ((confusion.pairs < 0) | (confusion.pairs >= classes)).any():
        raise DamagedError(f"pairs: a number is not a class, expected 0 to {classes - 1}", at=file)


def verify(path: Path) -> Manifest:
    """Check every file against the manifest; see ``artifact.verify`` for the errors."""
    return verify_artifact(path, SCHEMA)
