"""From the coordinates of a file to those that training reads, once per data set instead of once per epoch.

3D follows the reference's ``PreNormalize3D``, 2D its joint addition (``coco_new``) with the affine map of PYSKL.
The reference computes in the file's float16; here everything is float64 until it is stored, which differs from
the published numbers by at most one float16 rounding. Every function takes and returns ``[M, T, V, C]``.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.config import DataConfig
from components.contracts.data_config import AXES, Axis
from components.contracts.skeleton import Layout, load_layout
from components.preprocess.readers.samples import ABSENT, Sample

Keypoints = npt.NDArray[np.float64]

SHORTEST = 1e-140
"""A shorter vector has no direction in float64: the squares of its coordinates lose their digits."""


def normalise(sample: Sample, config: DataConfig) -> npt.NDArray[np.float32]:
    """Return a checked sample as it is stored: float32 ``[M, T, V, 3]``, at most ``max_persons`` persons.

    Channels are x, y, z or x, y, score. M and T may be smaller than the input's: absent persons and, with
    normalisation ``body``, frames without the main person are left out.
    """
    layout = load_layout(config.layout)
    keypoints = np.asarray(sample.keypoints, dtype=np.float64)
    if sample.scores is not None and config.dimensions == "2d+score":
        keypoints = np.concatenate([keypoints, np.asarray(sample.scores, dtype=np.float64)[..., None]], axis=-1)
    if keypoints.shape[2] < len(layout.joints):
        keypoints = add_joints(keypoints)
    if config.persons == "first":
        keypoints = first_persons(keypoints, config.max_persons)
    else:
        keypoints = select_persons(keypoints, config.max_persons)
    if config.normalisation == "image" and sample.image is not None:
        keypoints = to_image(keypoints, *sample.image)
    if config.normalisation == "body":
        keypoints = to_body(keypoints, layout)
    if isinstance(config.align, str):
        keypoints = align_about(keypoints, layout, config.align)
    elif config.align:
        keypoints = align(keypoints, layout)
    with np.errstate(over="ignore"):  # the caller refuses what is not finite
        return keypoints.astype(np.float32)


def add_joints(keypoints: Keypoints) -> Keypoints:
    """Append pelvis, spine and neck to the 17 COCO joints, scores included.

    As in the reference: the middle of the hips, the middle of the two new ends, the middle of the shoulders.
    """
    pelvis = keypoints[:, :, [11, 12]].mean(axis=2, keepdims=True)
    neck = keypoints[:, :, [5, 6]].mean(axis=2, keepdims=True)
    return np.concatenate([keypoints, pelvis, (pelvis + neck) / 2, neck], axis=2)


def presence(keypoints: Keypoints) -> npt.NDArray[np.bool_]:
    """Return in which frames each person is there: bool ``[M, T]``."""
    return np.asarray((np.abs(keypoints) > ABSENT).any(axis=(2, 3)))


def select_persons(keypoints: Keypoints, most: int) -> Keypoints:
    """Keep at most ``most`` persons, the one present in most frames first; absent ones are left out.

    Where persons are to be dropped, those present in most frames stay and among equals those who move most
    (variance of x and y over time, summed over joints; depth is the noisiest channel). Persons present equally
    long keep their order, hence two persons swap exactly when the second is there longer, as in the reference.
    """
    frames = presence(keypoints).sum(axis=1)
    persons = np.flatnonzero(frames)
    if len(persons) > most:
        movement = keypoints[..., :2].var(axis=1).sum(axis=(1, 2))
        persons = np.sort(persons[np.lexsort((-movement[persons], -frames[persons]))[:most]])
    return keypoints[persons[np.argsort(-frames[persons], kind="stable")]]


def first_persons(keypoints: Keypoints, most: int) -> Keypoints:
    """Keep the first ``most`` persons where they stand; only absent ones at the end are left out."""
    present = np.flatnonzero(presence(keypoints[:most]).any(axis=1))
    return keypoints[: max(present, default=0) + 1]


def _present_joints(keypoints: Keypoints) -> npt.NDArray[np.bool_]:
    """Return which joints are not exactly zero: bool ``[M, T, V]``. (``any`` over so short an axis is slow.)"""
    nonzero = keypoints != 0
    return np.asarray(nonzero[..., 0] | nonzero[..., 1] | nonzero[..., 2])


def to_image(keypoints: Keypoints, height: int, width: int) -> Keypoints:
    """Map pixels to -1 … 1 over the image, the centre to 0; joints at exactly (0, 0) are missing and stay zero."""
    size = np.array([width, height], dtype=np.float64)
    missing = ~keypoints[..., :2].any(axis=-1, keepdims=True)
    scaled = np.where(missing, 0.0, keypoints[..., :2] / (size / 2) - 1)
    return np.concatenate([scaled, keypoints[..., 2:]], axis=-1)


def to_body(keypoints: Keypoints, layout: Layout) -> Keypoints:
    """Drop the frames without the first person; move its centre joint in the first frame to the origin.

    Joints at exactly zero are missing and stay zero.
    """
    kept = keypoints[:, presence(keypoints)[0]]
    centre = kept[0, 0, layout.number(layout.centre)]
    moved = kept - centre
    moved[~_present_joints(kept)] = 0.0
    return moved


def align(keypoints: Keypoints, layout: Layout) -> Keypoints:
    """Turn the body upright and to the front, by the first person in the first frame.

    First the shortest rotation of ``layout.upright`` onto z, then the shortest one of ``layout.across`` onto x,
    as in the reference; ``across`` points from left to right. A pair of joints that is missing or lies
    along the target already (in either direction) turns nothing.
    """
    lower, upper = (layout.number(joint) for joint in layout.upright)
    right, left = (layout.number(joint) for joint in layout.across)
    for end, start, target in ((upper, lower, (0.0, 0.0, 1.0)), (right, left, (1.0, 0.0, 0.0))):
        vector = keypoints[0, 0, end] - keypoints[0, 0, start]
        keypoints = keypoints @ rotation(vector, np.array(target)).T
    return keypoints


def align_about(keypoints: Keypoints, layout: Layout, up: Axis) -> Keypoints:
    """Turn the axis ``up`` of the input to z, and the body about z to the front, by the first person in all frames.

    The direction of ``layout.across`` is the mean of its horizontal unit vectors over the frames with both joints;
    without any, or where they cancel out, nothing is turned about z.
    """
    turned = keypoints @ np.asarray(AXES[up], dtype=np.float64).T
    right, left = (layout.number(joint) for joint in layout.across)
    there = _present_joints(turned)[0][:, [right, left]].all(axis=1)
    across = (turned[0, there, left] - turned[0, there, right])[:, :2]
    length = np.linalg.norm(across, axis=-1, keepdims=True)
    x, y = (across / np.maximum(length, SHORTEST)).sum(axis=0)
    norm = np.hypot(x, y)
    if norm <= 1e-6 * max(len(across), 1):
        return turned
    cosine, sine = x / norm, y / norm
    return np.asarray(turned @ np.array([[cosine, sine, 0], [-sine, cosine, 0], [0, 0, 1]]).T)


def rotation(vector: npt.NDArray[Any], target: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    """Return the shortest rotation ``[3, 3]`` that turns ``vector`` to the direction of unit vector ``target``.

    Rodrigues' formula; the identity if ``vector`` is (nearly) zero or (anti)parallel to ``target``.
    """
    length = np.linalg.norm(vector)
    axis = np.cross(vector, target)
    sine = np.linalg.norm(axis)
    if length < SHORTEST or sine <= 1e-6 * length:
        return np.eye(3)
    x, y, z = axis / sine
    cross = np.array([[0, -z, y], [z, 0, -x], [-y, x, 0]])
    angle = np.arctan2(sine, vector @ target)
    return np.asarray(np.eye(3) + np.sin(angle) * cross + (1 - np.cos(angle)) * cross @ cross)
