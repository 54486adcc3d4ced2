"""The geometry of the report's pictures. The template draws them as inline SVG; here are only coordinates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from components.contracts.skeleton import STREAM_NAMES

_WIDTH, _HEIGHT = 720.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 14.0, 24.0, 40.0
_NAME_LENGTH = 26
_SMALLEST_LABELLED = 10


@dataclass(frozen=True)
class Tick:
    """A position along an axis, in SVG units, and its text."""

    at: float
    text: str


@dataclass(frozen=True)
class Marker:
    """A point with a tooltip."""

    x: float
    y: float
    title: str


@dataclass(frozen=True)
class Series:
    """One line: ``path`` is the points attribute of a polyline, ``markers`` stand on it or by themselves."""

    key: str
    name: str
    path: str
    markers: tuple[Marker, ...]


@dataclass(frozen=True)
class Chart:
    """A line chart over epochs."""

    label: str
    unit: str
    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    x_ticks: tuple[Tick, ...]
    y_ticks: tuple[Tick, ...]
    boundaries: tuple[Tick, ...]
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Cell:
    """A non-empty cell of the confusion matrix; ``share`` of the row decides how strong its colour is."""

    x: float
    y: float
    correct: bool
    opacity: float
    title: str
    text: str


@dataclass(frozen=True)
class Matrix:
    """The confusion matrix: ``size`` per cell; row labels to the left of, column labels above the cells."""

    classes: int
    size: float
    left: float
    top: float
    width: float
    height: float
    labels: tuple[Tick, ...]
    cells: tuple[Cell, ...]


def accuracy_chart(metrics: dict[str, Any]) -> Chart | None:
    """Training top-1 per epoch, and test top-1 at the end of each round; None without a training history."""
    history: dict[str, list[dict[str, Any]]] = metrics["history"]
    epochs = _epochs(history)
    if not epochs:
        return None
    x, y = _x_scale(epochs), _y_scale(1.0)
    ends = _round_ends(history)

    def markers(name: str, rows: list[dict[str, Any]]) -> tuple[Marker, ...]:
        return tuple(
            Marker(x(ends[row["round"]]), y(row["top1"]), f"{name}, test, round {row['round']}: {row['top1']:.1%}")
            for row in rows
            if row["round"] in ends
        )

    series = []
    for stream, records in history.items():
        points = [(x(record["epoch"]), y(record["top1"])) for record in records]
        tested = [row for row in metrics["streams"] if row["stream"] == stream]
        series.append(Series(stream, STREAM_NAMES[stream], _path(points), markers(STREAM_NAMES[stream], tested)))
    ensemble = [row for row in metrics["ensembles"] if row["name"] == "configured"]
    if any(len(row["streams"]) > 1 for row in ensemble):
        series.append(Series("ensemble", "ensemble", "", markers("ensemble", ensemble)))
    ticks = tuple(Tick(y(share / 100), f"{share}") for share in range(0, 101, 20))
    return _chart("Top-1 accuracy per training epoch", "top-1 (%)", x, epochs, ends, ticks, series)


def loss_chart(metrics: dict[str, Any]) -> Chart | None:
    """Training loss per epoch; None without a training history."""
    history: dict[str, list[dict[str, Any]]] = metrics["history"]
    epochs = _epochs(history)
    if not epochs:
        return None
    step, top = _nice_scale(max(record["loss"] for records in history.values() for record in records))
    x, y = _x_scale(epochs), _y_scale(top)
    series = [
        Series(stream, STREAM_NAMES[stream], _path([(x(record["epoch"]), y(record["loss"])) for record in records]), ())
        for stream, records in history.items()
    ]
    ticks = tuple(Tick(y(step * number), f"{step * number:g}") for number in range(round(top / step) + 1))
    return _chart("Training loss per epoch", "loss", x, epochs, _round_ends(history), ticks, series)


def _epochs(history: dict[str, list[dict[str, Any]]]) -> list[int]:
    return sorted({record["epoch"] for records in history.values() for record in records})


def _round_ends(history: dict[str, list[dict[str, Any]]]) -> dict[int, int]:
    """Round → its last epoch."""
    ends: dict[int, int] = {}
    for records in history.values():
        for record in records:
            ends[record["round"]] = max(record["epoch"], ends.get(record["round"], 0))
    return ends


def _x_scale(epochs: Sequence[int]) -> Callable[[float], float]:
    first, last = epochs[0], epochs[-1]
    span = _WIDTH - _LEFT - _RIGHT
    if first == last:
        return lambda epoch: _LEFT + span / 2
    return lambda epoch: _LEFT + span * (epoch - first) / (last - first)


def _y_scale(top: float) -> Callable[[float], float]:
    span = _HEIGHT - _TOP - _BOTTOM
    return lambda value: _TOP + span * (1 - value / top)


def _nice_scale(largest: float) -> tuple[float, float]:
    """Return a round step (1, 2 or 5 times a power of ten) and the axis end: 4 to 10 steps above ``largest``."""
    rough = max(largest, 1e-9) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough))
    return step, step * float(np.ceil(max(largest, 1e-9) / step))


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def _chart(
    label: str,
    unit: str,
    x: Callable[[float], float],
    epochs: Sequence[int],
    ends: dict[int, int],
    y_ticks: tuple[Tick, ...],
    series: Sequence[Series],
) -> Chart:
    every = max(1, -(-len(epochs) // 12))
    return Chart(
        label=label,
        unit=unit,
        width=_WIDTH,
        height=_HEIGHT,
        left=_LEFT,
        right=_WIDTH - _RIGHT,
        top=_TOP,
        bottom=_HEIGHT - _BOTTOM,
        x_ticks=tuple(Tick(x(epoch), str(epoch)) for epoch in epochs if epoch % every == 0),
        y_ticks=y_ticks,
        boundaries=tuple(
            Tick(x(ends[number] + 0.5), f"round {number} | {number + 1}")
            for number in sorted(ends)
            if number + 1 in ends
        ),
        series=tuple(series),
    )


def matrix_picture(counts: Sequence[Sequence[int]], names: Sequence[str]) -> Matrix:
    """Lay out a confusion matrix, ``counts[true][predicted]``, for any number of classes.

    Names stand at the rows and columns as long as cells are large enough to read them; numbers stand in
    the cells of small matrices. Every non-empty cell says in its tooltip what it counts.
    """
    classes = len(names)
    size = 44.0 if classes <= 12 else 26.0 if classes <= 30 else 14.0 if classes <= 70 else max(3.0, 1000 / classes)
    short = [name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…" for name in names]
    labelled = size >= _SMALLEST_LABELLED
    margin = 30.0 + (max(len(name) for name in short) * (6.6 if size >= 20 else 5.8) if labelled else 0.0)
    labels = tuple(Tick((row + 0.5) * size, name) for row, name in enumerate(short)) if labelled else ()
    cells = []
    for true, row in enumerate(counts):
        total = sum(row)
        for predicted, count in enumerate(row):
            if count:
                share = count / total
                cells.append(
                    Cell(
                        x=predicted * size,
                        y=true * size,
                        correct=true == predicted,
                        opacity=round(0.12 + 0.88 * share, 3),
                        title=f"{names[true]} → {names[predicted]}: {count} of {total} ({share:.1%})",
                        text=str(count) if size >= 20 else "",
                    )
                )
    side = classes * size
    return Matrix(classes, size, margin, margin, side + margin + 6, side + margin + 6, labels, tuple(cells))
