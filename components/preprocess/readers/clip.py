"""A clip of skeletons as a file holds it, before anybody says what is seen in it."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.config import DataConfig

Array = npt.NDArray[Any]


class ClipFaultError(Exception):
    """A file or clip that cannot be used; the message says what was found and what was expected."""


@dataclass(frozen=True)
class Clip:
    """keypoints: ``[M, T, V, C]``; scores: ``[M, T, V]`` if known; image: (height, width) if known."""

    name: str
    keypoints: Array
    scores: Array | None = None
    image: tuple[int, int] | None = None


@dataclass(frozen=True)
class Expected:
    """What is known of the joints before a file is read: their number, and whether they have a depth."""

    joints: int | None = None
    depth: bool | None = None


def expectation(config: DataConfig | None) -> Expected:
    """Return what a configuration expects of a file's joints."""
    if config is None:
        return Expected()
    joints: int | None = len(config.skeleton.joints)
    if isinstance(config.joints, tuple):
        joints = len(config.joints) if isinstance(config.joints[0], str) else None
    elif config.joints is not None:
        joints = None
    return Expected(joints, config.dimensions == "3d")


def natural(name: str) -> list[tuple[int, str]]:
    """Return a key that sorts names as people do: 2 before 10."""
    return [(int(part), "") if part.isdigit() else (-1, part) for part in re.split(r"(\d+)", name) if part]


def with_depth(points: Array, scores: Array | None, depth: bool | None) -> tuple[Array, Array | None]:
    """Part four columns, x, y, z and visibility as MediaPipe has them, into coordinates and scores.

    x and y alone get scores: 1 where a joint is, 0 where it is lost, which is NaN or exactly (0, 0).

    Args:
        points: ``[…, V, C]``.
        scores: ``[…, V]`` or None.
        depth: whether z is wanted; None: it is.
    """
    if points.shape[-1] == 2 and scores is None and points.dtype.kind in "fiu":
        return points, (np.isfinite(points) & (points != 0)).any(axis=-1).astype(np.float64)
    if points.shape[-1] != 4:
        return points, scores
    visible = points[..., 3] if scores is None else scores
    return (points[..., :2], visible) if depth is False else (points[..., :3], None)


def numbers(value: Any, what: str) -> Array:
    """Return nested lists as an array of numbers; ``ClipFaultError`` if they are none."""
    try:
        found = np.asarray(value)
        if found.dtype == object:
            found = np.asarray(value, dtype=np.float64)  # None, JSON's null, is NaN
    except (ValueError, TypeError):
        raise ClipFaultError(f"{what}: its lists differ in length or hold something else than numbers") from None
    if found.dtype.kind not in "fiu":
        raise ClipFaultError(f"{what}: found {found.dtype}, expected numbers")
    return found
