"""A sample as a clip that the page's script plays: coordinates of one byte each, text within an attribute."""

from __future__ import annotations

import base64
import json
from dataclasses import dataclass

import numpy as np

from components.contracts.dataset import Dataset
from components.evaluate.report.examples import Example, coordinates
from components.runtime import drawing

MOST_FRAMES = 120
"""Of a longer sample every so many-eth frame is played, so that twelve clips of two persons stay below 1 MB."""
_RANGE = 250
_NOT_THERE = 255


@dataclass(frozen=True)
class Clip:
    """``width`` and ``height`` in units of the picture, in which coordinates are; every ``step``-th frame is played.

    ``document`` (JSON): ``persons``, ``joints``, ``frames``, ``edges`` (pairs of joints), ``evidence`` (per joint 0 to
    1, or null), ``critical`` (joints), and ``data``: base64 of bytes x, y by frame, person and joint; 255: not seen.
    """

    width: int
    height: int
    step: int
    document: str


def clip(packed: Dataset, example: Example) -> Clip:
    """Return the clip of an example, seen from the front."""
    points = coordinates(packed, example.number)
    there = drawing.present(points, packed.layout)
    seen = drawing.front_view(points, there, packed.layout, example.up)
    step = -(-points.shape[1] // MOST_FRAMES)
    shown = seen[there] if there.any() else np.zeros((1, 2))
    low, high = shown.min(axis=0), shown.max(axis=0)
    scale = _RANGE / max(float((high - low).max()), 1e-6)
    placed = np.stack([seen[..., 0] - low[0], high[1] - seen[..., 1]], axis=-1) * scale
    pixels = np.where(there[..., None], np.clip(placed.round(), 0, _RANGE), _NOT_THERE).astype(np.uint8)[:, ::step]
    document = {
        "persons": points.shape[0],
        "joints": points.shape[2],
        "frames": pixels.shape[1],
        "edges": [list(edge) for edge in packed.layout.edges],
        "evidence": None if example.evidence is None else [round(float(one), 2) for one in example.evidence],
        "critical": sorted(example.critical) if len(example.critical) < points.shape[2] else [],
        "data": base64.b64encode(pixels.swapaxes(0, 1).tobytes()).decode(),
    }
    width, height = (int(np.ceil(extent * scale)) for extent in (high - low))
    return Clip(max(width, 1), max(height, 1), step, json.dumps(document, separators=(",", ":")))
