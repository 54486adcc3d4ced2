"""The straightforward way to feed a recogniser: every sample by itself, in NumPy, anew in each epoch.

This is what our stages are compared with. It computes what the reference's transforms compute for NTU RGB+D
(PreNormalize3D without alignment, RandomRot, GenSkeFeat, UniformSampleDecode, FormatGCNInput), in its order and with
its habits: float16 arithmetic and a loop over frames to find the empty ones. It is held to the golden arrays by
``tests/preprocess/test_plain_pipeline.py``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.skeleton import Layout

CENTRE = 1
"""The joint that the reference takes for the body's centre: spine middle."""

Array = npt.NDArray[Any]


def normalise(keypoints: Array) -> Array:
    """Leave out empty frames, put the longer person first, move the centre to the origin: ``[M, T, V, C]``."""
    kept = _present_frames(keypoints[0])
    if len(keypoints) == 2:
        others = _present_frames(keypoints[1])
        if len(others) > len(kept):
            keypoints, kept = keypoints[::-1], others
    keypoints = keypoints[:, kept]
    present = (keypoints != 0).any(axis=-1, keepdims=True)
    return (keypoints - keypoints[0, 0, CENTRE]) * present


def _present_frames(person: Array) -> list[int]:
    return [number for number, frame in enumerate(person) if not np.all(np.isclose(frame, 0))]


def rotate(keypoints: Array, largest: float = 0.2) -> Array:
    """Turn by random angles about x, y and z, drawn from NumPy's global generator."""
    x, y, z = np.random.uniform(-largest, largest, size=3)
    about_x = np.array([[1, 0, 0], [0, np.cos(x), np.sin(x)], [0, -np.sin(x), np.cos(x)]])
    about_y = np.array([[np.cos(y), 0, -np.sin(y)], [0, 1, 0], [np.sin(y), 0, np.cos(y)]])
    about_z = np.array([[np.cos(z), np.sin(z), 0], [-np.sin(z), np.cos(z), 0], [0, 0, 1]])
    return np.einsum("ij,mtvj->mtvi", about_z @ about_y @ about_x, keypoints)


def features(keypoints: Array, layout: Layout, stream: str) -> Array:
    """Return one of the six streams, joint by joint."""
    result = keypoints
    if not stream.startswith("j"):
        result = np.zeros(keypoints.shape, dtype=np.float32)
        for joint, reference in layout.pairs(stream):
            result[:, :, joint] = keypoints[:, :, joint] - keypoints[:, :, reference]
    if stream.endswith("m"):
        moved = np.zeros_like(result)
        moved[:, :-1] = np.diff(result, axis=1)
        result = moved
    return result


def frame_numbers(length: int, clip: int) -> Array:
    """Draw the frames of a training clip (PoseConv3D, Duan et al. 2022, section 3.1)."""
    np.random.rand()  # the share of the sequence to sample from, which is all of it
    if length < clip:
        return (np.random.randint(0, length) + np.arange(clip)) % length
    if length < 2 * clip:
        steps = np.zeros(clip + 1, dtype=np.int64)
        steps[np.random.choice(clip + 1, length - clip, replace=False)] = 1
        return np.arange(clip) + np.cumsum(steps)[:-1]
    edges = np.array([number * length // clip for number in range(clip + 1)])
    return edges[:-1] + np.random.randint(np.diff(edges))


def padded(keypoints: Array, persons: int = 2) -> Array:
    """Add persons that are all zero: float32 ``[persons, T, V, C]``."""
    absent = np.zeros((persons - len(keypoints), *keypoints.shape[1:]), dtype=keypoints.dtype)
    return np.ascontiguousarray(np.concatenate([keypoints, absent])[:persons].astype(np.float32))


def training_clip(keypoints: Array, layout: Layout, stream: str, clip: int = 100) -> Array:
    """Return one sample as training sees it in one epoch: float32 ``[2, clip, V, 3]``."""
    turned = rotate(normalise(keypoints))
    result = features(turned, layout, stream)
    return padded(result[:, frame_numbers(result.shape[1], clip)].astype(np.float32))
