"""The ``report`` artifact: ``report.html`` for people (one file, no network) and ``metrics.json`` for machines.

``predictions.npz`` (from schema 1.1) holds what the ensemble of the last round said of each test sample, so that two
runs can be compared sample by sample.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.arrays import expect_shape, read_npz, write_npz
from components.contracts.artifact import Artifact, Manifest, Schema, seal, staged
from components.contracts.artifact import verify as verify_artifact
from components.contracts.config import EvaluateStage
from components.contracts.errors import InputError

SCHEMA = Schema("report", 1, 1)
PREDICTIONS = "predictions.npz"


@dataclass(frozen=True)
class Predictions:
    """Sample ids ``[N]``; labels and predicted classes, int64 ``[N]``; the largest probability, float32 ``[N]``."""

    sample_ids: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]
    predicted: npt.NDArray[np.int64]
    confidence: npt.NDArray[np.float32]


@dataclass(frozen=True)
class Report(Artifact):
    """``html`` is the whole page; ``metrics`` is JSON-serialisable, its keys are those of ``evaluate.summary``.

    ``metrics["headline"]`` holds at least ``round``, ``streams`` and ``top1`` (a fraction) of the ensemble.
    ``predictions`` is None in artifacts of schema 1.0, which had none.
    """

    html: str
    metrics: dict[str, Any]
    predictions: Predictions | None = None


def write(path: Path, report: Report, *, made_from: Mapping[str, str], config: EvaluateStage) -> None:
    """Write the artifact at ``path``, atomically. ``ValueError`` if a metric is NaN or infinite."""
    metrics = json.dumps(report.metrics, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    headline = report.metrics["headline"]
    about = {key: headline[key] for key in ("round", "streams", "top1")}
    with staged(path) as scratch:
        (scratch / "report.html").write_text(report.html, encoding="utf-8", newline="\n")
        (scratch / "metrics.json").write_text(metrics + "\n", encoding="utf-8", newline="\n")
        if report.predictions is not None:
            write_npz(scratch / PREDICTIONS, vars(report.predictions))
        seal(scratch, SCHEMA, made_from=made_from, config=config.model_dump(mode="json"), about=about)


def open(path: Path) -> Report:
    """Verify and read the artifact; ``InputError`` if it is not one, newer, or damaged."""
    manifest = verify(path)
    file = path / "metrics.json"
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
        html = (path / "report.html").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"not a report: {' '.join(str(error).split())}", at=path) from None
    if not isinstance(metrics, dict):
        raise InputError(f"found {type(metrics).__name__}, expected a mapping", at=file)
    predictions = read_predictions(path / PREDICTIONS) if (path / PREDICTIONS).is_file() else None
    return Report(html=html, metrics=metrics, predictions=predictions, manifest=manifest)


def read_predictions(file: Path) -> Predictions:
    """Read ``predictions.npz``; ``InputError`` if it is damaged or its arrays differ in length."""
    arrays = read_npz(file, ("sample_ids", "labels", "predicted", "confidence"))
    for name, array in arrays.items():
        expect_shape(file, name, array, (len(arrays["labels"]),))
    return Predictions(**arrays)


def verify(path: Path) -> Manifest:
    """Check every file against the manifest; see ``artifact.verify`` for the errors."""
    return verify_artifact(path, SCHEMA)
