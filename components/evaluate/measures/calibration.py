"""Whether a probability of 80 % is correct in 80 of 100 cases, and one number, the temperature, that mends it."""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt
from scipy.optimize import minimize_scalar
from scipy.special import logsumexp, softmax

from components.contracts.metrics import Bin

BINS = 15
_ENOUGH = 4000
_SMALLEST = 1e-12
_SHARPEST, _BLUNTEST = 0.02, 50.0
"""Bounds of the inverse temperature."""

Probabilities = npt.NDArray[Any]
Labels = npt.NDArray[np.int64]


def reliability(probabilities: Probabilities, labels: Labels) -> list[Bin]:
    """Group samples by their largest probability into 15 bins of equal width; empty bins are left out."""
    confidence = probabilities.max(axis=1).astype(np.float64)
    correct = probabilities.argmax(axis=1) == labels
    place = np.clip(np.ceil(confidence * BINS).astype(int) - 1, 0, BINS - 1)
    found = []
    for number in range(BINS):
        inside = place == number
        if inside.any():
            found.append(
                Bin(
                    low=number / BINS,
                    high=(number + 1) / BINS,
                    samples=int(inside.sum()),
                    confidence=float(confidence[inside].mean()),
                    accuracy=float(correct[inside].mean()),
                )
            )
    return found


def calibration_error(bins: list[Bin]) -> float:
    """Expected calibration error: mean distance of confidence and accuracy over samples (Guo et al. 2017, eq. 3)."""
    samples = sum(one.samples for one in bins)
    return sum(one.samples * abs(one.confidence - one.accuracy) for one in bins) / samples


def fit_temperature(probabilities: Probabilities, labels: Labels) -> float:
    """Return the temperature T that makes the labels most likely under softmax(log p / T) (Guo et al. 2017, §4).

    Above 1 the probabilities were too sure of themselves, below 1 not sure enough. The likelihood is concave in
    1/T, so it has one maximum. One number needs no more than 4,000 samples: of more, every so many-eth counts.
    """
    every = max(1, len(labels) // _ENOUGH)
    probabilities, labels = probabilities[::every], labels[::every]
    logs = np.log(np.maximum(probabilities, _SMALLEST))
    own = logs[np.arange(len(labels)), labels].mean()

    def loss(sharpness: float) -> float:
        return float(logsumexp(logs * sharpness, axis=1).mean() - sharpness * own)

    found = minimize_scalar(loss, bounds=(_SHARPEST, _BLUNTEST), method="bounded", options={"xatol": 1e-6})
    return 1 / float(found.x)


def tempered(probabilities: Probabilities, temperature: float) -> npt.NDArray[np.float64]:
    """Return softmax(log p / T): the same ranking, other confidence."""
    return np.asarray(softmax(np.log(np.maximum(probabilities, _SMALLEST)) / temperature, axis=1))


def crossed_temperature(probabilities: Probabilities, labels: Labels) -> tuple[float, float]:
    """Return the mean temperature and the calibration error where each half of the samples tempers the other.

    Every class is dealt alternately to the halves. This uses the labels of the samples it is told about: a
    diagnosis, no correction.
    """
    turn = np.zeros(len(labels), dtype=bool)
    order = np.argsort(labels, kind="stable")
    turn[order[1::2]] = True
    after, temperatures = np.empty(probabilities.shape), []
    for half in (turn, ~turn):
        temperatures.append(fit_temperature(probabilities[~half], labels[~half]))
        after[half] = tempered(probabilities[half], temperatures[-1])
    return float(np.mean(temperatures)), calibration_error(reliability(after, labels))
