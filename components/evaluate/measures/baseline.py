"""What no network is needed for: the class of the nearest training sample, as skeletons lie over each other."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt

from components.contracts.config import EvaluateStage
from components.contracts.dataset import Dataset
from components.contracts.metrics import Baseline
from components.evaluate.measures.statistics import share_interval

FRAMES = 16
MOST_TRAINED, MOST_TESTED = 4000, 1000
"""Beyond these, every so many-eth sample: the comparison stays within seconds and half a gigabyte of memory."""
_ROWS = 250


def nearest_neighbour(stage: EvaluateStage, packed: Dataset) -> Baseline:
    """Return the accuracy of 1-nearest neighbour on the protocol's splits.

    A sample is its joints relative to the centre of the first frame, resampled linearly to 16 frames and scaled to
    unit length; the distance is Euclidean.
    """
    train, test = (_thinned(packed.split(name), most) for name, most in (
        (stage.data.chosen.train, MOST_TRAINED), (stage.data.chosen.test, MOST_TESTED)))  # fmt: skip
    known = np.stack([_features(packed, int(number)) for number in train])
    hits = 0
    for start in range(0, len(test), _ROWS):
        rows = test[start : start + _ROWS]
        asked = np.stack([_features(packed, int(number)) for number in rows])
        nearest = (asked @ known.T).argmax(axis=1)  # of unit vectors, the nearest has the largest product
        hits += int((packed.labels[train[nearest]] == packed.labels[rows]).sum())
    text = f"{len(train)} training samples, resampled to {FRAMES} frames"
    if len(test) < len(packed.split(stage.data.chosen.test)):
        text += f"; {len(test)} of the test samples"
    return Baseline(
        name="1-nearest neighbour", top1=hits / len(test), interval=share_interval(hits, len(test)), text=text
    )


def _thinned(numbers: npt.NDArray[np.int64], most: int) -> npt.NDArray[np.int64]:
    return numbers[:: -(-len(numbers) // most)]


def _features(packed: Dataset, number: int) -> npt.NDArray[np.float32]:
    """Return a sample as one vector of unit length (zero if it is empty)."""
    points = np.asarray(packed.sample(number), dtype=np.float32)
    if packed.config.dimensions == "2d+score":
        points = points[..., :2]
    times = np.linspace(0, points.shape[1] - 1, FRAMES, dtype=np.float32)
    before = np.floor(times).astype(int)
    after = np.minimum(before + 1, points.shape[1] - 1)
    share = (times - before)[None, :, None, None]
    resampled = points[:, before] * (1 - share) + points[:, after] * share
    resampled -= points[0, 0, packed.layout.number(packed.layout.centre)]
    whole = np.zeros((packed.config.max_persons, *resampled.shape[1:]), dtype=np.float32)
    whole[: len(resampled)] = resampled[: len(whole)]
    vector = whole.ravel()
    length = float(np.linalg.norm(vector))
    return np.asarray(vector / max(length, 1e-12), dtype=np.float32)
