"""From a sample as a stranger's file holds it to one in the layout's joints, in metres or pixels, labels from 0."""

from __future__ import annotations

from dataclasses import replace

import numpy as np

from components.contracts.config import DataConfig
from components.preprocess.readers.clip import with_depth
from components.preprocess.readers.samples import Sample

METRES = {"centimetres": 0.01, "millimetres": 0.001}
HIGHEST_STATE = 2
"""Of a fourth column: a visibility or confidence up to 1, or Kinect's tracking state, 0 to 2."""
WHOLE_BODY = 133
"""Joints of COCO-WholeBody; the first ones are COCO's."""
FIRST_OF_WHOLE_BODY = {"coco17": 17, "coco20": 17, "wholebody23": 23}


def adapt(sample: Sample, config: DataConfig) -> Sample:
    """Return a sample as ``config`` says that it is meant; what does not fit is left for the checks to name."""
    points, scores = np.asarray(sample.keypoints), sample.scores
    label = sample.label - config.first_label
    if points.ndim != 4 or points.dtype.kind not in "fiu":
        return replace(sample, label=label)
    if config.dimensions == "2d+score" and scores is None and points.shape[3] == 3:
        points, scores = points[..., :2], points[..., 2]
    if points.shape[3] == 4 and (points[..., 3] >= 0).all() and (points[..., 3] <= HIGHEST_STATE).all():
        points, scores = with_depth(points, scores, config.dimensions == "3d")
    whole = FIRST_OF_WHOLE_BODY.get(config.layout) if config.joints is None and points.shape[2] == WHOLE_BODY else None
    order = range(whole) if whole else config.joint_order
    if order is not None and max(order) < points.shape[2]:
        chosen = list(order)
        if scores is not None and scores.shape == points.shape[:3]:
            scores = scores[:, :, chosen]
        points = points[:, :, chosen]
    image = _image(sample, config)
    if config.units in METRES:
        points = points.astype(np.float64) * METRES[config.units]
    elif config.units == "shares":
        height, width = image = image or (1, 1)
        points = points.astype(np.float64) * [width, height] if points.shape[3] == 2 else points
    return replace(sample, label=label, keypoints=points, scores=scores, image=image)


def _image(sample: Sample, config: DataConfig) -> tuple[int, int] | None:
    if not isinstance(config.image_size, str):
        return config.image_size
    if sample.image is None or config.image_size == "height_width":
        return sample.image
    return sample.image[1], sample.image[0]
