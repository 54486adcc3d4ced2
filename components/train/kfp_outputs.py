"""What KFP's user interface shows of a round."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from components.contracts import scores as scores_contract
from components.runtime.task import describe


def show(checkpoint: Any, confusion: Any, scores: Any, metrics: Any) -> None:
    """Fill in the metadata of a round's artifacts, and its metrics; all are artifacts of KFP."""
    for artifact in (checkpoint, confusion, scores):
        artifact.metadata.update(describe(artifact.path))
    last = scores_contract.open(Path(scores.path)).history[-1]
    numbers = {"top1": scores.metadata["top1"], "train_top1": last.top1, "train_loss": last.loss}
    for name, value in numbers.items():
        metrics.log_metric(name, value)
    Path(metrics.path).write_text(json.dumps(numbers))  # without a file nothing is cached
