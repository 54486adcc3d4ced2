"""What every sample must satisfy, whichever format it came from."""

from __future__ import annotations

import numpy as np

from components.contracts.config import DataConfig
from components.preprocess.readers.samples import ABSENT, Sample

JOINTS_BEFORE_ADDITION = {"coco20": 17}
"""Layouts whose last joints are computed here, and how many the input may have instead."""

LONGEST_ID = 255

LARGEST_SAMPLE = 1 << 26
"""Coordinates; half a gigabyte while it is normalised, and a hundred times the longest recording of any benchmark."""


def fault(sample: Sample, config: DataConfig) -> str | None:
    """Return why a sample cannot be used, or None if it can: one line with field, found and expected."""
    if not sample.sample_id.isprintable() or len(sample.sample_id) > LONGEST_ID:
        return (
            f"sample id: found control characters or {len(sample.sample_id)} characters, at most {LONGEST_ID} expected"
        )
    if not 0 <= sample.label < len(config.classes):
        return f"label: found {sample.label}, expected 0 to {len(config.classes) - 1}"
    return _shape_fault(sample, config) or _value_fault(sample, config) or _image_fault(sample, config)


def _shape_fault(sample: Sample, config: DataConfig) -> str | None:
    shape = sample.keypoints.shape
    if len(shape) != 4:
        return f"keypoint: found shape {_times(shape)}, expected persons×frames×joints×channels"
    joints = len(config.skeleton.joints)
    accepted = {joints, JOINTS_BEFORE_ADDITION.get(config.layout, joints)}
    if shape[2] not in accepted:
        wanted = " or ".join(str(number) for number in sorted(accepted))
        return f"keypoint: found {shape[2]} joints, expected {wanted} (layout {config.skeleton.name})"
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
            return "keypoint_score: missing, expected with dimensions 2d+score (write ones where none is known)"
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
