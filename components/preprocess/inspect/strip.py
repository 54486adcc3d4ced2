"""Draws one sample as a strip of skeletons, from left to right in time."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from matplotlib.figure import Figure

from components.contracts.errors import InputError
from components.contracts.skeleton import Layout
from components.preprocess.readers.samples import Sample
from components.runtime import drawing

FRAMES = 8
PANEL = 1.7
"""Inches."""
FAINTEST = 0.12
COLOURS = ("#1f5fa8", "#c4501b", "#3d8a4e", "#7a4fa3")
"""One per person."""

Values = npt.NDArray[Any]


def draw(sample: Sample, layout: Layout, title: str, output: Path) -> None:
    """Write a PNG of up to eight frames of a sample, equally spaced in time, limbs drawn as ``layout`` has them.

    It is seen as ``drawing.front_view`` says. The surer a joint's score, the darker it is.

    Raises:
        InputError: ``output`` cannot be written.
    """
    points = np.asarray(sample.keypoints, dtype=np.float64)
    there = drawing.present(points, layout)
    seen = drawing.front_view(points, there, layout)
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
    drawing.plot_limbs(axis, joints, there, layout, alpha=sure, color=colour, linewidth=1.4, solid_capstyle="round")
    axis.scatter(*joints[there].T, s=7, color=colour, alpha=sure[there], linewidths=0)


def _limits(seen: Values, there: Values) -> tuple[Values, Values]:
    shown = seen[there]
    low, high = shown.min(axis=0), shown.max(axis=0)
    margin = 0.06 * max(float((high - low).max()), 1e-3)
    return low - margin, high + margin
