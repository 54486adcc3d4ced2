"""Real samples of confused classes as strips of skeletons: one that was mistaken beside one that was recognised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.contracts.constraints import Constraints
from components.contracts.dataset import Dataset
from components.contracts.metrics import Metrics
from components.contracts.skeleton import Layout
from components.evaluate.inputs import Inputs
from components.evaluate.measures.ensemble import Fused
from components.evaluate.wording import joint as joint_name

PAIRS = 2
FRAMES = 6
_HEIGHT, _MARGIN, _WIDEST = 150.0, 10.0, 150.0
_ABSENT = 1e-6
"""A coordinate this close to zero was not seen."""

Values = npt.NDArray[np.float64]


@dataclass(frozen=True)
class Body:
    """One person in one frame: ``limbs`` and ``critical_limbs`` as SVG paths, ``joints`` (critical ones) as points."""

    person: int
    limbs: str
    critical_limbs: str
    joints: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class Panel:
    """One frame, counted from 1."""

    frame: int
    left: float
    bodies: tuple[Body, ...]


@dataclass(frozen=True)
class Strip:
    """Some frames of one sample. ``critical`` names the joints that were marked, those of class ``name``."""

    name: str
    sample_id: str
    said: str
    frames: int
    critical: tuple[str, ...]
    width: float
    height: float
    panels: tuple[Panel, ...]


def confused_strips(inputs: Inputs, headline: Fused, metrics: Metrics) -> list[tuple[Strip, Strip]]:
    """Return, for the most confused pairs of classes, a mistaken sample and a recognised one of the other class.

    Of all that were mistaken, the one that the ensemble was surest about; of all recognised, likewise. Empty without
    the dataset.
    """
    packed = inputs.dataset
    if packed is None:
        return []
    told = _latest(inputs, headline)
    ids = next(iter(inputs.scores.values())).sample_ids
    predicted = headline.probabilities.argmax(axis=1)
    numbers = {str(sample_id): number for number, sample_id in enumerate(packed.sample_ids)}
    found, seen = [], set()
    for pair in metrics.confused_pairs:
        true, other = pair.true, pair.predicted
        right = np.flatnonzero((headline.labels == other) & (predicted == other))
        if frozenset((true, other)) in seen or not len(right):
            continue
        seen.add(frozenset((true, other)))
        wrong = np.flatnonzero((headline.labels == true) & (predicted == other))
        sure = headline.probabilities[:, other]
        names = packed.config.classes
        strips = []
        for places, label, said in ((wrong, true, f"taken for {names[other]}"), (right, other, "recognised")):
            place = int(places[sure[places].argmax()])
            sample_id = str(ids[place])
            critical = told.classes[label].joints if told else ()
            said = f"{said} with {sure[place]:.0%}"
            strips.append(_strip(packed, numbers[sample_id], names[label], said, critical))
        found.append((strips[0], strips[1]))
        if len(found) == PAIRS:
            break
    return found


def _latest(inputs: Inputs, headline: Fused) -> Constraints | None:
    """The constraints under which the heaviest stream of the headline last trained, as far as they are given."""
    heaviest = max(zip(headline.weights, headline.streams, strict=True), key=lambda pair: pair[0])[1]
    before = [(number, key) for key in inputs.constraints for stream, number in [key] if stream in ("", heaviest)]
    return inputs.constraints[max(before)[1]] if before else None


def _strip(packed: Dataset, number: int, name: str, said: str, critical: tuple[int, ...]) -> Strip:
    points = np.asarray(packed.sample(number), dtype=np.float64)
    points = points[..., :2] if packed.config.dimensions == "2d+score" else points
    chosen = np.unique(np.linspace(0, points.shape[1] - 1, FRAMES).round().astype(int))
    there = np.abs(points).max(axis=-1) > _ABSENT
    there[:, :, packed.layout.number(packed.layout.centre)] |= there.any(axis=2)  # the origin, where bodies are centred
    seen = _view(points[:, chosen], there[:, chosen], packed.layout)
    there = there[:, chosen]
    shown = seen[there] if there.any() else np.zeros((1, 2))
    low, high = shown.min(axis=0), shown.max(axis=0)
    across = [seen[:, at][there[:, at]][:, 0] for at in range(len(chosen))]
    height, width = max(high[1] - low[1], 1e-3), max(1e-3, *(float(np.ptp(one)) for one in across if len(one)))
    scale = min((_HEIGHT - 2 * _MARGIN) / height, (_WIDEST - 2 * _MARGIN) / width)
    pitch = max(width * scale + 2 * _MARGIN, 60.0)
    panels = []
    for at, frame in enumerate(chosen):
        middle = float(across[at].min() + across[at].max()) / 2 if len(across[at]) else 0.0
        at_rest = np.asarray([middle - pitch / 2 / scale, high[1] + _MARGIN / scale])
        placed = (seen[:, at] - at_rest) * np.asarray([scale, -scale])
        bodies = tuple(
            _body(person, placed[person], there[person, at], packed.layout, critical)
            for person in range(len(placed))
            if there[person, at].any()
        )
        panels.append(Panel(int(frame) + 1, at * pitch, bodies))
    marked = tuple(joint_name(packed.layout.joints[joint]) for joint in sorted(critical))
    return Strip(
        name=name,
        sample_id=str(packed.sample_ids[number]),
        said=said,
        frames=points.shape[1],
        critical=marked if len(marked) < len(packed.layout.joints) else ("all joints",),
        width=pitch * len(chosen),
        height=height * scale + 2 * _MARGIN + 16,
        panels=tuple(panels),
    )


def _view(points: Values, there: npt.NDArray[np.bool_], layout: Layout) -> Values:
    """Return right and up of each joint, ``[M, T, V, 2]``: up is where ``layout.upright`` points most, right the
    other axis along which more is to be seen."""
    lower, upper = (layout.number(name) for name in layout.upright)
    both = there[..., lower] & there[..., upper]
    steps = points[both][:, upper] - points[both][:, lower]
    up = steps.mean(axis=0) if len(steps) else np.zeros(points.shape[-1])
    vertical = int(np.abs(up).argmax()) if up.any() else 1
    others = [axis for axis in range(points.shape[-1]) if axis != vertical]
    horizontal = max(others, key=lambda axis: (float(np.std(points[there][:, axis])), -axis))
    return np.stack([points[..., horizontal], (-1.0 if up[vertical] < 0 else 1.0) * points[..., vertical]], axis=-1)


def _body(person: int, places: Values, there: npt.NDArray[np.bool_], layout: Layout, critical: tuple[int, ...]) -> Body:
    paths = {True: "", False: ""}
    for child, parent in layout.edges:
        if there[child] and there[parent]:
            (x0, y0), (x1, y1) = places[child], places[parent]
            paths[child in critical and parent in critical] += f"M{x0:.1f} {y0:.1f}L{x1:.1f} {y1:.1f}"
    dots = tuple((round(float(x), 1), round(float(y), 1)) for x, y in places[[j for j in sorted(critical) if there[j]]])
    return Body(person, paths[False], paths[True], dots)
