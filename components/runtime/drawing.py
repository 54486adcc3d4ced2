"""A skeleton as a picture, once: which joints are there, from where they are seen, and which limbs join them.

Pictures differ in what they are drawn with (matplotlib for PNG, SVG within the report), so this gives coordinates and
draws on whatever axes it is handed; it imports neither.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.skeleton import Layout

ABSENT = 1e-6
"""A joint all of whose coordinates are this close to zero was not seen."""

Values = npt.NDArray[Any]
Flags = npt.NDArray[np.bool_]


def present(points: Values, layout: Layout) -> Flags:
    """Return which joints were seen, ``[M, T, V]``, of coordinates ``[M, T, V, 2 or 3]``.

    The centre of a body that has any joint counts as seen: where bodies are centred it is the origin.
    """
    there = np.abs(points).max(axis=-1) > ABSENT
    there[:, :, layout.number(layout.centre)] |= there.any(axis=2)
    return np.asarray(there)


def trunks(points: Values, there: Flags, layout: Layout) -> npt.NDArray[np.float64]:
    """Return the steps along ``layout.upright`` of every body that shows both ends, ``[K, 2 or 3]``."""
    lower, upper = (layout.number(name) for name in layout.upright)
    both = there[..., lower] & there[..., upper]
    return np.asarray(points[both][:, upper] - points[both][:, lower], dtype=np.float64)


def front_view(
    points: Values, there: Flags, layout: Layout, up: npt.NDArray[np.float64] | None = None
) -> npt.NDArray[np.float64]:
    """Return right and up of each joint, ``[M, T, V, 2]``, in the unit of ``points``.

    Up is the axis along which ``up`` points most, whatever its sign; without it, the mean of this sample's trunks: a
    person who is bent or lies down all the time then seems to stand. Right is the other axis along which more is to be
    seen.
    """
    steps = trunks(points, there, layout)
    if up is None:
        up = steps.mean(axis=0) if len(steps) else np.zeros(points.shape[-1])
    vertical = int(np.abs(up).argmax()) if up.any() else 1
    others = [axis for axis in range(points.shape[-1]) if axis != vertical]
    seen = points[there]
    horizontal = max(others, key=lambda axis: (float(np.std(seen[:, axis])) if len(seen) else 0.0, -axis))
    return np.stack([points[..., horizontal], (-1.0 if up[vertical] < 0 else 1.0) * points[..., vertical]], axis=-1)


def limbs(layout: Layout, there: Flags) -> Iterator[tuple[int, int]]:
    """Yield the limbs of a body as (child, parent), those whose two ends ``there`` (``[V]``) has."""
    for child, parent in layout.edges:
        if there[child] and there[parent]:
            yield child, parent


def plot_limbs(
    axes: Any, places: Values, there: Flags, layout: Layout, *, alpha: Values | None = None, **line: Any
) -> None:
    """Draw the limbs of a body on matplotlib's ``axes``.

    Args:
        places: ``[V, 2]``, right and up.
        alpha: opacity of each joint, ``[V]``; a limb is as faint as its fainter end.
        line: how ``axes.plot`` draws a limb: its colour, its width.
    """
    for child, parent in limbs(layout, there):
        faint = {} if alpha is None else {"alpha": float(min(alpha[child], alpha[parent]))}
        axes.plot(*places[[child, parent]].T, **faint, **line)
