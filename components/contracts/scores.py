"""The ``scores`` artifact: class probabilities of the test split from one stream after one round.

``history.json`` carries the epochs behind them, so that the report needs no checkpoint.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from components.contracts.arrays import expect_shape, read_npz, write_npz
from components.contracts.artifact import Manifest, Schema, digest, seal, staged
from components.contracts.artifact import verify as verify_artifact
from components.contracts.config import TrainStage
from components.contracts.errors import InputError
from components.contracts.history import EpochRecord

SCHEMA = Schema("scores", 1, 0)
_HISTORY = TypeAdapter(tuple[EpochRecord, ...])


@dataclass(frozen=True)
class Scores:
    """Sample ids ``[N]``, labels int64 ``[N]``, probabilities float32 ``[N, classes]`` (mean over clips)."""

    stream: str
    round: int
    clips: int
    sample_ids: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    history: tuple[EpochRecord, ...] = ()
    digest: str = ""


def write(path: Path, scores: Scores, *, made_from: Mapping[str, str], config: TrainStage) -> None:
    """Write the artifact at ``path``, atomically."""
    _check(path, scores)
    top1 = float((scores.probabilities.argmax(1) == scores.labels).mean())
    about = {
        "stream": scores.stream,
        "round": scores.round,
        "clips": scores.clips,
        "samples": len(scores.labels),
        "top1": top1,
    }
    with staged(path) as scratch:
        arrays = {
            "sample_ids": scores.sample_ids,
            "labels": scores.labels.astype(np.int64),
            "probabilities": scores.probabilities.astype(np.float32),
        }
        write_npz(scratch / "scores.npz", arrays)
        (scratch / "history.json").write_bytes(_HISTORY.dump_json(scores.history, indent=1) + b"\n")
        seal(scratch, SCHEMA, made_from=made_from, config=config.model_dump(mode="json"), about=about)


def open(path: Path) -> Scores:
    """Verify and read the artifact; ``InputError`` if it is not one, newer, damaged, or contradictory."""
    manifest = verify(path)
    arrays = read_npz(path / "scores.npz", ("sample_ids", "labels", "probabilities"))
    about = manifest.about
    scores = Scores(
        stream=str(about["stream"]),
        round=int(about["round"]),
        clips=int(about["clips"]),
        sample_ids=arrays["sample_ids"],
        labels=arrays["labels"],
        probabilities=arrays["probabilities"],
        history=_read_history(path / "history.json"),
        digest=digest(path),
    )
    _check(path, scores)
    return scores


def _read_history(file: Path) -> tuple[EpochRecord, ...]:
    try:
        return _HISTORY.validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"{file}: not a training history: {' '.join(str(error).split())}") from None


def _check(path: Path, scores: Scores) -> None:
    file = path / "scores.npz"
    samples = len(scores.labels)
    if not samples:
        raise InputError(f"{file}: no samples")
    expect_shape(file, "sample_ids", scores.sample_ids, (samples,))
    expect_shape(file, "probabilities", scores.probabilities, (samples, None))
    classes = scores.probabilities.shape[1]
    if scores.labels.min() < 0 or scores.labels.max() >= classes:
        raise InputError(
            f"{file}: labels: {scores.labels.min()} to {scores.labels.max()} found, 0 to {classes - 1} expected"
        )
    if not np.isfinite(scores.probabilities).all():
        raise InputError(f"{file}: probabilities: NaN or infinity found")


def verify(path: Path) -> Manifest:
    """Check every file against the manifest; see ``artifact.verify`` for the errors."""
    return verify_artifact(path, SCHEMA)
