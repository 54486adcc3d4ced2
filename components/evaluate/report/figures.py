"""A sample as a strip of skeletons, for the page where no script runs and on paper."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.contracts.dataset import Dataset
from components.contracts.skeleton import Layout
from components.evaluate.report.clips import Clip, clip
from components.evaluate.report.examples import Example, coordinates
from components.evaluate.wording import joint as joint_name
from components.runtime import drawing

FRAMES = 6
_HEIGHT, _MARGIN, _WIDEST = 150.0, 10.0, 150.0
_BRIGHT = 0.5
"""A joint with at least this share of the strongest evidence is lit, and named if it is among the first."""
_NAMED = 6

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Dot:
    """A joint that is marked: ``ringed`` by the guidance, lit by as much as the network looked there (0 to 1)."""

    x: float
    y: float
    ringed: bool
    lit: float


@dataclass(frozen=True)
class Body:
    """One person in one frame: ``limbs`` as an SVG path, ``dots`` the joints that are marked."""

    person: int
    limbs: str
    dots: tuple[Dot, ...]


@dataclass(frozen=True)
class Panel:
    """One frame, counted from 1."""

    frame: int
    left: float
    bodies: tuple[Body, ...]


@dataclass(frozen=True)
class Strip:
    """Some frames of one sample, and all of them as a ``clip``. ``critical`` names the joints that the guidance names
    for its class, ``looked`` those where the network looked most (None: not known)."""

    name: str
    sample_id: str
    said: str
    frames: int
    critical: tuple[str, ...]
    looked: tuple[str, ...] | None
    width: float
    height: float
    panels: tuple[Panel, ...]
    clip: Clip


def strip(packed: Dataset, example: Example) -> Strip:
    """Lay out six frames of a sample, equally spaced in time."""
    points = coordinates(packed, example.number)
    chosen = np.unique(np.linspace(0, points.shape[1] - 1, FRAMES).round().astype(int))
    there = drawing.present(points, packed.layout)[:, chosen]
    seen = drawing.front_view(points[:, chosen], there, packed.layout, example.up)
    shown = seen[there] if there.any() else np.zeros((1, 2))
    low, high = shown.min(axis=0), shown.max(axis=0)
    across = [seen[:, at][there[:, at]][:, 0] for at in range(len(chosen))]
    height, width = max(high[1] - low[1], 1e-3), max(1e-3, *(float(np.ptp(one)) for one in across if len(one)))
    scale = min((_HEIGHT - 2 * _MARGIN) / height, (_WIDEST - 2 * _MARGIN) / width)
    pitch = max(width * scale + 2 * _MARGIN, 60.0)
    panels = []
    for at, frame in enumerate(chosen):
        middle = float(across[at].min() + across[at].max()) / 2 if len(across[at]) else 0.0
        corner = np.asarray([middle - pitch / 2 / scale, high[1] + _MARGIN / scale])
        placed = (seen[:, at] - corner) * np.asarray([scale, -scale])
        bodies = tuple(
            _body(person, placed[person], there[person, at], packed.layout, example)
            for person in range(len(placed))
            if there[person, at].any()
        )
        panels.append(Panel(int(frame) + 1, at * pitch, bodies))
    return Strip(
        name=example.name,
        sample_id=str(packed.sample_ids[example.number]),
        said=example.said,
        frames=points.shape[1],
        critical=_critical(packed.layout, example),
        looked=_looked(packed.layout, example),
        width=pitch * len(chosen),
        height=height * scale + 2 * _MARGIN + 16,
        panels=tuple(panels),
        clip=clip(packed, example),
    )


def _critical(layout: Layout, example: Example) -> tuple[str, ...]:
    names = tuple(joint_name(layout.joints[joint]) for joint in sorted(example.critical))
    return names if len(names) < len(layout.joints) else ("all joints",)


def _looked(layout: Layout, example: Example) -> tuple[str, ...] | None:
    if example.evidence is None:
        return None
    most = [int(joint) for joint in np.argsort(-example.evidence, kind="stable")]
    bright = [joint for joint in most if example.evidence[joint] >= _BRIGHT]
    return tuple(joint_name(layout.joints[joint]) for joint in bright[:_NAMED])


def _body(person: int, places: Values, there: npt.NDArray[np.bool_], layout: Layout, example: Example) -> Body:
    path = ""
    for child, parent in drawing.limbs(layout, there):
        (x0, y0), (x1, y1) = places[child], places[parent]
        path += f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}"
    ringed = set(example.critical) if len(example.critical) < len(layout.joints) else set()
    lit = np.zeros(len(places)) if example.evidence is None else example.evidence
    dots = tuple(
        Dot(round(float(places[joint, 0]), 1), round(float(places[joint, 1]), 1), joint in ringed, float(lit[joint]))
        for joint in np.flatnonzero(there).tolist()
        if joint in ringed or lit[joint] >= _BRIGHT
    )
    return Body(person, path, dots)
