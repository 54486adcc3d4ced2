"""The geometry of the report's pictures. The template draws them as inline SVG; here are only coordinates."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

from components.contracts.history import EpochRecord
from components.contracts.metrics import EnsembleRow, LastRow, Metrics, StreamRow
from components.contracts.skeleton import STREAM_NAMES

_WIDTH, _HEIGHT = 720.0, 300.0
_LEFT, _RIGHT, _TOP, _BOTTOM = 52.0, 14.0, 24.0, 40.0

History = dict[str, list[EpochRecord]]
"""Per stream, the records of its epochs."""


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
class Frame:
    """A picture's size and, within it, the four sides of the axes, in SVG units; ``y_ticks`` of the upright axis."""

    width: float
    height: float
    left: float
    right: float
    top: float
    bottom: float
    y_ticks: tuple[Tick, ...]


@dataclass(frozen=True)
class Chart(Frame):
    """A line chart over epochs."""

    label: str
    unit: str
    x_ticks: tuple[Tick, ...]
    boundaries: tuple[Tick, ...]
    series: tuple[Series, ...]


@dataclass(frozen=True)
class Slope:
    """One pair of classes over the rounds: its points, and its name at the end, moved to ``label_at``."""

    name: str
    title: str
    addressed: bool
    path: str
    markers: tuple[Marker, ...]
    end: tuple[float, float]
    label_at: float


@dataclass(frozen=True)
class Slopes(Frame):
    """Confusions over rounds."""

    rounds: tuple[Tick, ...]
    lines: tuple[Slope, ...]


@dataclass(frozen=True)
class Bar:
    """One bin of a reliability diagram: ``accuracy`` and ``confidence`` are heights, ``share`` of the samples."""

    left: float
    width: float
    accuracy: float
    confidence: float
    share: float
    title: str


@dataclass(frozen=True)
class Reliability:
    """The bins on a square of ``side`` SVG units; the diagonal is perfect calibration."""

    side: float
    bars: tuple[Bar, ...]


@dataclass(frozen=True)
class Whisker:
    """An interval and its estimate, along an axis of 100 units."""

    low: float
    high: float
    at: float


class _Axes:
    """The axes of a chart over epochs, whose upright axis begins at 0 and ends at ``top``."""

    def __init__(self, history: History, top: float) -> None:
        self.epochs = sorted({record.epoch for records in history.values() for record in records})
        self.ends: dict[int, int] = {}  # of each round, its last epoch
        for record in (record for records in history.values() for record in records):
            self.ends[record.round] = max(record.epoch, self.ends.get(record.round, 0))
        self._top = top

    def x(self, epoch: float) -> float:
        first, last = self.epochs[0], self.epochs[-1]
        share = 0.5 if first == last else (epoch - first) / (last - first)
        return _LEFT + (_WIDTH - _LEFT - _RIGHT) * share

    def y(self, value: float) -> float:
        return _TOP + (_HEIGHT - _TOP - _BOTTOM) * (1 - value / self._top)

    def line(self, records: Sequence[EpochRecord], value: Callable[[EpochRecord], float]) -> str:
        return _path([(self.x(record.epoch), self.y(value(record))) for record in records])

    def chart(self, label: str, unit: str, y_ticks: tuple[Tick, ...], series: Sequence[Series]) -> Chart:
        every = max(1, -(-len(self.epochs) // 12))
        boundaries = [number for number in sorted(self.ends) if number + 1 in self.ends]
        return Chart(
            width=_WIDTH,
            height=_HEIGHT,
            left=_LEFT,
            right=_WIDTH - _RIGHT,
            top=_TOP,
            bottom=_HEIGHT - _BOTTOM,
            y_ticks=y_ticks,
            label=label,
            unit=unit,
            x_ticks=tuple(Tick(self.x(epoch), str(epoch)) for epoch in self.epochs if epoch % every == 0),
            boundaries=tuple(Tick(self.x(self.ends[one] + 0.5), f"round {one} | {one + 1}") for one in boundaries),
            series=tuple(series),
        )


def accuracy_chart(metrics: Metrics) -> Chart | None:
    """Training top-1 per epoch, and test top-1 at the end of each round; None without a training history."""
    history: History = metrics.history
    if not any(history.values()):
        return None
    axes = _Axes(history, 1.0)

    def markers(name: str, rows: Sequence[StreamRow | EnsembleRow]) -> tuple[Marker, ...]:
        return tuple(
            Marker(
                axes.x(axes.ends[row.round]),
                axes.y(row.top1),
                f"{name}, test, round {row.round}: {row.top1:.1%}",
            )
            for row in rows
            if row.round in axes.ends
        )

    series = []
    for stream, records in history.items():
        tested, name = [row for row in metrics.streams if row.stream == stream], STREAM_NAMES[stream]
        series.append(Series(stream, name, axes.line(records, lambda record: record.top1), markers(name, tested)))
    ensemble = [row for row in metrics.ensembles if row.name == "configured"]
    if any(len(row.streams) > 1 for row in ensemble):
        series.append(Series("ensemble", "ensemble", "", markers("ensemble", ensemble)))
    ticks = _ticks(lambda percent: axes.y(percent / 100), 20, 100)
    return axes.chart("Top-1 accuracy per training epoch", "top-1 (%)", ticks, series)


def loss_chart(metrics: Metrics) -> Chart | None:
    """Training loss per epoch; None without a training history."""
    history: History = metrics.history
    if not any(history.values()):
        return None
    step, top = _nice_scale(max(record.loss for records in history.values() for record in records))
    axes = _Axes(history, top)
    series = [
        Series(stream, STREAM_NAMES[stream], axes.line(records, lambda record: record.loss), ())
        for stream, records in history.items()
    ]
    return axes.chart("Training loss per epoch", "loss", _ticks(axes.y, step, top), series)


def _nice_scale(largest: float) -> tuple[float, float]:
    """Return a round step (1, 2 or 5 times a power of ten) and the axis end: 4 to 10 steps above ``largest``."""
    rough = max(largest, 1e-9) / 5
    power = 10.0 ** np.floor(np.log10(rough))
    step = float(next(power * factor for factor in (1, 2, 5, 10) if power * factor >= rough))
    return step, step * float(np.ceil(max(largest, 1e-9) / step))


def _ticks(place: Callable[[float], float], step: float, top: float) -> tuple[Tick, ...]:
    return tuple(Tick(place(step * number), f"{step * number:g}") for number in range(round(top / step) + 1))


def _path(points: Sequence[tuple[float, float]]) -> str:
    return " ".join(f"{x:.1f},{y:.1f}" for x, y in points)


def slopes(metrics: Metrics) -> Slopes | None:
    """The most confused pairs of classes over the rounds; None after one round or without confusions."""
    pairs = metrics.loop.slopes
    if not pairs or len(pairs[0].counts) < 2:
        return None
    numbers = list(pairs[0].counts)
    names = metrics.data.classes
    left, right, top, bottom = 40.0, 430.0, 30.0, 310.0
    step, highest = _nice_scale(max(max(pair.counts.values()) for pair in pairs))
    step = max(step, 1.0)  # there is no half sample
    highest = step * float(np.ceil(highest / step))
    across = {
        number: left + 14 + (right - left - 28) * place / (len(numbers) - 1) for place, number in enumerate(numbers)
    }

    def height(count: float) -> float:
        return bottom - (bottom - top) * count / highest

    ends = [height(pair.counts[numbers[-1]]) for pair in pairs]
    lines = []
    for pair, label_at in zip(pairs, _spread(ends, 15.0, top, bottom + 8), strict=True):
        one, two = (names[label] for label in pair.classes)
        points = [(across[number], height(count)) for number, count in pair.counts.items()]
        said = ", ".join(f"{count} in round {number}" for number, count in pair.counts.items())
        markers = tuple(
            Marker(x, y, f"{one} – {two}: {count} in round {number}")
            for (x, y), (number, count) in zip(points, pair.counts.items(), strict=True)
        )
        title = f"{one} – {two}: {said}"
        lines.append(Slope(_short_pair(one, two), title, pair.addressed, _path(points), markers, points[-1], label_at))
    return Slopes(
        width=780.0,
        height=bottom + 16,
        left=left,
        right=right,
        top=top,
        bottom=bottom,
        rounds=tuple(Tick(x, f"round {number}") for number, x in across.items()),
        y_ticks=_ticks(height, step, highest),
        lines=tuple(lines),
    )


def _short_pair(one: str, two: str) -> str:
    limit = 23
    return " – ".join(name if len(name) <= limit else f"{name[: limit - 1]}…" for name in (one, two))


def _spread(places: Sequence[float], apart: float, top: float, bottom: float) -> list[float]:
    """Move labels up or down as little as a simple sweep can, so that they do not overlap."""
    order = sorted(range(len(places)), key=lambda index: (places[index], index))
    moved, last = list(places), top - apart
    for index in order:
        moved[index] = last = max(places[index], last + apart)
    limit = bottom
    for index in reversed(order):
        moved[index] = limit = min(moved[index], limit)
        limit -= apart
    return moved


def reliability_picture(metrics: Metrics, side: float = 260.0) -> Reliability:
    """Accuracy against confidence, per bin of confidence."""
    bins = metrics.calibration.bins
    most = max((one.samples for one in bins), default=1)
    return Reliability(
        side,
        tuple(
            Bar(
                left=one.low * side,
                width=(one.high - one.low) * side,
                accuracy=one.accuracy * side,
                confidence=one.confidence * side,
                share=one.samples / most,
                title=f"confidence {one.low:.0%} to {one.high:.0%}: {one.samples} samples, "
                f"mean confidence {one.confidence:.1%}, right {one.accuracy:.1%}",
            )
            for one in bins
        ),
    )


def whiskers(rows: Sequence[LastRow]) -> list[Whisker]:
    """The top-1 intervals of rows on one common axis."""
    low = min(row.interval.low for row in rows)
    span = max(max(row.interval.high for row in rows) - low, 1e-9)

    def place(value: float) -> float:
        return 3 + 94 * (value - low) / span

    return [Whisker(place(row.interval.low), place(row.interval.high), place(row.top1)) for row in rows]
