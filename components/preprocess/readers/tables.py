"""Tables of comma-separated values: skeletons frame by frame, and lists of labels."""

from __future__ import annotations

import csv
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

import numpy as np

from components.preprocess.readers.arrays import persons_first
from components.preprocess.readers.clip import Array, ClipFaultError, Expected

LISTS = ("labels.csv", "labels.tsv", "annotations.csv", "index.csv")
"""Names of files that list labels."""
_IDS = ("id", "file", "filename", "file_name", "name", "path", "clip", "video", "sample")
_LABELS = ("label", "class", "action", "category", "y", "target")
_SPLITS = ("split", "subset", "set", "partition")
_SUBJECTS = ("subject", "person", "performer", "actor", "user")
_TIME = ("frame", "time", "timestamp", "index", "frame_id", "t", "")
_SCORES = ("score", "visibility", "confidence", "conf", "visible", "likelihood", "s", "c", "v")


def _rows(content: bytes) -> list[list[str]]:
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ClipFaultError(f"byte {error.start}: not UTF-8 text") from None
    delimiter = max(",;\t", key=text[:4096].count)
    try:
        return [
            [cell.strip() for cell in row] for row in csv.reader(io.StringIO(text), delimiter=delimiter) if any(row)
        ]
    except csv.Error as error:
        raise ClipFaultError(f"not a table: {error}") from None


def clip_table(content: bytes, expected: Expected) -> Array:
    """Return the skeletons of a table as ``[M, T, V, C]``.

    Either a line per frame, with the coordinates of joint after joint (columns of the frame's number or time are left
    out), or a line per joint: columns ``frame``, ``joint``, ``x``, ``y`` and perhaps ``z`` and a score.

    Raises:
        ClipFaultError: a cell is no number, or the columns fit no number of joints.
    """
    rows = _rows(content)
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
    return persons_first(values, expected)


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


@dataclass
class LabelList:
    """What a list of labels says: by id or file name, without folder and suffix where that is unique."""

    labels: dict[str, str] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)


def label_list(content: bytes) -> LabelList:
    """Read a list of labels: a line per clip with its id or file, its label and, if known, split and subject.

    Columns are found by their names (``id`` or ``file``, ``label`` or ``class``, ``split``, ``subject``, and usual
    others); without a line of names they are id, label, split, subject.

    Raises:
        ClipFaultError: a column is missing, or an id stands twice with different labels.
    """
    rows = _rows(content)
    if not rows:
        raise ClipFaultError("the list is empty")
    header = [cell.lower() for cell in rows[0]]
    known = {*_IDS, *_LABELS, *_SPLITS, *_SUBJECTS}
    if known & set(header):
        rows = rows[1:]
    else:
        header = ["id", "label", "split", "subject"][: len(header)]
    at = {what: _column(header, names) for what, names in (("ids", _IDS), ("labels", _LABELS))}
    if at["ids"] is None or at["labels"] is None:
        raise ClipFaultError(f"found columns {', '.join(header)}, expected id (or file) and label (or class)")
    found = LabelList()
    optional = ((_SPLITS, found.splits), (_SUBJECTS, found.subjects))
    for line, row in enumerate(rows, 2):
        if len(row) < len(header):
            raise ClipFaultError(f"line {line}: found {len(row)} columns, expected {len(header)}")
        name, label = row[at["ids"]], row[at["labels"]]
        if found.labels.setdefault(name, label) != label:
            raise ClipFaultError(
                f"line {line}: {name!r} stands twice, with labels {found.labels[name]!r} and {label!r}"
            )
        for names, target in optional:
            column = _column(header, names)
            if column is not None and row[column]:
                target[name] = row[column]
    return found


def _column(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)


def looked_up(table: Mapping[str, str], name: str) -> str | None:
    """Return what a list says of a file: by its whole name, by its name without suffix or folder, or by its folder."""
    path = PurePosixPath(name)
    for key in (name, str(path.with_suffix("")), path.name, path.stem):
        if key in table:
            return table[key]
    return None
