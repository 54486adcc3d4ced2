"""The ``report`` artifact: ``report.html`` for people (one file, no network) and ``metrics.json`` for machines."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.contracts.artifact import Manifest, Schema, digest, seal, staged
from components.contracts.artifact import verify as verify_artifact
from components.contracts.config import EvaluateStage
from components.contracts.errors import InputError

SCHEMA = Schema("report", 1, 0)


@dataclass(frozen=True)
class Report:
    """``html`` is the whole page; ``metrics`` is JSON-serialisable, its keys are those of ``evaluate.summary``.

    ``metrics["headline"]`` holds at least ``round``, ``streams`` and ``top1`` (a fraction) of the ensemble.
    """

    html: str
    metrics: dict[str, Any]
    digest: str = ""


def write(path: Path, report: Report, *, made_from: Mapping[str, str], config: EvaluateStage) -> None:
    """Write the artifact at ``path``, atomically. ``ValueError`` if a metric is NaN or infinite."""
    metrics = json.dumps(report.metrics, indent=1, sort_keys=True, ensure_ascii=False, allow_nan=False)
    headline = report.metrics["headline"]
    about = {key: headline[key] for key in ("round", "streams", "top1")}
    with staged(path) as scratch:
        (scratch / "report.html").write_text(report.html, encoding="utf-8", newline="\n")
        (scratch / "metrics.json").write_text(metrics + "\n", encoding="utf-8", newline="\n")
        seal(scratch, SCHEMA, made_from=made_from, config=config.model_dump(mode="json"), about=about)


def open(path: Path) -> Report:
    """Verify and read the artifact; ``InputError`` if it is not one, newer, or damaged."""
    verify(path)
    file = path / "metrics.json"
    try:
        metrics = json.loads(file.read_text(encoding="utf-8"))
        html = (path / "report.html").read_text(encoding="utf-8")
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: not a report: {' '.join(str(error).split())}") from None
    if not isinstance(metrics, dict):
        raise InputError(f"{file}: found {type(metrics).__name__}, expected a mapping")
    return Report(html=html, metrics=metrics, digest=digest(path))


def verify(path: Path) -> Manifest:
    """Check every file against the manifest; see ``artifact.verify`` for the errors."""
    return verify_artifact(path, SCHEMA)
