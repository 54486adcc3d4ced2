"""A picture of a class's critical joints on a standing figure."""

from __future__ import annotations

from functools import lru_cache
from importlib import resources
from pathlib import Path
from textwrap import fill

import numpy as np
import yaml
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

from components.contracts.constraints import ClassConstraint
from components.contracts.errors import InputError
from components.contracts.skeleton import Layout
from components.runtime.drawing import plot_limbs

_CRITICAL, _LIMB, _OTHER = "#c0392b", "#8a8f98", "#4a4f58"
_LABEL_AT = 62.0
"""Distance of the column of names from the body's axis, in the figure's units."""


@lru_cache
def _positions() -> dict[str, tuple[float, float]]:
    text = resources.files("components.agent.show").joinpath("figure.yaml").read_text(encoding="utf-8")
    return {joint: (float(x), float(y)) for joint, (x, y) in yaml.safe_load(text).items()}


def place(joint: str, layout: Layout) -> tuple[float, float]:
    """Return where a joint is drawn: one that only the user's layout has, a little beside its parent."""
    if joint in _positions():
        return _positions()[joint]
    if layout.parents[joint] == joint:
        return _positions()["pelvis"]
    x, y = place(layout.parents[joint], layout)
    side = -1 if joint.startswith("right") or (x < 0 and not joint.startswith("left")) else 1
    return x + 6 * side, y - 4


def draw(constraint: ClassConstraint, layout: Layout, output: Path) -> None:
    """Draw the skeleton of a layout with a class's critical joints in red and named, as a PNG at ``output``.

    Raises:
        InputError: the file's name does not end with ``.png``, or it cannot be written.
    """
    if output.suffix.lower() != ".png":
        raise InputError(f"--output: found {str(output)!r}, expected a name that ends with .png")
    figure = Figure(figsize=(6.4, 7.2), dpi=120, layout="constrained")
    FigureCanvasAgg(figure)
    axes = figure.add_subplot()
    axes.set_aspect("equal")
    axes.set_axis_off()
    axes.set_xlim(-95, 95)
    axes.set_ylim(-6, 186)
    figure.suptitle(constraint.name, fontweight="bold", parse_math=False)
    places = [place(joint, layout) for joint in layout.joints]
    every = np.ones(len(places), dtype=bool)
    plot_limbs(axes, np.asarray(places), every, layout, color=_LIMB, linewidth=2, zorder=1)
    for joint, (x, y) in enumerate(places):
        critical = joint in constraint.joints
        axes.scatter([x], [y], s=90 if critical else 22, color=_CRITICAL if critical else _OTHER, zorder=2)
    for joint, (side, height) in _labels(constraint, places).items():
        axes.annotate(
            layout.joints[joint].replace("_", " "),
            xy=places[joint],
            xytext=(side * _LABEL_AT, height),
            ha="left" if side > 0 else "right",
            va="center",
            fontsize=8,
            color=_CRITICAL,
            arrowprops={"arrowstyle": "-", "color": _CRITICAL, "linewidth": 0.5, "alpha": 0.6},
        )
    figure.supxlabel(fill(constraint.description, 88), fontsize=8, parse_math=False)
    try:
        # Without the program's name, which holds its version: the same class, the same bytes.
        figure.savefig(output, format="png", metadata={"Software": None})
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", at=output) from None


def _labels(constraint: ClassConstraint, places: list[tuple[float, float]]) -> dict[int, tuple[int, float]]:
    """Return the side and the height of each critical joint's name, so that names do not overlap."""
    labels = {}
    for side in (-1, 1):
        # Joints on the body's axis are named on the left.
        joints = [joint for joint in constraint.joints if (places[joint][0] > 0) == (side > 0)]
        ceiling = 183.0
        for joint in sorted(joints, key=lambda joint: -places[joint][1]):
            ceiling = min(ceiling, places[joint][1])
            labels[joint] = (side, ceiling)
            ceiling -= 7.0
    return labels
