"""Whole data sets in one ``.npz``: arrays of clips and of labels, as CTR-GCN and others keep them.

``x_train``, ``y_train``, ``x_test``, ``y_test``; or ``keypoints`` (or ``data``, ``x``) and ``labels`` (or ``y``), with
``ids``, ``split`` and ``subjects`` if known. Clips are ``[N, M, T, V, C]``, ``[N, T, V, C]``, ``[N, C, T, V, M]`` or
rows ``[N, T, M·V·C]``, or a list of clips that differ in length; labels are numbers, text or one-hot rows.
Frames of zeros at the end are filling, and left out.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np

from components.contracts.config import DataConfig
from components.contracts.dataset import Skipped
from components.contracts.errors import InputError
from components.preprocess.readers.arrays import persons_first, read_npz
from components.preprocess.readers.clip import Array, ClipFaultError, expectation, natural, numbers, with_depth
from components.preprocess.readers.decode import LARGEST_FILE
from components.preprocess.readers.members import Member
from components.preprocess.readers.samples import ABSENT, Sample, Source

_CLIPS = ("keypoints", "keypoint", "data", "x", "X", "skeletons", "poses")
_LABELS = ("labels", "label", "y", "Y", "targets")
_SCORES = ("scores", "keypoint_scores", "keypoint_score")
_IDS = ("ids", "sample_ids", "names", "sample_name", "frame_dir")


class ArraySet(Source):
    """An open ``.npz`` of a whole data set."""

    format = "arrays"

    def __init__(self, member: Member, config: DataConfig | None) -> None:
        self._expected = expectation(config)
        try:
            arrays = read_npz(member.read(LARGEST_FILE))
            parts = _parts(arrays)
        except ClipFaultError as error:
            raise InputError(str(error), at=member.label) from None
        self._clips = [clip for part in parts for clip in part["clips"]]
        self._scores = [scores for part in parts for scores in part["scores"]]
        texts = [label for part in parts for label in part["labels"]]
        self.classes = sorted({text for text in texts if isinstance(text, str)}, key=natural)
        known = {name: number for number, name in enumerate(config.classes if config else self.classes)}
        shift = config.first_label if config else 0
        self._labels = [label if isinstance(label, int) else known.get(label, -1) + shift for label in texts]
        self._ids = [sample_id for part in parts for sample_id in part["ids"]]
        self.splits = _splits(arrays, parts, self._ids)
        subjects = arrays.get("subjects", arrays.get("subject"))
        self.subjects = {} if subjects is None else dict(zip(self._ids, map(str, list(subjects)), strict=False))

    @property
    def expected(self) -> int:
        return len(self._clips)

    def raw(self) -> Iterator[int]:
        return iter(range(len(self._clips)))

    def finish(self, raw: int) -> Sample | Skipped:
        try:
            points = persons_first(_unfilled(numbers(self._clips[raw], "keypoints")), self._expected)
        except ClipFaultError as error:
            return Skipped(position=raw, sample_id=self._ids[raw], reason=f"keypoints: {error}")
        points, scores = with_depth(points, self._scores[raw], self._expected.depth)
        if scores is not None:
            scores = np.asarray(scores)
            scores = scores[None] if scores.ndim == 2 else scores
            scores = scores[:, : points.shape[1]]
        return Sample(raw, self._ids[raw], self._labels[raw], points, scores)


def _unfilled(clip: Array) -> Array:
    """Leave out frames of zeros at the end of a clip whose first axis, or second of three to five, is time."""
    axis = {2: 0, 3: 0}.get(clip.ndim, 0 if clip.ndim == 4 and clip.shape[0] > 10 else 1)
    moved = np.moveaxis(clip, axis, 0)
    there = np.flatnonzero((np.abs(moved) > ABSENT).reshape(len(moved), -1).any(axis=1))
    last = int(there[-1]) + 1 if len(there) else len(moved)
    return np.moveaxis(moved[:last], 0, axis)


def _parts(arrays: dict[str, Any]) -> list[dict[str, Any]]:
    if "x_train" in arrays:
        names = [name for name in ("train", "val", "test") if f"x_{name}" in arrays]
        return [_part(arrays, f"x_{name}", f"y_{name}", name) for name in names]
    clips = next((name for name in _CLIPS if name in arrays), None)
    labels = next((name for name in _LABELS if name in arrays), None)
    if clips is None or labels is None:
        found = ", ".join(list(arrays)[:8]) or "nothing"
        raise ClipFaultError(f"found {found}, expected x_train, y_train, x_test and y_test, or keypoints and labels")
    return [_part(arrays, clips, labels, "")]


def _part(arrays: dict[str, Any], clips: str, labels: str, name: str) -> dict[str, Any]:
    number = len(arrays[clips])
    if labels not in arrays or len(arrays[labels]) != number:
        raise ClipFaultError(f"{labels}: expected one label for each of {number} clips")
    scores = next((arrays[key] for key in _SCORES if key in arrays and len(arrays[key]) == number), [None] * number)
    given = next((arrays[key] for key in _IDS if key in arrays and len(arrays[key]) == number), None)
    prefix = f"{name}_" if name else "clip_"
    ids = [str(one) for one in given] if given is not None and not name else [f"{prefix}{i:05d}" for i in range(number)]
    return {
        "clips": list(arrays[clips]),
        "labels": _labels(arrays[labels], labels),
        "scores": scores,
        "ids": ids,
        "name": name,
    }


def _labels(values: Any, name: str) -> list[int | str]:
    found = np.asarray(values)
    if found.ndim == 2 and found.shape[1] > 1 and found.dtype.kind in "fiub":
        return [int(one) for one in found.argmax(axis=1)]
    found = found.reshape(-1)
    if found.dtype.kind in "iub" or (found.dtype.kind == "f" and (found == np.round(found)).all()):
        return [int(one) for one in found]
    if found.dtype.kind in "US":
        return [str(one) for one in found]
    raise ClipFaultError(f"{name}: found {found.dtype}, expected integers, text or one-hot rows")


def _splits(arrays: dict[str, Any], parts: list[dict[str, Any]], ids: list[str]) -> dict[str, list[str]]:
    if parts[0]["name"]:
        return {part["name"]: part["ids"] for part in parts}
    splits: dict[str, list[str]] = {}
    for sample_id, split in zip(ids, arrays.get("split", []), strict=False):
        splits.setdefault(str(split), []).append(sample_id)
    return splits
