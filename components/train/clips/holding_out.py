"""Which training samples are never trained on, so that weights of the streams can be learnt from them."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from components.contracts.config import TrainStage
from components.contracts.dataset import Dataset
from components.contracts.errors import InputError

Numbers = npt.NDArray[np.int64]


def divide(dataset: Dataset, stage: TrainStage) -> tuple[Numbers, Numbers]:
    """Return the sample numbers of the training split to train on, and those to hold out.

    Neither the stream nor the round has a say. A sample that is in the test split too is not held out.

    Raises:
        InputError: a share is to be held out, and no class is large enough to give a sample.
    """
    split, share = dataset.split(stage.data.chosen.train), stage.train.held_out
    if not share:
        return split, split[:0]
    free = np.setdiff1d(split, dataset.split(stage.data.chosen.test))
    labels = dataset.labels[free]
    held_out = free[choose(dataset.sample_ids[free].tolist(), labels, share, stage.seed)]
    if not len(held_out):
        most = int(np.bincount(labels).max(initial=0))
        raise InputError(
            f"train.held_out: found {share}, which takes no sample of any class of split "
            f"{stage.data.chosen.train!r}; the largest has {most}",
            at=dataset.path,
        )
    return split[~np.isin(split, held_out)], held_out


def choose(sample_ids: Sequence[str], labels: Numbers, share: float, seed: int) -> npt.NDArray[np.bool_]:
    """Choose a share of each class, rounded to whole samples, by a hash of seed and sample id: bool ``[N]``.

    The order of the samples does not matter. Below a half, at least one sample of every class is left.
    """
    rank = [hashlib.sha256(f"{seed}/held out/{sample_id}".encode()).digest() for sample_id in sample_ids]
    chosen = np.zeros(len(labels), dtype=bool)
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        first = sorted(members.tolist(), key=rank.__getitem__)[: round(share * len(members))]
        chosen[first] = True
    return chosen
