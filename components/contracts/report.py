"""The ``report`` artifact: ``report.html`` for people (one file, no network) and ``metrics.json`` for machines.

The schema of ``metrics.json`` is that of ``contracts.metrics.Metrics``.

``predictions.npz`` (from schema 1.1) holds what the ensemble of the last round said of each test sample, so that two
runs can be compared sample by sample.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from pydantic import ValidationError

from components.contracts.arrays import expect_shape, read_npz, write_npz
from components.contracts.artifact import Artifact, Manifest, Schema, seal, staged
from components.contracts.artifact import verify as verify_artifact
from components.contracts.config import EvaluateStage
from components.contracts.errors import InputError
from components.contracts.metrics import Metrics

SCHEMA = Schema("report", 1, 3)
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
    """``html`` is the whole page; ``predictions`` is None in artifacts of schema 1.0, which had none."""

    html: str
    metrics: Metrics
    predictions: Predictions | None = None


def write(path: Path, report: Report, *, made_from: Mapping[str, str], config: EvaluateStage) -> None:
    """Write the artifact at ``path``, atomically."""
    document = report.metrics.model_dump(mode="json")
    metrics = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    headline = report.metrics.headline
    about = {"round": headline.round, "streams": headline.streams, "top1": headline.top1}
    with staged(path) as scratch:
        (scratch / "report.html").write_text(report.html, encoding="utf-8", newline="\n")
        (scratch / "metrics.json").write_text(metrics + "\n", encoding="utf-8", newline="\n")
        if report.predictions is not None:
            write_npz(scratch / PREDICTIONS, vars(report.predictions))
        seal(scratch, SCHEMA, made_from=made_from, config=config.model_dump(mode="json"), about=about)


def open(path: Path) -> Report:
    """Verify and read the artifact; ``InputError`` if it is not one, newer, or damaged."""
    manifest = verify(path)
    try:
        html = (path / "report.html").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"not a report: {' '.join(str(error).split())}", at=path) from None
    metrics = read_metrics(path / "metrics.json")
    predictions = read_predictions(path / PREDICTIONS) if (path / PREDICTIONS).is_file() else None
    return Report(html=html, metrics=metrics, predictions=predictions, manifest=manifest)


def read_metrics(file: Path) -> Metrics:
    """Read ``metrics.json``, of this minor version or an older one; ``InputError`` names the field that is wrong."""
    try:
        return Metrics.model_validate_json(file.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", at=file) from None
    except ValidationError as error:
        first = error.errors()[0]
        field = ".".join(str(part) for part in first["loc"]) or "the file"
        raise InputError(f"not the metrics of a run: {field}: {first['msg']}", at=file) from None


def read_predictions(file: Path) -> Predictions:
    """Read ``predictions.npz``; ``InputError`` if it is damaged or its arrays differ in length."""
    arrays = read_npz(file, ("sample_ids", "labels", "predicted", "confidence"))
    for name, array in arrays.items():
        expect_shape(file, name, array, (len(arrays["labels"]),))
    return Predictions(**arrays)


def verify(path: Path) -> Manifest:
    """Check every file against the manifest; see ``artifact.verify`` for the errors."""
    return verify_artifact(path, SCHEMA)
