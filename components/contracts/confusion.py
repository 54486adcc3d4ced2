"""The ``confusion`` artifact: who was taken for whom in one round of one stream.

``train`` counts the training split, as the network classified it during the round's last epoch, and is all
that the Questioner may see; ``validation`` counts the test split of the protocol after the round and is for
the report only.

From schema 1.1 it also says what could be told apart by what, again on the training split only: ``separability``, by
the data itself, and ``evidence``, where the network looked.
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

SCHEMA = Schema("confusion", 1, 1)
_COUNTS = ("train", "validation")
_MEASURED = ("separability", "evidence", "pairs", "pair_separability")


@dataclass(frozen=True)
class Confusion(Artifact):
    """Counts ``[true class, predicted class]``, int64 ``[classes, classes]``, and what was measured beside them.

    All that follows is None in artifacts of schema 1.0. V: joints of the layout; of a stream of (k-)bones, position v
    of ``evidence`` is the one that ends at joint v.

    Attributes:
        separability: float32 ``[classes, V]`` from 0 to 1: how well the movement of each joint tells the class from
            those that it is confused with (or, if it never is, from the nearest ones).
        evidence: float32 ``[classes, V]``: what each position adds to the logit of the class above the mean over all
            classes, on average over samples of the class.
        pairs: int64 ``[P, 2]``: pairs of confused classes, the lower number first, in ascending order.
        pair_separability: float32 ``[P, V]``: ``separability`` of each of these pairs.
    """

    stream: str
    round: int
    train: npt.NDArray[np.int64]
    validation: npt.NDArray[np.int64]
    separability: npt.NDArray[np.float32] | None = None
    evidence: npt.NDArray[np.float32] | None = None
    pairs: npt.NDArray[np.int64] | None = None
    pair_separability: npt.NDArray[np.float32] | None = None


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
    manifest = verify(path)
    arrays = read_npz(path / "confusion.npz", _COUNTS)
    confusion = Confusion(
        stream=str(manifest.about["stream"]),
        round=int(manifest.about["round"]),
        **{name: arrays.get(name) for name in (*_COUNTS, *_MEASURED)},  # type: ignore[arg-type]
        manifest=manifest,
    )
    _check(path, confusion)
    return confusion


def _check(path: Path, confusion: Confusion) -> None:
    classes = confusion.train.shape[0] if confusion.train.ndim else 0
    file = path / "confusion.npz"
    for name, counts in (("train", confusion.train), ("validation", confusion.validation)):
        expect_shape(file, name, counts, (classes, classes))
        if (counts < 0).any():
            raise InputError(f"{name}: negative counts found", at=file)
    joints = None if confusion.separability is None else confusion.separability.shape[-1]
    pairs = None if confusion.pairs is None else len(confusion.pairs)
    shapes = {"separability": (classes, joints), "evidence": (classes, joints), "pairs": (pairs, 2)}
    shapes |= {"pair_separability": (pairs, joints)}
    for name, shape in shapes.items():
        if (array := getattr(confusion, name)) is None:
            continue
        expect_shape(file, name, array, shape)
        if not np.isfinite(array).all():
            raise InputError(f"{name}: NaN or infinity found", at=file)
    if confusion.pairs is not None and ((confusion.pairs < 0) | (confusion.pairs >= classes)).any():
        raise InputError(f"pairs: a number is not a class, expected 0 to {classes - 1}", at=file)


def verify(path: Path) -> Manifest:
    """Check every file against the manifest; see ``artifact.verify`` for the errors."""
    return verify_artifact(path, SCHEMA)
