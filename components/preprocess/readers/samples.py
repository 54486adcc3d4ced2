"""What every input format offers, and what every sample must satisfy, whichever format it came from.

A format is one module that makes a ``Source`` (``pyskl``, ``kinetics``, ``ntu``, ``uav``); ``readers`` chooses it.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.config import DataConfig
from components.contracts.dataset import Skipped
from components.contracts.skeleton import load_layout

JOINTS_BEFORE_ADDITION = {"coco20": 17}
"""Layouts whose last joints are computed here, and how many the input may have instead."""

LONGEST_ID = 255

LARGEST_SAMPLE = 1 << 26
"""Coordinates; half a gigabyte while it is normalised, and a hundred times the longest recording of any benchmark."""

ABSENT = 1e-8
"""A person is absent from a frame in which no coordinate exceeds this (metres or pixels)."""


@dataclass(frozen=True)
class Sample:
    """One sample as the input holds it, not yet checked or normalised.

    keypoints: ``[M, T, V, C]``, C = 3 (x, y, z in metres) or 2 (x, y in pixels);
    scores: ``[M, T, V]`` with C = 2, otherwise None; image: (height, width) in pixels if known.
    """

    position: int
    sample_id: str
    label: int
    keypoints: npt.NDArray[Any]
    scores: npt.NDArray[Any] | None = None
    image: tuple[int, int] | None = None


class Source(ABC):
    """An open input. Iterating yields every record once, in the reader's order: a sample, or why there is none.

    ``raw`` and ``finish`` are the two halves of that: what only one process can do, and what any of several can.
    """

    format: str
    """The format's name, as in the configuration."""
    splits: Mapping[str, Sequence[str]]
    """Split name → sample ids, as the input has them."""

    @property
    @abstractmethod
    def expected(self) -> int:
        """The number of records, as far as it can be told before they are read."""

    @abstractmethod
    def raw(self) -> Iterator[Any]:
        """Yield what is read of each record, in a form that can be pickled."""

    @abstractmethod
    def finish(self, raw: Any) -> Sample | Skipped:
        """Make a record of what ``raw`` yielded, without looking at the input again."""

    def __iter__(self) -> Iterator[Sample | Skipped]:
        return map(self.finish, self.raw())


def fault(sample: Sample, config: DataConfig) -> str | None:
    """Return why a sample cannot be used, or None if it can: one line with field, found and expected."""
    if not sample.sample_id.isprintable() or len(sample.sample_id) > LONGEST_ID:
        return (
            f"sample id: found control characters or {len(sample.sample_id)} characters, at most {LONGEST_ID} expected"
        )
    if not 0 <= sample.label < len(config.classes):
        return f"label: found {sample.label}, expected 0 to {len(config.classes) - 1}"
    return _shape_fault(sample, config) or _value_fault(sample, config) or _image_fault(sample, config)


def fingerprint(keypoints: npt.NDArray[Any]) -> bytes:
    """Return a digest of coordinates: equal ones are the same bytes in the same shape."""
    content = np.ascontiguousarray(keypoints)
    digest = hashlib.sha256(f"{content.dtype.str}{content.shape}".encode())
    digest.update(content.data)
    return digest.digest()


def _shape_fault(sample: Sample, config: DataConfig) -> str | None:
    shape = sample.keypoints.shape
    if len(shape) != 4:
        return f"keypoint: found shape {_times(shape)}, expected persons×frames×joints×channels"
    joints = len(load_layout(config.layout).joints)
    accepted = {joints, JOINTS_BEFORE_ADDITION.get(config.layout, joints)}
    if shape[2] not in accepted:
        wanted = " or ".join(str(number) for number in sorted(accepted))
        return f"keypoint: found {shape[2]} joints, expected {wanted} (layout {config.layout})"
    channels = 3 if config.dimensions == "3d" else 2
    if shape[3] != channels:
        return f"keypoint: found {shape[3]} channels, expected {channels} (dimensions {config.dimensions})"
    if not shape[0]:
        return "keypoint: found no person"
    if not shape[1]:
        return "keypoint: found no frame"
    if sample.keypoints.size > LARGEST_SAMPLE:
        return f"keypoint: found {sample.keypoints.size} coordinates, at most {LARGEST_SAMPLE} expected"
    if config.dimensions == "2d+score":
        if sample.scores is None:
            return "keypoint_score: missing, expected with dimensions 2d+score"
        if sample.scores.shape != shape[:3]:
            return f"keypoint_score: found shape {_times(sample.scores.shape)}, expected {_times(shape[:3])}"
    return None


def _value_fault(sample: Sample, config: DataConfig) -> str | None:
    arrays = {"keypoint": sample.keypoints}
    if config.dimensions == "2d+score" and sample.scores is not None:
        arrays["keypoint_score"] = sample.scores
    for name, array in arrays.items():
        if array.dtype.kind not in "fiu":
            return f"{name}: found dtype {array.dtype}, expected numbers"
        with np.errstate(over="ignore"):
            values = array.astype(np.float32)
        finite = np.isfinite(values)
        if not finite.all():
            bad = array.size - int(finite.sum())
            return f"{name}: {bad} of {array.size} values are NaN, infinite or beyond float32"
        if name == "keypoint" and not (np.abs(values) > ABSENT).any():
            return "keypoint: all values are zero"
    return None


def _image_fault(sample: Sample, config: DataConfig) -> str | None:
    if config.normalisation == "image" and sample.image is None:
        return "img_shape: missing or not two positive integers, expected (height, width) for normalisation image"
    return None


def _times(shape: tuple[int, ...]) -> str:
    return "×".join(str(size) for size in shape) or "scalar"
