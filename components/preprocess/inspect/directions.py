"""Which way do bodies stand and face? It decides whether, and about what, they are to be turned."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from components.contracts.data_config import AXES, DataConfig
from components.contracts.skeleton import Layout
from components.preprocess.inspect.doubts import Doubt
from components.preprocess.inspect.glimpse import Glimpse

ONE_WAY = 0.9
"""Mean of unit vectors; longer ones point the same way."""
CLEAR = 0.8
"""Cosine between where bodies point and an axis that is up."""
FEWEST = 8
"""Samples; fewer say too little."""

Vectors = npt.NDArray[np.float64]


def views_differ(glimpses: Sequence[Glimpse], layout: Layout) -> bool:
    """Whether bodies face different ways: by the directions of ``layout.across`` about where they stand up to."""
    ups, sides = _first(glimpses, layout, layout.upright), _first(glimpses, layout, layout.across)
    there = np.isfinite(ups).all(axis=1) & np.isfinite(sides).all(axis=1)
    up = _unit(ups[there]).sum(axis=0)
    if not np.linalg.norm(up) > 0:
        return False
    up = up / np.linalg.norm(up)
    across = sides[there] - (sides[there] @ up)[:, None] * up
    return bool(np.linalg.norm(_unit(across).mean(axis=0)) < ONE_WAY)


def up_axis(glimpses: Sequence[Glimpse], layout: Layout) -> str | None:
    """Return the axis of the input along which bodies stand, such as ``+y``; None where there is no such one."""
    (axis, cosine), *_ = sorted(_cosines(glimpses, layout).items(), key=lambda one: -one[1]) or [("", 0.0)]
    return axis if cosine >= CLEAR else None


def up_doubts(glimpses: Sequence[Glimpse], config: DataConfig) -> list[Doubt]:
    """Return the doubt that bodies do not stand along the axis about which they are to be turned."""
    cosine = _cosines(glimpses, config.skeleton).get(config.align, 1.0) if isinstance(config.align, str) else 1.0
    if cosine >= CLEAR:
        return []
    found = up_axis(glimpses, config.skeleton)
    text = f"data.align: {config.align} is to be up, and bodies do not stand along it (cosine {cosine:.2f} in the mean)"
    return [Doubt("up-axis", "stop", text, f'set data.align: "{found}"' if found else "set data.align: true")]


def _cosines(glimpses: Sequence[Glimpse], layout: Layout) -> dict[str, float]:
    """Return how far bodies point along each axis, in the mean over samples; nothing where too few are seen."""
    ups = [_between(seen, layout, layout.upright) for seen in glimpses if _fits(seen, layout)]
    means = np.array([_unit(vectors).mean(axis=0) for one in ups if len(vectors := one[np.isfinite(one).all(axis=1)])])
    if len(means) < FEWEST:
        return {}
    return {axis: float(means.mean(axis=0) @ np.asarray(matrix)[2]) for axis, matrix in AXES.items()}


def _first(glimpses: Sequence[Glimpse], layout: Layout, ends: tuple[str, str]) -> Vectors:
    found = [_between(seen, layout, ends)[0] for seen in glimpses if _fits(seen, layout)]
    return np.array(found).reshape(-1, 3)


def _fits(seen: Glimpse, layout: Layout) -> bool:
    return seen.poses.shape[1:] == (len(layout.joints), 3)


def _between(seen: Glimpse, layout: Layout, ends: tuple[str, str]) -> Vectors:
    start, end = (layout.number(name) for name in ends)
    return np.asarray(seen.poses[:, end] - seen.poses[:, start])


def _unit(vectors: Vectors) -> Vectors:
    return np.asarray(vectors / np.maximum(np.linalg.norm(vectors, axis=-1, keepdims=True), 1e-9))
