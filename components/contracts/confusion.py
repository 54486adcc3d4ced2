"""The ``confusion`` artifact: who was taken for whom in one round of one stream.

``train`` counts the training split, as the network classified it during the round's last epoch, and is all
that the Questioner may see; ``validation`` counts the test split of the protocol after the round and is for
the report only.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.contracts.arrays import expect_shape, read_npz, write_npz
from components.contracts.artifact import Artifact, Manifest, Schema, seal, staged
from components.contracts.artifact import verify as verify_artifact
from components.contracts.config import TrainStage
from components.contracts.errors import InputError

SCHEMA = Schema("confusion", 1, 0)


@dataclass(frozen=True)
class Confusion(Artifact):
    """Counts ``[true class, predicted class]``, int64 ``[classes, classes]``."""

    stream: str
    round: int
    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]


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
    manifest = verify(path)
    counts = read_npz(path / "confusion.npz", ("train", "validation"))
    confusion = Confusion(
        stream=str(manifest.about["stream"]),
        round=int(manifest.about["round"]),
        train=counts["train"],
        validation=counts["validation"],
        manifest=manifest,
    )
    _check(path, confusion)
    return confusion


def _check(path: Path, confusion: Confusion) -> None:
    classes = confusion.train.shape[0] if confusion.train.ndim else 0
    for name, counts in (("train", confusion.train), ("validation", confusion.validation)):
        expect_shape(path / "confusion.npz", name, counts, (classes, classes))
        if (counts < 0).any():
            raise InputError(f"{name}: negative counts found", at=path / "confusion.npz")


def verify(path: Path) -> Manifest:
    """Check every file against the manifest; see ``artifact.verify`` for the errors."""
    return verify_artifact(path, SCHEMA)
