"""The ``confusion`` artifact: who was taken for whom in one round of one stream.

``train`` counts the training split, as the network classified it during the round's last epoch, and is all
that the Questioner may see; ``validation`` counts the test split of the protocol after the round and is for
the report only.
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

SCHEMA = Schema("confusion", 1, 0)
MOST = 256 << 20
"""Bytes of one matrix of counts: 5,792 classes."""
MOST_SAMPLES = 10**12


@dataclass(frozen=True)
class Confusion(Artifact):
    """Counts ``[true class, predicted class]``, int64 ``[classes, classes]``; ``layout`` is that of the skeletons."""

    stream: str
    round: int
    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    layout: str = ""


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
        counts = {"train": confusion.train.astype(np.int64), "validation": confusion.validation.astype(np.int64)}
        write_npz(scratch / "confusion.npz", counts)
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
        counts = {name: _counts(file, name, array) for name, array in read_npz(file, parts, most_bytes=MOST).items()}
        train = counts["train"]
        return Confusion(
            stream=about.stream,
            round=about.round,
            train=train,
            validation=counts.get("validation", np.broadcast_to(np.int64(0), train.shape)),
            layout=config.data.layout,
            manifest=manifest,
        )


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
    for name, counts in (("train", confusion.train), ("validation", confusion.validation)):
        _counts(path / "confusion.npz", name, counts)
    expect_shape(path / "confusion.npz", "validation", confusion.validation, confusion.train.shape)


def verify(path: Path) -> Manifest:
    """Check every file against the manifest; see ``artifact.verify`` for the errors."""
    return verify_artifact(path, SCHEMA)
