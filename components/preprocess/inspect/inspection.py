"""What an input or a packed dataset holds, without a configuration: sizes, splits, faults and equal sequences.

Two samples are equal if their coordinates are the same bytes. Equal samples on both sides of a protocol leak: the
test knows what the training saw.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts import dataset
from components.contracts.artifact import MANIFEST
from components.contracts.data_config import Format
from components.contracts.dataset import Skipped
from components.contracts.errors import InputError
from components.contracts.skeleton import Layout, load_layout
from components.preprocess.inspect.glimpse import Glimpse, glimpse
from components.preprocess.inspect.survey import is_looked_at
from components.preprocess.readers.choose import open_source
from components.preprocess.readers.samples import ABSENT, Sample, fingerprint

ROLES = ("train", "val", "test", "dev", "eval")
LAYOUTS = {
    (25, 3): "ntu25",
    (20, 3): "kinect20",
    (15, 3): "sbu15",
    (32, 3): "azure32",
    (33, 3): "mediapipe33",
    (17, 2): "coco17",
    (18, 2): "openpose18",
    (23, 2): "wholebody23",
    (25, 2): "openpose25",
    (33, 2): "mediapipe33",
}
"""Number of joints and coordinates → the layout that data of this form usually has."""


@dataclass
class Holdings:
    """What was found. Per sample: id → label, frames, fingerprint; counts of everything else.

    ``forms`` counts (joints, coordinates per joint, with score); ``persons`` counts persons per sample; ``faults``
    maps a reason to the ids that have it; ``empty`` counts frames that show nobody; ``glimpses``: poses of some
    samples of the most frequent form; ``recorded``: the doubts that a packed dataset's manifest has; ``pairs`` are the
    (train, test) splits of a protocol.
    """

    path: Path
    kind: str
    splits: Mapping[str, Sequence[str]]
    pairs: Sequence[tuple[str, str]]
    classes: Sequence[str] = ()
    labels: dict[str, int] = field(default_factory=dict)
    frames: dict[str, int] = field(default_factory=dict)
    fingerprints: dict[str, bytes] = field(default_factory=dict)
    forms: Counter[tuple[int, int, bool]] = field(default_factory=Counter)
    persons: Counter[int] = field(default_factory=Counter)
    faults: dict[str, list[str]] = field(default_factory=dict)
    empty: dict[str, int] = field(default_factory=dict)
    glimpses: list[Glimpse] = field(default_factory=list)
    subjects: Mapping[str, str] = field(default_factory=dict)
    recorded: list[dict[str, Any]] = field(default_factory=list)
    repeated: list[str] = field(default_factory=list)

    @property
    def form(self) -> tuple[int, int, bool] | None:
        """The most frequent form: joints, coordinates, with score."""
        return self.forms.most_common(1)[0][0] if self.forms else None

    def twins(self, train: str, test: str) -> list[tuple[str, str]]:
        """Return (training id, test id) of each test sample that is byte-equal to a training sample."""
        known = {self.fingerprints[i]: i for i in self.splits[train] if i in self.fingerprints}
        found = ((known.get(self.fingerprints.get(i, b"")), i) for i in self.splits[test])
        return [(first, second) for first, second in found if first is not None]

    def copies(self) -> list[list[str]]:
        """Return the groups of samples that are byte-equal to one another, wherever they are."""
        groups: dict[bytes, list[str]] = {}
        for sample_id, found in self.fingerprints.items():
            groups.setdefault(found, []).append(sample_id)
        return [group for group in groups.values() if len(group) > 1]


def inspect(path: Path, kind: Format = "auto") -> Holdings:
    """Look at every sample of an input or of a packed dataset.

    Raises:
        InputError: it cannot be opened as a whole; what is wrong with one sample is a fault, not an error.
    """
    holdings, samples, expected = _opened(path, kind)
    for record in samples:
        if isinstance(record, Sample) and is_looked_at(record.position, expected) and (seen := glimpse(record)):
            holdings.glimpses.append(seen)
        if isinstance(record, Skipped):
            holdings.faults.setdefault(record.reason, []).append(record.sample_id or f"number {record.position}")
        elif record.sample_id in holdings.labels:
            holdings.repeated.append(record.sample_id)
        else:
            _add(holdings, record)
    form = holdings.form
    holdings.glimpses = [seen for seen in holdings.glimpses if form and seen.poses.shape[1:] == form[:2]]
    return holdings


def find_sample(path: Path, kind: Format = "auto", sample_id: str | None = None) -> tuple[Sample, Holdings]:
    """Return one sample, by id or else the first that can be drawn; ``InputError`` if there is none."""
    holdings, samples, _ = _opened(path, kind)
    for record in samples:
        if isinstance(record, Sample) and (record.sample_id == sample_id or (sample_id is None and _fits(record))):
            if not _fits(record):
                raise InputError(f"sample {sample_id!r} cannot be drawn: {_fault(record)}", at=path)
            return record, holdings
    raise InputError(f"{path}: no sample {sample_id!r} found" if sample_id else f"{path}: no sample can be drawn")


def layout_of(sample: Sample, holdings: Holdings, name: str | None = None) -> Layout:
    """Return the layout called ``name``, the one of a packed dataset, or the usual one for data of this form."""
    joints, channels = sample.keypoints.shape[2:]
    chosen = name or (dataset.open(holdings.path).layout.name if holdings.kind == "dataset" else None)
    chosen = chosen or LAYOUTS.get((joints, channels))
    if chosen is None:
        raise InputError(
            f"layout: none is usual for {joints} joints × {channels} coordinates; choose one with --layout"
        )
    layout = load_layout(chosen)
    if len(layout.joints) != joints:
        raise InputError(f"layout: {layout.name} has {len(layout.joints)} joints, sample {sample.sample_id!r} {joints}")
    return layout


def _opened(path: Path, kind: Format) -> tuple[Holdings, Iterator[Sample | Skipped], int]:
    if (path / MANIFEST).is_file():
        packed = dataset.open(path)
        ids = {name: packed.sample_ids[numbers].tolist() for name, numbers in packed.splits.items()}
        pairs = [(protocol.train, protocol.test) for protocol in packed.config.protocols.values()]
        found = Holdings(path, "dataset", ids, pairs, packed.config.classes)
        found.recorded = packed.manifest.about.get("doubts", [])  # since version 1.2
        return found, _packed(packed), len(packed)
    source, _ = open_source(path, kind=kind)
    found = Holdings(path, source.format, source.splits, protocol_pairs(source.splits), source.classes)
    found.subjects = source.subjects
    return found, iter(source), source.expected


def _packed(packed: dataset.Dataset) -> Iterator[Sample | Skipped]:
    yield from packed.skipped
    scored = packed.config.dimensions == "2d+score"
    for number, sample_id in enumerate(packed.sample_ids.tolist()):
        points = packed.sample(number)
        scores = points[..., 2] if scored else None
        points = points[..., :2] if scored else points
        yield Sample(number, sample_id, int(packed.labels[number]), points, scores)


def protocol_pairs(splits: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Pair training splits with test splits of the same protocol, by their names.

    ``xsub_train`` goes with ``xsub_val``, ``train1`` with ``test1``; further words of a training split, as in
    ``xview_train_clean``, do no harm.
    """
    pairs = []
    for train in splits:
        for test in splits:
            if "train" in train and "train" not in test and _words(test) <= _words(train):
                pairs.append((train, test))
    return pairs


def _words(split: str) -> set[str]:
    for role in ROLES:
        split = split.replace(role, "_")
    return set(split.split("_")) - {""}


def _fault(sample: Sample) -> str | None:
    points = sample.keypoints
    if points.ndim != 4 or points.dtype.kind not in "fiu" or 0 in points.shape:
        shape = "×".join(map(str, points.shape)) or "scalar"
        return f"keypoint: found {points.dtype} {shape}, expected numbers persons×frames×joints×channels"
    for name, array in (("keypoint", points), ("keypoint_score", sample.scores)):
        if array is not None and array.dtype.kind == "f" and not np.isfinite(array).all():
            return f"{name}: values that are NaN or infinite"
    return None if (np.abs(points) > ABSENT).any() else "keypoint: all values are zero"


def _fits(sample: Sample) -> bool:
    return _fault(sample) is None


def _add(holdings: Holdings, sample: Sample) -> None:
    sample_id, points = sample.sample_id, sample.keypoints
    holdings.labels[sample_id] = sample.label
    reason = _fault(sample)
    if reason:
        holdings.faults.setdefault(reason, []).append(sample_id)
    if points.ndim == 4:
        holdings.frames[sample_id] = points.shape[1]
        holdings.forms[(points.shape[2], points.shape[3], sample.scores is not None)] += 1
        holdings.persons[_present(points)] += 1
        holdings.fingerprints[sample_id] = fingerprint(points)
        if points.dtype.kind in "fiu" and (empty := points.shape[1] - int(_shown(points).sum())):
            holdings.empty[sample_id] = empty


def _shown(points: npt.NDArray[Any]) -> npt.NDArray[np.bool_]:
    """Return in which frames anybody is: bool ``[T]``."""
    return np.asarray((np.abs(points) > ABSENT).any(axis=(0, 2, 3)))


def _present(points: npt.NDArray[Any]) -> int:
    if points.dtype.kind not in "fiu":
        return len(points)
    return int((np.abs(points) > ABSENT).any(axis=(1, 2, 3)).sum())
