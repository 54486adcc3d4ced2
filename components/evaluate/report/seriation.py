"""An order of classes in which those that are confused with each other stand together."""

from __future__ import annotations

import numpy as np
from scipy.cluster.hierarchy import leaves_list, linkage
from scipy.spatial.distance import squareform

from components.contracts.accuracy import Counts


def clustered_order(counts: Counts) -> list[int]:
    """Return the class numbers in the order of the leaves of an average-linkage clustering, ordered optimally.

    Args:
        counts: ``[true, predicted]``. Two classes are as near as the share of their samples that is taken for the
            other is large. Optimal is the order in which neighbours are nearest (Bar-Joseph et al. 2001); classes
            that nothing is confused with keep their own order at the end.
    """
    samples = counts.sum(axis=1).astype(np.float64)
    between = (counts + counts.T) / np.maximum(samples[:, None] + samples[None, :], 1)
    np.fill_diagonal(between, 0)
    confused, alone = np.flatnonzero(between.any(axis=1)), np.flatnonzero(~between.any(axis=1))
    if len(confused) < 3:
        return [*confused.tolist(), *alone.tolist()]
    near = between[np.ix_(confused, confused)]
    distance = 1 - near
    np.fill_diagonal(distance, 0)
    tree = linkage(squareform(distance, checks=False), method="average", optimal_ordering=True)
    return [*confused[leaves_list(tree)].tolist(), *alone.tolist()]
