"""The confusion matrix as a picture: readable at 4 classes and at 400, with a script and without."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from components.contracts.accuracy import Counts
from components.evaluate.report.seriation import clustered_order
from components.evaluate.wording import percent

_LARGEST_SIDE = 760.0
_NAME_LENGTH = 26
_SMALLEST_LABELLED = 10
_SMALLEST_NUMBERED = 20
_SHADES = 8
_UNLABELLED_MARGIN = 150.0
"""Where names do not fit at first there must be room for them when the picture is enlarged."""


@dataclass(frozen=True)
class Cell:
    """A non-empty cell: place (in cells), share of its row as opacity, tooltip and number."""

    column: int
    row: int
    correct: bool
    opacity: float
    title: str
    text: str


@dataclass(frozen=True)
class Shade:
    """Many cells of one colour as one SVG path, in cells."""

    correct: bool
    opacity: float
    path: str


@dataclass(frozen=True)
class Matrix:
    """``order`` of the classes, ``size`` of a cell and ``margin`` left and above, in SVG units; either ``cells``, one
    by one, or ``shades``; ``data`` is what the script needs (JSON that is safe within a script element)."""

    order: tuple[int, ...]
    names: tuple[str, ...]
    clustered: bool
    size: float
    margin: float
    labelled: bool
    cells: tuple[Cell, ...]
    shades: tuple[Shade, ...]
    data: str

    @property
    def every(self) -> int:
        """Every so many-eth class has its name beside the picture as it first appears."""
        return 1 if self.labelled else int(np.ceil(_SMALLEST_LABELLED / self.size))

    @property
    def side(self) -> float:
        return self.size * len(self.order)

    @property
    def extent(self) -> float:
        return self.side + self.margin + 6


def matrix_picture(counts: Counts, names: Sequence[str]) -> Matrix:
    """Lay out ``counts[true][predicted]``; beyond 12 classes in clustered order, beyond 70 with names on enlarging."""
    classes = len(names)
    size = 44.0 if classes <= 12 else 26.0 if classes <= 30 else 14.0 if classes <= 54 else _LARGEST_SIDE / classes
    order = clustered_order(counts) if classes > 12 else list(range(classes))
    ordered, called = counts[np.ix_(order, order)], [names[label] for label in order]
    short = tuple(name if len(name) <= _NAME_LENGTH else f"{name[: _NAME_LENGTH - 1]}…" for name in called)
    labelled, single = size >= _SMALLEST_LABELLED, size >= _SMALLEST_NUMBERED
    letters = max(len(name) for name in short)
    return Matrix(
        order=tuple(order),
        names=short,
        clustered=order != sorted(order),
        size=size,
        margin=30.0 + letters * (6.6 if single else 5.8) if labelled else _UNLABELLED_MARGIN,
        labelled=labelled,
        cells=_cells(ordered, called) if single else (),
        shades=() if single else _shades(ordered),
        data=_data(ordered, called),
    )


def _cells(counts: Counts, names: Sequence[str]) -> tuple[Cell, ...]:
    totals = counts.sum(axis=1)
    return tuple(
        Cell(
            column=column,
            row=row,
            correct=row == column,
            opacity=round(0.12 + 0.88 * counts[row, column] / totals[row], 3),
            title=f"{names[row]} → {names[column]}: {counts[row, column]} of {totals[row]} "
            f"({percent(counts[row, column] / totals[row])})",
            text=str(counts[row, column]),
        )
        for row, column in np.argwhere(counts).tolist()
    )


def _shades(counts: Counts) -> tuple[Shade, ...]:
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    level = np.ceil(shares * _SHADES).astype(int)
    diagonal = np.eye(len(counts), dtype=bool)
    shades = []
    for number in range(1, _SHADES + 1):
        for correct in (True, False):
            places = np.argwhere((level == number) & (diagonal == correct)).tolist()
            if places:
                path = "".join(f"M{column} {row}h1v1h-1z" for row, column in places)
                faintest = 0.2 if correct else 0.5  # a lone mistake on a cell of two pixels must be seen
                shades.append(Shade(correct, round(faintest + (1 - faintest) * number / _SHADES, 3), path))
    return tuple(shades)


def _data(counts: Counts, names: Sequence[str]) -> str:
    rows = [[int(value) for pair in ((at, row[at]) for at in np.flatnonzero(row)) for value in pair] for row in counts]
    document = {"names": list(names), "rows": rows, "samples": counts.sum(axis=1).tolist()}
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).replace("<", "\\u003c")
