"""A glimpse of a sample: a few poses of its main person, enough to judge joints and units of a whole data set by."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.preprocess.readers.samples import ABSENT, Sample

POSES = 12
SURE = 0.3
"""A joint with a lower score is a guess."""

Array = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Glimpse:
    """Poses of one sample, in its own units: ``[T, V, C]``, NaN where a joint is missing or a guess.

    ``image``: (height, width) if known.
    """

    poses: Array
    image: tuple[int, int] | None = None


def glimpse(sample: Sample) -> Glimpse | None:
    """Return up to ``POSES`` poses, spread over the sample, of the person there longest; None if there is nobody."""
    points = sample.keypoints
    if points.ndim != 4 or points.dtype.kind not in "fiu" or 0 in points.shape:
        return None
    # In float64, that no square overflows.
    there = (np.abs(points) > ABSENT).any(axis=(2, 3)) & np.isfinite(points).all(axis=(2, 3))
    person = int(there.sum(axis=1).argmax())
    frames = np.flatnonzero(there[person])
    if not len(frames):
        return None
    chosen = frames[np.unique(np.linspace(0, len(frames) - 1, POSES).round().astype(int))]
    poses = np.array(points[person, chosen], dtype=np.float64)
    poses[~(poses != 0).any(axis=-1)] = np.nan
    if _scored(sample):
        poses[sample.scores[person, chosen] < SURE] = np.nan  # type: ignore[index]
    return Glimpse(poses, sample.image)


def _scored(sample: Sample) -> bool:
    scores: Any = sample.scores
    return scores is not None and scores.shape == sample.keypoints.shape[:3] and scores.dtype.kind in "fiu"
