"""What the KFP component logs, as plain data; this module knows no KFP."""

from __future__ import annotations

from dataclasses import dataclass

from components.contracts.metrics import Metrics


@dataclass(frozen=True)
class KfpOutputs:
    """``categories`` and ``matrix`` are for ``ClassificationMetrics.log_confusion_matrix`` (rows: true classes),
    each of ``numbers`` for one ``Metrics.log_metric``."""

    categories: list[str]
    matrix: list[list[int]]
    numbers: dict[str, float]


def kfp_outputs(metrics: Metrics) -> KfpOutputs:
    """Extract what the UI shows from the metrics of a report (``contracts.report.open(path).metrics``).

    The numbers are the headline's ``ensemble_top1``, ``ensemble_top5``, ``ensemble_mean_class``, the
    ``gain_top1`` of the rounds where there is one, and ``<stream>_round<r>_top1`` for every stream and round.
    """
    headline = metrics.headline
    measures = {"top1": headline.top1, "top5": headline.top5, "mean_class": headline.mean_class}
    numbers = {f"ensemble_{name}": value for name, value in measures.items()}
    if metrics.gain:
        numbers["gain_top1"] = metrics.gain.top1
    for row in metrics.streams:
        numbers[f"{row.stream}_round{row.round}_top1"] = row.top1
    return KfpOutputs(list(metrics.data.classes), [list(row) for row in metrics.confusion], numbers)
