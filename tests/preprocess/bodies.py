"""Made bodies that move as people do, in the joints of any layout: in metres, or in an estimator's pixels."""

from __future__ import annotations

from functools import cache
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.skeleton import load_layout
from pipelines.demo import ACTIONS, _subject, perform

CLASSES = ("drink", "phone", "wave")
IMAGE = (1080, 1920)
"""Height and width of the camera's image in pixels."""
FRAMES = 20
Array = npt.NDArray[np.float64]


@cache
def _performed(number: int, label: int) -> Array:
    rng = np.random.default_rng([number, label])
    return perform(ACTIONS[label], _subject(rng), (-40.0, 0.0, 40.0)[number % 3], rng)[:FRAMES]


def body(layout: str, number: int, label: int) -> Array:
    """One take of action ``label``, ``[T, V, 3]``: metres, y up."""
    ntu, seen = load_layout("ntu25"), _performed(number, label)
    at = {name: seen[:, joint] for joint, name in enumerate(ntu.joints)}
    left = at["left_shoulder"] - at["right_shoulder"]
    left, up = left / np.linalg.norm(left, axis=1)[:, None], np.array([0.0, 1.0, 0.0])
    front = np.cross(left, up)
    at |= {"nose": at["head"] + 0.08 * front, "torso": at["spine"]}
    for side, out in (("left", left), ("right", -left)):
        head, hand, foot = at["nose"], at[f"{side}_hand"], at[f"{side}_foot"]
        at |= {
            f"{side}_eye": head + 0.03 * out + 0.04 * up,
            f"{side}_eye_inner": head + 0.02 * out + 0.04 * up,
            f"{side}_eye_outer": head + 0.04 * out + 0.04 * up,
            f"{side}_ear": at["head"] + 0.08 * out,
            f"{side}_mouth": head + 0.03 * out - 0.04 * up,
            f"{side}_pinky": hand + 0.02 * up,
            f"{side}_index": hand - 0.05 * up,
            f"{side}_heel": at[f"{side}_ankle"] - 0.05 * up,
            f"{side}_foot_index": foot,
            f"{side}_big_toe": foot - 0.03 * out,
            f"{side}_small_toe": foot + 0.03 * out,
            f"{side}_clavicle": 0.6 * at["neck"] + 0.4 * at[f"{side}_shoulder"],
        }
    return np.stack([at[name] for name in load_layout(layout).joints], axis=1)


def pixels(points: Array) -> Array:
    """What a camera sees of points ``[…, 3]`` in metres: ``[…, 2]`` in pixels of ``IMAGE``, y downwards."""
    height, width = IMAGE
    depth = np.maximum(points[..., 2:], 0.5)
    return np.asarray([width / 2, height / 2] + points[..., :2] * [900.0, -900.0] / depth)


def take(layout: str, number: int, label: int, *, flat: bool = False, **fields: Any) -> dict[str, Any]:
    """One annotation of PYSKL's form, 3d or 2d with scores and the size of the image."""
    points = body(layout, number, label)[None]
    record = {"frame_dir": f"a{label + 1:02d}_s{number + 1:02d}_e01", "label": label, "total_frames": points.shape[1]}
    if flat:
        scores = np.full(points.shape[:3], 0.9, dtype=np.float32)
        record |= {"keypoint": pixels(points), "keypoint_score": scores, "img_shape": IMAGE}
    else:
        record["keypoint"] = points
    return record | fields


def takes(layout: str, *, flat: bool = False, number: int = 8) -> dict[str, Any]:
    """The content of an annotation pickle: ``number`` takes of each of three classes, split by subject."""
    records = [take(layout, subject, label, flat=flat) for subject in range(number) for label in range(len(CLASSES))]
    ids = [record["frame_dir"] for record in records]
    train = [name for name in ids if int(name[5:7]) % 4]
    return {"split": {"train": train, "test": [name for name in ids if name not in train]}, "annotations": records}
