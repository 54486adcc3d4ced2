"""Denoising of NTU RGB+D's recordings: which of the bodies that the sensor tracked are the persons who act.

The sensor tracks up to six bodies, some of them furniture. Which two make the sample follows the published
preprocessing (thresholds of Zhang et al. 2019 and Chen et al. 2021; the pickle that the reference trains on was
made the same way): short tracks go, then tracks that are too wide for a standing body in most frames, the rest is
ranked by motion, and tracks that do not overlap in time continue one another. One change: where the published
code would be left with no track at all, the one that moves most stays.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.preprocess.readers.skeleton_text import Recording

JOINTS = 25
SHORTEST_TRACK = 12
WIDEST = 0.8
"""A body wider (range of x) than this share of its height (range of y) is not taken for one."""
MOST_WIDE_FRAMES = 0.69754


@dataclass(eq=False)
class Track:
    """One tracked body: joints float32 ``[T, V, 3]`` at the frames ``frames [T]``, rising."""

    joints: npt.NDArray[np.float32]
    frames: npt.NDArray[np.int64]
    motion: float

    @property
    def span(self) -> tuple[int, int]:
        """First frame, and the frame behind the last one."""
        return int(self.frames[0]), int(self.frames[-1]) + 1


def two_bodies(recording: Recording) -> npt.NDArray[np.float32]:
    """Return ``[M, T, V, 3]``, M = 1 or 2: the bodies that act, in the frames in which one of them is there."""
    tracks = _tracks(recording)
    if len(tracks) > 1:
        tracks = _without_short(tracks)
    if len(tracks) > 1:
        tracks = _without_wide(tracks)
    tracks.sort(key=lambda track: -track.motion)
    if len(tracks) == 1:
        return tracks[0].joints[None]
    keypoints = _joined(tracks, recording.frames)
    present = np.abs(keypoints).sum(axis=(2, 3)) > 0
    kept = present.any(axis=0)
    keypoints, present = keypoints[:, kept], present[:, kept]
    if not present[1].any():
        return keypoints[:1]
    # Whoever is there from the start comes first.
    return keypoints if present[0, 0] else np.ascontiguousarray(keypoints[::-1])


def motion(joints: npt.NDArray[np.float32]) -> float:
    """Return how much a body moves: the variances of x, y and z over all joints and frames, summed."""
    return float(joints.reshape(-1, 3).var(axis=0, dtype=np.float64).sum())


def _tracks(recording: Recording) -> list[Track]:
    """Return the tracks in order of appearance. A body that a frame lists twice counts once, with its first entry."""
    entries: dict[str, dict[int, int]] = {}
    for number, (body, frame) in enumerate(zip(recording.body, recording.frame.tolist(), strict=True)):
        entries.setdefault(body, {}).setdefault(frame, number)
    tracks = []
    for frames in entries.values():
        joints = recording.joints[list(frames.values())]
        tracks.append(Track(joints, np.fromiter(frames, dtype=np.int64), motion(joints)))
    return tracks


def _without_short(tracks: list[Track]) -> list[Track]:
    long = [track for track in tracks if len(track.frames) >= SHORTEST_TRACK]
    return long or [max(tracks, key=lambda track: track.motion)]


def _without_wide(tracks: list[Track]) -> list[Track]:
    """Drop tracks that are too wide in most frames; elsewhere leave such frames out of the motion."""
    left = list(tracks)
    for track in tracks:
        if len(left) == 1:
            break
        ranges = np.ptp(track.joints[..., :2], axis=1)
        upright = ranges[:, 0] <= WIDEST * ranges[:, 1]
        if 1 - upright.mean() >= MOST_WIDE_FRAMES:
            left.remove(track)
        elif not upright.all():
            track.motion = min(track.motion, motion(track.joints[upright]))
    return left


def _joined(tracks: Sequence[Track], frames: int) -> npt.NDArray[np.float32]:
    """Give each track, in order, to the first of two persons who has none at that time; others are left out.

    As published, the second person counts as there from the first frame on, once a track was given to it.
    """
    keypoints = np.zeros((2, frames, JOINTS, 3), dtype=np.float32)
    keypoints[0, tracks[0].frames] = tracks[0].joints
    spans = [tracks[0].span, (0, 0)]
    for track in tracks[1:]:
        first, behind = track.span
        for person, (start, end) in enumerate(spans):
            if max(start, first) >= min(end, behind):
                keypoints[person, track.frames] = track.joints
                spans[person] = (min(start, first), max(end, behind))
                break
    return keypoints
