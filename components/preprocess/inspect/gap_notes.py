"""Frames without anybody, and joints that were interpolated: how many, in which samples and classes."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from components.preprocess.inspect.doubts import Doubt

NOTICEABLE = 0.05
SHOWN = 3


@dataclass(frozen=True)
class Lost:
    """What one sample lost: of ``frames`` of the input ``empty`` show nobody and ``dropped`` are not in the data set;
    ``filled`` positions of joints were interpolated."""

    label: int
    frames: int
    empty: int = 0
    dropped: int = 0
    filled: int = 0


def totals(lost: Mapping[str, Lost], classes: Sequence[str]) -> dict[str, Any]:
    """Return the counts as the manifest has them: of all, and of each class that lost something."""
    fields = ("frames", "empty", "dropped", "filled")
    every = {field: sum(getattr(one, field) for one in lost.values()) for field in fields}
    per_class: dict[str, dict[str, int]] = {}
    for one in lost.values():
        if one.empty or one.dropped or one.filled:
            counts = per_class.setdefault(classes[one.label], dict.fromkeys(("samples", *fields[1:]), 0))
            counts["samples"] += 1
            for field in fields[1:]:
                counts[field] += getattr(one, field)
    samples = sum(counts["samples"] for counts in per_class.values())
    return {**every, "samples": samples, "classes": dict(sorted(per_class.items()))}


def gap_doubts(lost: Mapping[str, Lost], classes: Sequence[str]) -> list[Doubt]:
    """Return what is worth saying about frames without anybody and about filled gaps."""
    doubts = []
    worst = sorted(lost.items(), key=lambda item: -max(item[1].empty, item[1].dropped) / max(item[1].frames, 1))
    gone = {name: one for name, one in worst if one.empty or one.dropped}
    if gone:
        frames = sum(one.frames for one in lost.values())
        number = sum(max(one.empty, one.dropped) for one in gone.values())
        shown = ", ".join(
            f"{name} {max(one.empty, one.dropped)}/{one.frames}" for name, one in list(gone.items())[:SHOWN]
        )
        counts = [sum(one.label == label for one in gone.values()) for label in range(len(classes))]
        most = max(range(len(classes)), key=counts.__getitem__)
        dropped = sum(one.dropped for one in gone.values())
        text = (
            f"{number} of {frames} frames, in {len(gone)} samples, show nobody ({dropped} of them are left out): "
            f"{shown}; most samples of class {classes[most]} ({counts[most]})"
        )
        share = max(number / frames, *(max(one.empty, one.dropped) / one.frames for one in gone.values()))
        remedy = "see whether the estimator lost the person there"
        doubts.append(Doubt("empty-frames", "warning" if share >= NOTICEABLE else "note", text, remedy))
    filled = {name: one.filled for name, one in lost.items() if one.filled}
    if filled:
        first = ", ".join(list(filled)[:SHOWN])
        text = f"{sum(filled.values())} positions of joints in {len(filled)} samples were interpolated: {first}"
        doubts.append(Doubt("gaps-filled", "note", text))
    return doubts
