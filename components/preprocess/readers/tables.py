"""Tables of text, skeletons frame by frame: separated by commas, semicolons, tabs or spaces."""

from __future__ import annotations

import csv
import io
import re
from collections.abc import Sequence

import numpy as np

from components.contracts.skeleton import layout_names, load_layout
from components.preprocess.readers.arrays import persons_first
from components.preprocess.readers.clip import Array, ClipFaultError, Expected

_DECIMAL_COMMA = re.compile(r"^(-?\d*),(\d+(?:[eE][-+]?\d+)?)$")
_TIME = ("frame", "time", "timestamp", "index", "frame_id", "t", "")
_SCORES = ("score", "visibility", "confidence", "conf", "visible", "likelihood", "s", "c", "v")


def rows_of(content: bytes) -> list[list[str]]:
    """Return the cells of a table, line by line; ``ClipFaultError`` if it is none.

    The first line says what separates: semicolons, else tabs, else commas, else spaces. Beside semicolons and tabs, as
    spreadsheets write them where numbers have a decimal comma, ``1,5`` is 1.5.
    """
    wide = content.startswith((b"\xff\xfe", b"\xfe\xff"))  # what Excel calls "Unicode text"
    try:
        text = content.decode("utf-16" if wide else "utf-8-sig")
    except UnicodeDecodeError as error:
        raise ClipFaultError(f"byte {error.start}: not UTF-8 text; save it as UTF-8 (Excel: CSV UTF-8)") from None
    first = next((line for line in text.splitlines() if line.strip()), "")
    delimiter = next((one for one in ";\t," if one in first), " ")
    try:
        lines = [line for line in csv.reader(io.StringIO(text), delimiter=delimiter) if any(line)]
    except csv.Error as error:
        raise ClipFaultError(f"not a table: {error}") from None
    if delimiter == " ":
        return [[cell for cell in line if cell] for line in lines]
    cells = [[cell.strip() for cell in line] for line in lines]
    if delimiter == ",":
        return cells
    return [[_DECIMAL_COMMA.sub(r"\1.\2", cell) for cell in line] for line in cells]


def clip_table(content: bytes, expected: Expected) -> Array:
    """Return the skeletons of a table as ``[M, T, V, C]``.

    Either a line per frame, with the coordinates of joint after joint (columns of the frame's number or time are left
    out), or a line per joint: columns ``frame``, ``joint``, ``x``, ``y`` and perhaps ``z`` and a score.

    Raises:
        ClipFaultError: a cell is no number, or the columns fit no number of joints.
    """
    rows = rows_of(content)
    if not rows:
        raise ClipFaultError("the table is empty")
    header = None if _is_number(rows[0][-1]) or not rows[0][-1] else [cell.lower() for cell in rows.pop(0)]
    if not rows:
        raise ClipFaultError("the table has a header and no line of numbers")
    if header and {"frame", "joint", "x", "y"} <= set(header):
        return _long(rows, header)
    values = np.array(
        [[_number(cell, line) for cell in row] for line, row in enumerate(rows, 1)] if _even(rows) else []
    )
    if header:
        values = values[:, [number for number, name in enumerate(header) if name not in _TIME]]
    elif len(values) > 1 and (np.diff(values[:, 0]) == 1).all():  # frames are counted
        values = values[:, 1:]
    if header is None and values.shape[1] in (3, 4) and (jointly := _joint_by_joint(values, expected)) is not None:
        return jointly
    return persons_first(values, expected)


def _joint_by_joint(values: Array, expected: Expected) -> Array | None:
    """Part lines of one joint each, x, y, z and perhaps a score, as MSR Action 3D has them: ``[1, T, V, C]``.

    Without a known number of joints it is the one, of those of our layouts, for which bodies move least from frame to
    frame. None if the lines are no multiple of any.
    """
    sizes = [expected.joints] if expected.joints else sorted({len(load_layout(name).joints) for name in layout_names()})
    fitting = [values.reshape(-1, size, values.shape[1]) for size in sizes if len(values) % size == 0]
    if not fitting:
        return None
    return min(
        fitting, key=lambda clip: float(np.abs(np.diff(clip[..., :3], axis=0)).mean()) if len(clip) > 1 else 1e9
    )[None]


def _even(rows: Sequence[Sequence[str]]) -> bool:
    for line, row in enumerate(rows, 1):
        if len(row) != len(rows[0]):
            raise ClipFaultError(f"line {line}: found {len(row)} columns, {len(rows[0])} in the first")
    return True


def _long(rows: Sequence[Sequence[str]], header: Sequence[str]) -> Array:
    _even([header, *rows])
    axes = [name for name in ("x", "y", "z", *_SCORES) if name in header]
    columns = {name: [row[header.index(name)] for row in rows] for name in ("frame", "joint")}
    frames = {name: number for number, name in enumerate(dict.fromkeys(columns["frame"]))}
    joints = {name: number for number, name in enumerate(dict.fromkeys(columns["joint"]))}
    points = np.full((1, len(frames), len(joints), len(axes)), np.nan)
    for line, (row, frame, joint) in enumerate(zip(rows, columns["frame"], columns["joint"], strict=True), 2):
        points[0, frames[frame], joints[joint]] = [_number(row[header.index(axis)], line) for axis in axes]
    return points


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _number(cell: str, line: int) -> float:
    try:
        return float(cell) if cell else float("nan")
    except ValueError:
        raise ClipFaultError(f"line {line}: found {cell[:20]!r}, expected a number") from None
