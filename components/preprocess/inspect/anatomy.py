"""Do the joints stand in the order of a layout? Bones tell: they are short, and left ones are as long as right ones.

Bodies are told by what does not depend on where up is or on the unit: with the right order, a layout's bones join
neighbours, so that they are a third as long as the distance of any two joints; with another order they run across
the body, and left and right differ. A search over exchanges of joints says how short they could be.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.contracts.skeleton import Layout, layout_names, load_layout
from components.preprocess.inspect.doubts import Doubt
from components.preprocess.inspect.glimpse import Glimpse

FEWEST = 8
"""Samples; fewer say too little."""
SEEN = 0.75
"""Share of the joints that must be seen: a bust says nothing about the order of all."""
SHORTER = 0.85
"""Bones that another order makes shorter than this share of what they are are the wrong bones."""
COMPACT = 0.6
"""Bones of a body, in mean distances of its joints; a cloud of points has longer ones in any order."""
UNLIKE = 0.12
"""Mean |log| of the lengths of a left bone and its right one; bodies have 0.02."""
LARGEST_SEARCH = 60
"""Joints; the search is cubic in their number."""

Distances = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Fit:
    """How a layout fits: ``length`` of its bones in mean distances of joints, ``unlike`` of left and right ones."""

    layout: Layout
    length: float
    unlike: float

    @property
    def good(self) -> bool:
        return self.length < COMPACT and self.unlike < UNLIKE


def distances(glimpses: Sequence[Glimpse]) -> Distances | None:
    """Return the median distance of each two joints in body sizes ``[V, V]``; None if too little is seen."""
    found = [pairs for seen in glimpses if (pairs := _pairs(seen.poses)) is not None]
    if len(found) < FEWEST:
        return None
    with np.errstate(all="ignore"):
        middle: Distances = _nanmedian(np.stack(found))
    seen = np.isfinite(middle).mean(axis=0) > SEEN / 2
    return middle if seen.mean() >= SEEN else None


def _pairs(poses: npt.NDArray[np.float64]) -> Distances | None:
    centre = _nanmean(poses)
    size = np.sqrt(_nanmean(np.nansum((poses - centre[:, None]) ** 2, axis=-1)[..., None])[..., 0])
    if not (size > 0).any():
        return None
    apart = np.linalg.norm(poses[:, :, None] - poses[:, None], axis=-1)
    return _nanmedian(apart[size > 0] / size[size > 0, None, None])


def _nanmean(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the mean over axis 1, of what is not NaN; 0 of nothing."""
    there = np.isfinite(values)
    total = np.where(there, values, 0).sum(axis=1)
    return np.asarray(total / np.maximum(there.sum(axis=1), 1))


def _nanmedian(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Return the median over axis 0; NaN where less than half is seen."""
    seen = np.isfinite(values).mean(axis=0) >= 0.5
    filled = np.where(np.isfinite(values), values, np.inf)
    return np.asarray(np.where(seen, np.median(np.sort(filled, axis=0)[: (len(values) + 1)], axis=0), np.nan))


def fit(apart: Distances, layout: Layout) -> Fit:
    """Measure how a layout of as many joints fits."""
    return Fit(layout, _length(apart, _edges(layout)) / _mean(apart), _unlike(apart, layout))


def fits(apart: Distances) -> list[Fit]:
    """Return the fits of all layouts with this number of joints that ship with us, the best first."""
    layouts = [layout for layout in map(load_layout, layout_names()) if len(layout.joints) == len(apart)]
    return sorted((fit(apart, layout) for layout in layouts), key=lambda found: found.length + found.unlike)


def order_doubts(glimpses: Sequence[Glimpse], layout: Layout) -> list[Doubt]:
    """Return the doubt that the joints stand in another order than the layout's, if there is one."""
    apart = distances(glimpses)
    if apart is None or len(apart) != len(layout.joints) or len(layout.edges) < 3:
        return []
    found = fit(apart, layout)
    crossed = _crossed(glimpses, layout)
    others = [other for other in fits(apart) if other.good and other.length < SHORTER * found.length]
    if found.unlike >= UNLIKE and others:
        name = others[0].layout.name
        text = f"the joints stand in the order of layout {name}, not in that of {layout.name}: {_measured(found)}"
        return [Doubt("joint-order", "stop", text, f"set data.layout: {name}")]
    if found.unlike >= UNLIKE and len(apart) <= LARGEST_SEARCH:
        best, order = shortest(apart, layout)
        if best < min(SHORTER * found.length, COMPACT):
            text = (
                f"the joints do not stand in the order of layout {layout.name}: {_measured(found)}, and other orders "
                f"make its bones {found.length / best:.1f} times shorter{_exchanged(order, layout)}"
            )
            return [Doubt("joint-order", "stop", text, _OWN_ORDER)]
    if crossed:
        text = f"left and right of layout {layout.name} are exchanged at the shoulders or at the hips, not at both"
        return [Doubt("joint-order", "stop", text, _OWN_ORDER)]
    return _head_doubts(glimpses, layout) if found.good else []


_OWN_ORDER = "say the file's order in data.joints, or give a layout of your own in data.layout (inspect prints them)"


def _measured(found: Fit) -> str:
    apart = np.expm1(found.unlike)
    return f"left and right bones differ by {apart:.0%}, bones are {found.length:.0%} of the distance of any two joints"


def _exchanged(order: npt.NDArray[np.int64], layout: Layout) -> str:
    moved = [layout.joints[joint] for joint in np.flatnonzero(order != np.arange(len(order)))]
    return f" (exchanged: {', '.join(moved)})" if 0 < len(moved) <= 4 else ""


def shortest(apart: Distances, layout: Layout) -> tuple[float, npt.NDArray[np.int64]]:
    """Exchange two joints at a time for as long as the bones become shorter.

    Returns:
        the bones' length in mean distances of joints, and for each joint of the layout which one stands for it.
    """
    edges, order = _edges(layout), np.arange(len(apart))
    most = float(np.nanmax(apart)) if np.isfinite(apart).any() else 1.0
    filled = np.where(np.isfinite(apart), apart, most)
    length = filled[edges[:, 0], edges[:, 1]].mean()
    while True:
        best = (length, 0, 0)
        for first in range(len(order)):
            for second in range(first):
                order[[first, second]] = order[[second, first]]
                tried = filled[order[edges[:, 0]], order[edges[:, 1]]].mean()
                order[[first, second]] = order[[second, first]]
                best = min(best, (tried, first, second))
        if best[0] >= 0.999 * length:
            return float(length / _mean(apart)), order
        length, first, second = best
        order[[first, second]] = order[[second, first]]


def _edges(layout: Layout) -> npt.NDArray[np.int64]:
    return np.asarray(layout.edges, dtype=np.int64).reshape(-1, 2)


def _length(apart: Distances, edges: npt.NDArray[np.int64]) -> float:
    lengths = apart[edges[:, 0], edges[:, 1]]
    return float(np.nanmean(lengths)) if np.isfinite(lengths).any() else float("nan")


def _mean(apart: Distances) -> float:
    return float(np.nanmean(apart[np.triu_indices(len(apart), 1)]))


def _unlike(apart: Distances, layout: Layout) -> float:
    edges = {frozenset(edge) for edge in layout.edges}
    ratios = []
    for child, parent in layout.edges:
        other = int(layout.mirrored[child]), int(layout.mirrored[parent])
        if child < other[0] and frozenset(other) in edges and {child, parent} != set(other):
            ratios.append(apart[child, parent] / apart[other] if apart[other] > 0 else np.inf)
    with np.errstate(all="ignore"):
        logs = np.abs(np.log(np.asarray(ratios, dtype=np.float64)))
    logs = np.minimum(logs[~np.isnan(logs)], 3.0)
    return float(logs.mean()) if len(logs) else 0.0


def _points(poses: npt.NDArray[np.float64], layout: Layout, *names: str) -> npt.NDArray[np.float64] | None:
    """Return the mean of the joints with these names, ``[T, C]``; None if the layout lacks one."""
    if not all(name in layout.joints for name in names):
        return None
    return np.asarray(poses[:, [layout.number(name) for name in names]].mean(axis=1))


def _crossed(glimpses: Sequence[Glimpse], layout: Layout) -> bool:
    """Whether the line of the shoulders mostly points against that of the hips."""
    signs = []
    for seen in glimpses:
        ends = [
            _points(seen.poses, layout, f"{side}_{joint}")
            for joint in ("shoulder", "hip")
            for side in ("left", "right")
        ]
        if any(end is None for end in ends):
            return False
        left, right, lower_left, lower_right = ends
        along = ((left - right) * (lower_left - lower_right)).sum(axis=-1)  # type: ignore[operator]
        if np.isfinite(along).any():
            signs.append(float(np.nanmean(along)) < 0)
    return len(signs) >= FEWEST and float(np.mean(signs)) > 0.75


def _head_doubts(glimpses: Sequence[Glimpse], layout: Layout) -> list[Doubt]:
    """Return the doubt that the hips do not lie between head and feet or, in an image, that the head is below."""
    between, below = [], []
    for seen in glimpses:
        head = next(
            (p for name in ("head", "nose", "neck") if (p := _points(seen.poses, layout, name)) is not None), None
        )
        hips, feet = _points(seen.poses, layout, "left_hip", "right_hip"), _feet(seen.poses, layout)
        if head is None or hips is None or feet is None:
            return []
        along = ((head - hips) * (hips - feet)).sum(axis=-1)
        if np.isfinite(along).any():
            between.append(float(np.nanmean(along)) > 0)
            if head.shape[-1] == 2:
                below.append(float(np.nanmean(head[:, 1] - hips[:, 1])) > 0)
    if len(between) >= FEWEST and np.mean(between) < 0.25:
        share = 1 - np.mean(between)
        text = f"in {share:.0%} of the samples the hips of layout {layout.name} are not between head and feet"
        return [
            Doubt(
                "upside-down", "warning", text, "see whether the joints stand in the layout's order (inspect prints it)"
            )
        ]
    if len(below) >= FEWEST and np.mean(below) > 0.75:
        text = (
            f"in {np.mean(below):.0%} of the samples the head is below the hips in the image: y seems to count upwards"
        )
        return [
            Doubt("upside-down", "warning", text, "pixels count from the top; skeletons are drawn upside down else")
        ]
    return []


def _feet(poses: npt.NDArray[np.float64], layout: Layout) -> npt.NDArray[np.float64] | None:
    for name in ("ankle", "foot"):
        feet = _points(poses, layout, f"left_{name}", f"right_{name}")
        if feet is not None:
            return feet
    return None
