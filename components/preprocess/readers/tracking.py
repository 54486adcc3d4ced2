"""Persons found in each frame by itself become persons of a clip."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.preprocess.readers.clip import Array, ClipFaultError

MOST_PERSONS = 10
"""Persons of a clip; of more, those there longest stay."""
MEMORY = 30
"""Frames for which a person who is gone may come back as the same."""
LEAP = 1.0
"""How far a person may go from one frame to the next, in sizes of the body."""


@dataclass(frozen=True)
class Person:
    """One person in one frame: points ``[V, C]``, scores ``[V]`` if known, and the tool's number of the person."""

    points: Array
    scores: Array | None = None
    track: str | None = None


def joined(frames: Sequence[Sequence[Person]]) -> tuple[Array, Array | None]:
    """Return coordinates ``[M, T, V, C]`` and scores ``[M, T, V]``, zero where a person is absent.

    Where the tool says who is who, by that; otherwise each person continues the one who was nearest, by the mean
    distance of the joints, nearest pairs first; who is farther than a body's size from everybody is somebody new.

    Raises:
        ClipFaultError: nobody is in any frame, or persons differ in their joints.
    """
    everybody = [person for frame in frames for person in frame]
    if not everybody:
        raise ClipFaultError("nobody in any frame")
    shape = Counter(person.points.shape for person in everybody).most_common(1)[0][0]
    for number, frame in enumerate(frames):
        for person in frame:
            if person.points.shape != shape:
                found = "×".join(map(str, person.points.shape))
                raise ClipFaultError(f"frame {number}: found {found} joints×channels, {shape[0]}×{shape[1]} elsewhere")
    tracked = all(person.track is not None for person in everybody)
    places = _by_track(frames) if tracked else _by_distance(frames)
    counts = Counter(place for of_frame in places for place in of_frame)
    kept = sorted(sorted(counts, key=lambda place: -counts[place])[:MOST_PERSONS])
    slot = {place: number for number, place in enumerate(kept)}
    points = np.zeros((len(kept), len(frames), *shape), dtype=np.float64)
    scored = any(person.scores is not None for person in everybody)
    scores = np.zeros(points.shape[:3], dtype=np.float64)
    for number, (frame, of_frame) in enumerate(zip(frames, places, strict=True)):
        for person, place in zip(frame, of_frame, strict=True):
            if place in slot:
                points[slot[place], number] = person.points
                scores[slot[place], number] = 1.0 if person.scores is None else person.scores
    return points, scores if scored else None


def _by_track(frames: Sequence[Sequence[Person]]) -> list[list[int]]:
    numbers: dict[str | None, int] = {}
    return [[numbers.setdefault(person.track, len(numbers)) for person in frame] for frame in frames]


def _by_distance(frames: Sequence[Sequence[Person]]) -> list[list[int]]:
    last: dict[int, tuple[int, Array]] = {}
    places: list[list[int]] = []
    known = 0
    for number, frame in enumerate(frames):
        recent = {place: points for place, (when, points) in last.items() if number - when <= MEMORY}
        pairs = sorted(
            (distance, index, place)
            for index, person in enumerate(frame)
            for place, points in recent.items()
            if (distance := _distance(person.points, points)) <= LEAP
        )
        of_frame = [-1] * len(frame)
        for _, index, place in pairs:
            if of_frame[index] < 0 and place not in of_frame:
                of_frame[index] = place
        for index in range(len(frame)):
            if of_frame[index] < 0:
                of_frame[index], known = known, known + 1
            last[of_frame[index]] = number, frame[index].points
        places.append(of_frame)
    return places


def _distance(one: Array, other: Array) -> float:
    """Return the mean distance of the joints that both have, in sizes of the body; infinite if there is none."""
    both = (one[:, :2] != 0).any(axis=1) & (other[:, :2] != 0).any(axis=1) & np.isfinite(one + other).all(axis=1)
    if not both.any():
        return float("inf")
    size = max(float(np.ptp(points[both], axis=0).max()) for points in (one, other))
    apart = float(np.linalg.norm(one[both] - other[both], axis=1).mean())
    return apart / size if size > 0 else float(apart > 0) * 2
