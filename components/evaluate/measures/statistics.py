"""How sure a number is: bootstrap intervals, the exact McNemar test and Holm's correction.

A bootstrap resample of N samples is drawn as counts of *kinds* of samples (multinomial), which is the same
distribution as drawing samples one by one and takes no memory per sample. The seed is fixed: same numbers,
same intervals.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from scipy.stats import binomtest, norm

from components.contracts.metric_parts import Interval, Paired

RESAMPLES = 2000
LEVEL = 0.95
_SEED = 20_080_815
_FEW = 5
_NORMAL = float(norm.ppf((1 + LEVEL) / 2))

Counts = npt.NDArray[np.int64]


def resampled(kinds: Counts, resamples: int = RESAMPLES) -> Counts:
    """Return bootstrap counts of kinds of samples, int64 ``[resamples, K]``; ``kinds`` are the observed ``[K]``."""
    rng = np.random.default_rng(_SEED)
    total = int(kinds.sum())
    return rng.multinomial(total, kinds / total, size=resamples)


def percentiles(values: npt.NDArray[np.float64]) -> Interval:
    """The percentile interval of bootstrap values; NaN values are left out."""
    outside = 50 * (1 - LEVEL)
    low, high = np.nanpercentile(values, [outside, 100 - outside])
    return Interval(low=float(low), high=float(high))


def share_interval(part: int, whole: int) -> Interval:
    """Interval of the share ``part / whole``: percentile bootstrap, or Wilson's where all or none are in the part.

    (There, every resample equals the sample, which would claim certainty.)
    """
    if part in (0, whole):
        return wilson(part, whole)
    return percentiles(resampled(np.asarray([part, whole - part]))[:, 0] / whole)


def mean_interval(values: npt.NDArray[np.float64]) -> Interval:
    """Interval of the mean of ``[K]`` values, which are resampled."""
    drawn = np.random.default_rng(_SEED).integers(len(values), size=(RESAMPLES, len(values)))
    return percentiles(values[drawn].mean(axis=1))


def wilson(part: int, whole: int) -> Interval:
    """Wilson's score interval of a share (Wilson 1927)."""
    found = binomtest(part, whole).proportion_ci(LEVEL, method="wilson")
    return Interval(low=float(found.low), high=float(found.high))


def mean_class_interval(predicted: Counts, labels: Counts, classes: int) -> Interval:
    """Interval of ``accuracy.mean_class_accuracy``; ``predicted`` and ``labels`` are ``[N]``.

    Samples are resampled. A class without samples that some were taken for counts as 0, as it does there.
    """
    correct, there = predicted == labels, np.unique(labels)
    weight = len(there) / len(np.union1d(there, predicted))
    kinds = np.bincount(labels * 2 + correct, minlength=2 * classes)
    if correct.all() or not correct.any():
        found = wilson(int(correct.sum()), len(correct))
    else:
        drawn = resampled(kinds).reshape(-1, classes, 2)
        samples = drawn.sum(axis=2)
        recall = np.divide(drawn[:, :, 1], samples, out=np.full(samples.shape, np.nan), where=samples > 0)
        found = percentiles(np.nanmean(recall, axis=1))
    return Interval(low=found.low * weight, high=found.high * weight)


def paired(first: npt.NDArray[np.bool_], second: npt.NDArray[np.bool_]) -> Paired:
    """Compare which of the same ``[N]`` samples two predictors have correct."""
    won, lost = int((second & ~first).sum()), int((first & ~second).sum())
    samples = len(first)
    if min(won, lost) < _FEW:
        interval = _adjusted_wald(won, lost, samples)
    else:
        drawn = resampled(np.asarray([won, lost, samples - won - lost]))
        interval = percentiles((drawn[:, 0] - drawn[:, 1]) / samples)
    return Paired(
        won=won,
        lost=lost,
        samples=samples,
        difference=(won - lost) / samples,
        interval=interval,
        p_value=mcnemar(won, lost),
    )


def _adjusted_wald(won: int, lost: int, samples: int) -> Interval:
    """Agresti and Min's interval (2005): half a sample is added to each of the four cells.

    Where hardly a sample was lost, resamples know of none, and the bootstrap would contradict McNemar's test.
    """
    if won + lost == 0:
        return Interval(low=0.0, high=0.0)
    difference = (won - lost) / (samples + 2)
    half = _NORMAL * (won + lost + 1 - (won - lost) ** 2 / (samples + 2)) ** 0.5 / (samples + 2)
    return Interval(low=difference - half, high=difference + half)


def mcnemar(won: int, lost: int) -> float:
    """Two-sided exact p-value: the changed samples as tosses of a fair coin (McNemar 1947; Edwards 1948)."""
    return float(binomtest(won, won + lost).pvalue) if won + lost else 1.0


def holm(p_values: Sequence[float]) -> list[float]:
    """Adjust p-values for their number, such that 5 % of all families hold a false one (Holm 1979)."""
    adjusted, running = [0.0] * len(p_values), 0.0
    for place, index in enumerate(sorted(range(len(p_values)), key=lambda index: (p_values[index], index))):
        running = max(running, min(1.0, p_values[index] * (len(p_values) - place)))
        adjusted[index] = running
    return adjusted


def ratio_change(rows: Counts) -> tuple[float, Interval] | None:
    """Compare how two kinds of mistakes changed: the ratio after/before of the first minus that of the second.

    Args:
        rows: per sample, its mistakes of kind one before and after, and of kind two before and after: ``[N, 4]``.

    Returns:
        The difference and its interval over resampled samples; None if a kind did not occur before.
    """
    total = rows.sum(axis=0)
    if not total[0] or not total[2]:
        return None
    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    drawn = (resampled(counts) @ kinds).astype(np.float64)
    drawn[drawn[:, 0] == 0, 0] = np.nan
    drawn[drawn[:, 2] == 0, 2] = np.nan
    difference = float(total[1] / total[0] - total[3] / total[2])
    return difference, percentiles(drawn[:, 1] / drawn[:, 0] - drawn[:, 3] / drawn[:, 2])


def rise_difference(rows: Counts) -> tuple[float, Interval] | None:
    """Compare how the recall of two groups of samples rose: that of the first minus that of the second.

    Args:
        rows: per sample, whether it is in group one, and if so whether it was correct before and after; the same of
            group two: ``[N, 6]``. Counts above 1 where several predictors are summed.

    Returns:
        The difference and its interval over resampled samples; None if a group is empty.
    """
    total = rows.sum(axis=0)
    if not total[0] or not total[3]:
        return None

    def rise(counts: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        one, before, after, two, before_two, after_two = counts.T
        return np.asarray((after - before) / one - (after_two - before_two) / two)

    kinds, counts = np.unique(rows, axis=0, return_counts=True)
    drawn = (resampled(counts) @ kinds).astype(np.float64)
    drawn[drawn[:, 0] == 0, 0] = np.nan
    drawn[drawn[:, 3] == 0, 3] = np.nan
    return float(rise(total.astype(np.float64))), percentiles(rise(drawn))
