"""Gaps of joints, NaN or lost by the sensor, filled by interpolation over time."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import numpy.typing as npt

from components.preprocess.readers.samples import ABSENT, Sample

FAR = 0.1
"""A joint that is lost, not at the origin, would be farther away from it than this share of the body's extent."""


@dataclass(frozen=True)
class Filled:
    """A sample without gaps, how many positions of joints were filled, or the reason why it cannot be used."""

    sample: Sample
    filled: int = 0
    reason: str = ""


def fill(sample: Sample, most: int) -> Filled:
    """Fill the gaps of a sample that last at most ``most`` frames.

    A gap is where a coordinate is NaN or, in 3d, where a joint is exactly zero in the midst of its way through other
    places. A frame in which all of a person is NaN is one without that person. What is filled gets score 0.
    """
    points = sample.keypoints
    if points.ndim != 4 or points.dtype.kind != "f" or 0 in points.shape:
        return Filled(sample)
    # A sum is NaN if anything in it is: most samples need no closer look.
    has_unknown = bool(np.isnan(points.sum(dtype=np.float64)))
    zero = _zeros(points)
    if not has_unknown and not _is_partial(zero):
        return Filled(sample)
    unknown = np.isnan(points).any(axis=-1)
    lost = unknown | zero
    points = np.array(points)
    scores = None if sample.scores is None else np.array(sample.scores)
    there = ~unknown.all(axis=2) & (np.abs(np.nan_to_num(points)) > ABSENT).any(axis=(2, 3))
    points[unknown & ~there[..., None]] = 0
    gaps = lost & there[..., None]
    filled = 0
    for person, joint in np.argwhere(gaps.any(axis=1)):
        frames = np.flatnonzero(there[person])
        gap = gaps[person, frames, joint]
        way = points[person, frames, joint]
        if gap.all():  # never seen: as the sensors write it
            way[np.isnan(way).any(axis=-1)] = 0
            points[person, frames, joint] = way
            continue
        longest, mended = _mended(way, gap, unknown[person, frames, joint], most)
        if longest:
            return Filled(
                sample, 0, f"keypoint: joint {joint} is NaN in {longest} frames in a row, at most {most} are filled"
            )
        points[person, frames, joint] = way
        filled += len(mended)
        if scores is not None and scores.ndim == 3 and scores.shape == points.shape[:3] and scores.dtype.kind == "f":
            scores[person, frames[mended], joint] = 0
    return Filled(replace(sample, keypoints=points, scores=scores), filled)


def _zeros(points: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return where joints of 3d bodies are exactly zero: bool ``[M, T, V]``. In 2d a score says that."""
    if points.shape[-1] != 3:
        return np.zeros(points.shape[:3], dtype=bool)
    zero = np.asarray(points[..., 0] == 0)
    if zero.any():
        zero &= (points[..., 1] == 0) & (points[..., 2] == 0)
    return zero


def _is_partial(zero: npt.NDArray[np.bool_]) -> bool:
    """Whether some joints are zero of a person who is there."""
    number = zero.sum(axis=2)
    return bool(((number > 0) & (number < zero.shape[2])).any())


def _mended(
    way: npt.NDArray[Any], gap: npt.NDArray[np.bool_], unknown: npt.NDArray[np.bool_], most: int
) -> tuple[int, npt.NDArray[np.int64]]:
    """Interpolate the short gaps of one joint's way ``[T, C]`` in place.

    Returns:
        the length of the longest gap of NaN that is too long (else 0), and the frames that were filled.
    """
    frames = np.arange(len(way))
    known = frames[~gap]
    line = np.stack(
        [np.interp(frames, known, way[known, axis].astype(np.float64)) for axis in range(way.shape[1])], axis=1
    )
    extent = np.abs(way[known]).max()
    starts = np.flatnonzero(gap & ~np.concatenate([[False], gap[:-1]]))
    ends = np.flatnonzero(gap & ~np.concatenate([gap[1:], [False]])) + 1
    mended: list[int] = []
    longest = 0
    for start, end in zip(starts.tolist(), ends.tolist(), strict=True):
        run = np.arange(start, end)
        is_unknown = bool(unknown[run].any())
        if end - start > most:
            longest = max(longest, end - start) if is_unknown else longest
        elif is_unknown or (start > 0 and end < len(way) and np.abs(line[run]).max(axis=1).min() > FAR * extent):
            way[run] = line[run]
            mended.extend(run.tolist())
    return longest, np.asarray(mended, dtype=np.int64)
