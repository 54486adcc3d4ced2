"""An order of classes in which those that are confused with each other stand together."""

from __future__ import annotations

import numpy as np

from components.contracts.accuracy import Counts


def clustered_order(counts: Counts) -> list[int]:
    """Return the class numbers in the order of the leaves of an average-linkage clustering.

    Args:
        counts: ``[true, predicted]``. Two classes are as similar as the share of their samples that is taken for
            the other; classes that nothing is confused with keep their place among the beginnings of the clusters.
    """
    samples = counts.sum(axis=1).astype(np.float64)
    both = np.maximum(samples[:, None] + samples[None, :], 1)
    between = (counts + counts.T) / both
    np.fill_diagonal(between, 0)
    linkage, sizes = between.copy(), np.ones(len(counts))
    clusters: dict[int, list[int]] = {label: [label] for label in range(len(counts))}
    while linkage.any():
        one, two = sorted(divmod(int(linkage.argmax()), len(linkage)))
        clusters[one] = _joined(clusters[one], clusters.pop(two), between)
        merged = (sizes[one] * linkage[one] + sizes[two] * linkage[two]) / (sizes[one] + sizes[two])
        sizes[one] += sizes[two]
        linkage[one], linkage[:, one] = merged, merged
        linkage[two], linkage[:, two], linkage[one, one] = 0, 0, 0
    return [label for _, cluster in sorted(clusters.items()) for label in cluster]


def _joined(one: list[int], two: list[int], between: np.ndarray) -> list[int]:
    """Join two clusters such that the classes that meet are as similar as possible."""
    ways = [(a, b) for a in (one, one[::-1]) for b in (two, two[::-1])]
    return max(((a + b) for a, b in ways), key=lambda both: between[both[len(one) - 1], both[len(one)]])
