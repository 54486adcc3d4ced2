"""Draws one sample as a strip of skeletons, from left to right in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from components.contracts.errors import InputError
from components.contracts.skeleton import Layout
from components.preprocess.readers.samples import ABSENT, Sample

FRAMES = 8
PANEL = 1.7
"""Inches."""
FAINTEST = 0.12
COLOURS = ("#1f5fa8", "#c4501b", "#3d8a4e", "#7a4fa3")
"""One per person."""

Values = npt.NDArray[Any]


def draw(sample: Sample, layout: Layout, title: str, output: Path) -> None:
    """Write a PNG of up to eight frames of a sample, equally spaced in time, limbs drawn as ``layout`` has them.

    Up is the axis along which ``layout.upright`` points most, whatever the sign of the coordinates; to the right
    is the first of the others. The surer a joint's score, the darker it is.

    Raises:
        InputError: ``output`` cannot be written.
    """
    points = np.asarray(sample.keypoints, dtype=np.float64)
    there = np.abs(points).max(axis=-1) > ABSENT
    there[:, :, layout.number(layout.centre)] |= there.any(axis=2)  # the origin, where bodies are centred
    seen = _view(points, there, layout)
    chosen = np.unique(np.linspace(0, points.shape[1] - 1, FRAMES).round().astype(int))
    sure = np.ones(there.shape) if sample.scores is None else np.clip(sample.scores, FAINTEST, 1).astype(np.float64)
    low, high = _limits(seen, there)
    width, height = high - low
    figure = Figure(figsize=(PANEL * len(chosen), PANEL * min(height / width, 3) + 0.6), layout="constrained")
    axes = figure.subplots(1, len(chosen), squeeze=False)
    for axis, frame in zip(axes[0], chosen, strict=True):
        for person in range(len(points)):
            colour = COLOURS[person % len(COLOURS)]
            body = (person, frame)
            _draw_body(axis, seen[body], there[body], sure[body], layout, colour)
        axis.set(xlim=(low[0], high[0]), ylim=(low[1], high[1]), aspect="equal", xticks=[], yticks=[])
        axis.set_title(f"frame {frame + 1}", fontsize=8, color="#444444")
        for spine in axis.spines.values():
            spine.set_color("#dddddd")
    figure.suptitle(title, fontsize=10, parse_math=False)
    try:
        figure.savefig(output, format="png", dpi=140, metadata={"Software": None})
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", at=output) from None


def _draw_body(axis: Any, joints: Values, there: Values, sure: Values, layout: Layout, colour: str) -> None:
    if not there.any():
        return
    for child, parent in layout.edges:
        if there[child] and there[parent]:
            ends, alpha = joints[[child, parent]], float(min(sure[child], sure[parent]))
            axis.plot(*ends.T, color=colour, alpha=alpha, linewidth=1.4, solid_capstyle="round")
    axis.scatter(*joints[there].T, s=7, color=colour, alpha=sure[there], linewidths=0)


def _view(points: Values, there: Values, layout: Layout) -> npt.NDArray[np.float64]:
    """Return right and up of each joint, ``[M, T, V, 2]``."""
    lower, upper = (layout.number(joint) for joint in layout.upright)
    both = there[..., lower] & there[..., upper]
    steps = points[both][:, upper] - points[both][:, lower]
    up = steps.mean(axis=0) if len(steps) else np.zeros(points.shape[-1])
    vertical = int(np.abs(up).argmax()) if up.any() else 1
    sign = -1.0 if up[vertical] < 0 else 1.0
    return np.stack([points[..., 1 if vertical == 0 else 0], sign * points[..., vertical]], axis=-1)


def _limits(seen: Values, there: Values) -> tuple[Values, Values]:
    shown = seen[there]
    low, high = shown.min(axis=0), shown.max(axis=0)
    margin = 0.06 * max(float((high - low).max()), 1e-3)
    return low - margin, high + margin
