"""Are coordinates what their unit says: metres, or pixels inside the image?"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from components.contracts.config import DataConfig
from components.preprocess.inspect.doubts import Doubt
from components.preprocess.inspect.glimpse import Glimpse

TALLEST = 20.0
"""Metres; larger bodies are measured in another unit. (Half of it suits what is normalised by the image.)"""
CENTIMETRES = 350.0
"""Larger bodies than this are measured in millimetres."""
SMALLEST_IMAGE = 16
OUTSIDE = 0.25
MARGIN = 0.1
ALL_BUT = 0.95
MEDIAPIPE = 33
"""Joints of the one estimator that writes shares of the image beside a depth."""


def unit_doubts(glimpses: Sequence[Glimpse], config: DataConfig) -> list[Doubt]:
    """Return what is doubtful about the unit of coordinates, of 3d or 2d samples."""
    poses = [seen.poses for seen in glimpses if np.isfinite(seen.poses).any()]
    if not poses:
        return []
    return _lengths(poses, len(config.skeleton.joints)) if config.dimensions == "3d" else _pixels(glimpses, config)


def body_size(poses: Sequence[np.typing.NDArray[np.float64]]) -> float:
    """Return the median over samples of the largest extent of a body, in the data's unit."""
    sizes = []
    for pose in poses:
        seen = pose[np.isfinite(pose).all(axis=-1).sum(axis=1) > 1]
        if len(seen):
            sizes.append(np.median((np.nanmax(seen, axis=1) - np.nanmin(seen, axis=1)).max(axis=-1)))
    return float(np.median(sizes)) if sizes else 0.0


def _lengths(poses: Sequence[np.typing.NDArray[np.float64]], joints: int) -> list[Doubt]:
    if looks_scored(poses):
        text = "x and y reach beyond 20 and the third coordinate lies within 0 and 1: x, y and a score, not metres"
        return [
            Doubt("score-as-depth", "stop", text, "set data.dimensions: 2d+score and data.normalisation: image or none")
        ]
    if are_shares(poses) and joints == MEDIAPIPE:
        text = "x and y lie within 0 and 1, y grows downwards: MediaPipe's shares of the image, not metres"
        remedy = (
            "set data.dimensions: 2d+score, data.units: shares and data.normalisation: image, or take world landmarks"
        )
        return [Doubt("shares-of-image", "stop", text, remedy)]
    size = body_size(poses)
    if size > TALLEST:
        unit = "millimetres" if size > CENTIMETRES else "centimetres"
        text = f"bodies are {size:.0f} units tall: {unit}, metres expected"
        return [Doubt("not-metres", "stop", text, f"set data.units: {unit}")]
    return []


def are_shares(poses: Sequence[np.typing.NDArray[np.float64]]) -> bool:
    """Whether x and y are shares of an image: nearly all within 0 and 1, though z, of three, may be anything."""
    flat = np.concatenate([pose[..., :2].reshape(-1, 2) for pose in poses])
    flat = flat[np.isfinite(flat).all(axis=1)]
    return bool(len(flat)) and bool(np.mean((flat > -MARGIN) & (flat < 1 + MARGIN)) > ALL_BUT) and flat.max() > MARGIN


def looks_scored(poses: Sequence[np.typing.NDArray[np.float64]]) -> bool:
    """Whether three coordinates are x and y in pixels and a score."""
    values = np.concatenate([pose.reshape(-1, pose.shape[-1]) for pose in poses])
    values = values[np.isfinite(values).all(axis=1)]
    if not len(values) or values.shape[1] != 3:
        return False
    third = values[:, 2]
    return bool(third.min() >= 0 and third.max() <= 1.05 and np.median(np.abs(values[:, :2])) > TALLEST)


def _pixels(glimpses: Sequence[Glimpse], config: DataConfig) -> list[Doubt]:
    known = [seen for seen in glimpses if seen.image is not None and min(seen.image) >= SMALLEST_IMAGE]
    if not known:
        return []
    if np.mean([np.nanmax(np.abs(seen.poses), initial=0) <= 2 for seen in known]) > 0.9:
        height, width = known[0].image or (0, 0)
        text = f"coordinates lie within 0 and 1, but the image is {width}×{height} pixels: they are shares of it"
        return [Doubt("shares-of-image", "stop", text, "set data.units: shares")]
    outside, turned = (float(np.mean([_outside(seen, swap) for seen in known])) for swap in (False, True))
    if outside < OUTSIDE:
        return []
    height, width = known[0].image or (0, 0)
    text = f"{outside:.0%} of the joints lie outside of the image, {width} wide and {height} high"
    if turned < outside / 2:
        other = "width_height" if config.image_size == "height_width" else "height_width"
        return [
            Doubt(
                "outside-image", "stop", f"{text}; {turned:.0%} if these are exchanged", f"set data.image_size: {other}"
            )
        ]
    return [Doubt("outside-image", "stop", text, "set data.image_size: [height, width]")]


def _outside(seen: Glimpse, swap: bool) -> float:
    height, width = seen.image or (1, 1)
    size = np.array([height, width] if swap else [width, height], dtype=np.float64)
    joints = seen.poses[np.isfinite(seen.poses).all(axis=-1)][:, :2]
    if not len(joints):
        return 0.0
    return float(((joints < -MARGIN * size) | (joints > (1 + MARGIN) * size)).any(axis=1).mean())
