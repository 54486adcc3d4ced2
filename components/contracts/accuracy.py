"""Accuracy measures, from class probabilities or from a confusion matrix. All are fractions from 0 to 1."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

Probabilities = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]
Counts = npt.NDArray[np.int64]


def top_k(probabilities: Probabilities, labels: Labels, k: int) -> float:
    """Share of samples whose label is among the min(k, classes) most probable classes.

    Args:
        probabilities: ``[N, classes]``; among equal ones the lower class number comes first, as in ``argmax``.
        labels: ``[N]``.
    """
    return float((_ahead(probabilities, labels) < k).mean())


def correct(probabilities: Probabilities, labels: Labels) -> npt.NDArray[np.bool_]:
    """Whether the most probable class is the label, bool ``[N]``; among equal ones the lowest class number counts."""
    return np.asarray(probabilities.argmax(axis=1) == labels)


def _ahead(probabilities: Probabilities, labels: Labels) -> npt.NDArray[np.int64]:
    """How many classes come before the label, ``[N]``: counting them is a hundred times faster than sorting 400."""
    own = probabilities[np.arange(len(labels)), labels][:, None]
    earlier = np.arange(probabilities.shape[1]) < labels[:, None]
    return np.asarray(((probabilities > own) | ((probabilities == own) & earlier)).sum(axis=1))


def mean_average_precision(probabilities: Probabilities, labels: Labels) -> float:
    """Mean over the classes that have samples of the area under the precision-recall curve of "this class or not".

    Samples of equal probability count as one step of the curve (PYSKL's and so the reference's definition).
    """
    areas = []
    for label in np.unique(labels):
        values = probabilities[:, label]
        every, own = np.sort(values), np.sort(values[labels == label])
        # At each sample of the class: how many of the class, and how many of all, are at least as probable.
        of_class = len(own) - np.searchsorted(own, own)
        of_all = len(every) - np.searchsorted(every, own)
        areas.append(float((of_class / of_all).mean()))
    return float(np.mean(areas))


def confusion_matrix(probabilities: Probabilities, labels: Labels) -> Counts:
    """Counts ``[true class, predicted class]``, int64 ``[classes, classes]``."""
    classes = probabilities.shape[1]
    counts = np.zeros((classes, classes), dtype=np.int64)
    np.add.at(counts, (labels, probabilities.argmax(axis=1)), 1)
    return counts


def recall(counts: Counts) -> npt.NDArray[np.float64]:
    """Share of each true class that was recognised, ``[classes]``; NaN where the class has no sample."""
    return _share(counts.diagonal(), counts.sum(axis=1))


def precision(counts: Counts) -> npt.NDArray[np.float64]:
    """Share of each predicted class that was correct, ``[classes]``; NaN where it was never predicted."""
    return _share(counts.diagonal(), counts.sum(axis=0))


def _share(part: Counts, whole: Counts) -> npt.NDArray[np.float64]:
    return np.asarray(np.divide(part, whole, out=np.full(len(whole), np.nan), where=whole > 0))


def mean_class_accuracy(counts: Counts) -> float:
    """Mean recall over the classes that occur, as true class or as prediction.

    A class that is predicted but has no sample counts as 0 (PYSKL's and so the published definition);
    where every class has samples this is the plain mean of the recalls.
    """
    occurs = (counts.sum(axis=0) + counts.sum(axis=1)) > 0
    return float(np.nan_to_num(recall(counts))[occurs].mean())


def accuracy(counts: Counts) -> float | None:
    """Share of the diagonal; None for an empty matrix."""
    total = int(counts.sum())
    return int(counts.trace()) / total if total else None


@dataclass(frozen=True)
class Measures:
    """The three published measures of one set of predictions."""

    top1: float
    top5: float
    mean_class: float


def measure(probabilities: Probabilities, labels: Labels) -> Measures:
    """Top-1, top-5 (top-min(5, classes)) and mean-class accuracy of ``[N, classes]`` probabilities."""
    ahead = _ahead(probabilities, labels)
    return Measures(
        top1=float((ahead < 1).mean()),
        top5=float((ahead < 5).mean()),
        mean_class=mean_class_accuracy(confusion_matrix(probabilities, labels)),
    )


@dataclass(frozen=True)
class ConfusedPair:
    """``count`` samples of class ``true``, a ``share`` of them all, were taken for class ``predicted``."""

    true: int
    predicted: int
    count: int
    share: float


def most_confused(counts: Counts, limit: int) -> list[ConfusedPair]:
    """The off-diagonal cells with the most samples, largest first; equal ones by share, then by class number."""
    totals = counts.sum(axis=1)
    pairs = []
    for true, predicted in np.argwhere(counts).tolist():
        if true != predicted:
            count = int(counts[true, predicted])
            pairs.append(ConfusedPair(true, predicted, count, count / int(totals[true])))
    return sorted(pairs, key=lambda pair: (-pair.count, -pair.share, pair.true, pair.predicted))[:limit]
