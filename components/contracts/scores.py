"""The ``scores`` artifact: class probabilities of the test split from one stream after one round.

``history.json`` carries the epochs behind them, so that the report needs no checkpoint. ``held_out.npz`` (from schema
1.1, after the last round of a training with ``train.held_out``) holds the same for training samples that were not
trained on, to learn from.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import TypeAdapter, ValidationError

from components.contracts.accuracy import correct
from components.contracts.arrays import expect_shape, read_npz, write_npz
from components.contracts.artifact import Artifact, Manifest, Schema, seal, staged
from components.contracts.artifact import verify as verify_artifact
from components.contracts.errors import InputError
from components.contracts.history import EpochRecord
from components.contracts.section import Section

SCHEMA = Schema("scores", 1, 1)
TEMPORAL_CONVOLUTION = "temporal convolution"
"""The stream that the pipeline's baseline goes by; its round is 0, for it has none."""
_SCORES = "scores.npz"
_HELD_OUT = "held_out.npz"
_ARRAYS = ("sample_ids", "labels", "probabilities")
_HISTORY = TypeAdapter(tuple[EpochRecord, ...])


@dataclass(frozen=True)
class Scores(Artifact):
    """Sample ids ``[N]``, labels int64 ``[N]``, probabilities float32 ``[N, classes]`` (mean over clips).

    ``held_out``: those of the training samples that were held out, without a history; None if there were none.
    """

    stream: str
    round: int
    clips: int
    sample_ids: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float32]
    history: tuple[EpochRecord, ...] = ()
    held_out: Scores | None = None

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether each sample was recognised, bool ``[N]``."""
        return correct(self.probabilities, self.labels)

    @property
    def top1(self) -> float:
        """Share of the samples that were recognised."""
        return float(self.correct.mean())


def write(path: Path, scores: Scores, *, made_from: Mapping[str, str], config: Section) -> None:
    """Write the artifact at ``path``, atomically; ``config`` is that of the stage which made it."""
    _check_all(path, scores)
    about: dict[str, Any] = {
        "stream": scores.stream,
        "round": scores.round,
        "clips": scores.clips,
        "samples": len(scores.labels),
        "top1": scores.top1,
    }
    if scores.held_out is not None:
        about["held_out_samples"] = len(scores.held_out.labels)
    with staged(path) as scratch:
        write_npz(scratch / _SCORES, _arrays(scores))
        if scores.held_out is not None:
            write_npz(scratch / _HELD_OUT, _arrays(scores.held_out))
        (scratch / "history.json").write_bytes(_HISTORY.dump_json(scores.history, indent=1) + b"\n")
        seal(scratch, SCHEMA, made_from=made_from, config=config.model_dump(mode="json"), about=about)


def write_left_out(path: Path, stream: str, reason: str, *, config: Section) -> None:
    """Write an artifact without scores, where a task has to leave one: ``open`` refuses it with the ``reason``."""
    with staged(path) as scratch:
        about = {"stream": stream, "round": 0, "samples": 0, "left_out": reason}
        seal(scratch, SCHEMA, made_from={}, config=config.model_dump(mode="json"), about=about)


def _arrays(scores: Scores) -> dict[str, npt.NDArray[Any]]:
    return {
        "sample_ids": scores.sample_ids,
        "labels": scores.labels.astype(np.int64),
        "probabilities": scores.probabilities.astype(np.float32),
    }


def open(path: Path) -> Scores:
    """Verify and read the artifact; ``InputError`` if it is not one, newer, damaged, or contradictory."""
    manifest = verify(path)
    about = manifest.about
    if "left_out" in about:
        raise InputError(f"no scores of {about['stream']}: {about['left_out']}", at=path)
    known: dict[str, Any] = {
        "stream": str(about["stream"]),
        "round": int(about["round"]),
        "clips": int(about["clips"]),
        "manifest": manifest,
    }
    held_out = Scores(**known, **_read_arrays(path / _HELD_OUT)) if _HELD_OUT in manifest.files else None
    history = _read_history(path / "history.json")
    scores = Scores(**known, **_read_arrays(path / _SCORES), history=history, held_out=held_out)
    _check_all(path, scores)
    return scores


def _read_arrays(file: Path) -> dict[str, Any]:
    arrays = read_npz(file, _ARRAYS)
    return {name: arrays[name] for name in _ARRAYS}


def _read_history(file: Path) -> tuple[EpochRecord, ...]:
    try:
        return _HISTORY.validate_json(file.read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"not a training history: {' '.join(str(error).split())}", at=file) from None


def _check_all(path: Path, scores: Scores) -> None:
    _check(path / _SCORES, scores)
    if scores.held_out is not None:
        _check(path / _HELD_OUT, scores.held_out)
        classes = scores.probabilities.shape[1]
        expect_shape(path / _HELD_OUT, "probabilities", scores.held_out.probabilities, (None, classes))


def _check(file: Path, scores: Scores) -> None:
    samples = len(scores.labels)
    if not samples:
        raise InputError("no samples", at=file)
    expect_shape(file, "sample_ids", scores.sample_ids, (samples,))
    expect_shape(file, "probabilities", scores.probabilities, (samples, None))
    classes = scores.probabilities.shape[1]
    if scores.labels.min() < 0 or scores.labels.max() >= classes:
        raise InputError(
            f"labels: {scores.labels.min()} to {scores.labels.max()} found, 0 to {classes - 1} expected", at=file
        )
    if not np.isfinite(scores.probabilities).all():
        raise InputError("probabilities: NaN or infinity found", at=file)


def verify(path: Path) -> Manifest:
    """Check every file against the manifest; see ``artifact.verify`` for the errors."""
    return verify_artifact(path, SCHEMA)
