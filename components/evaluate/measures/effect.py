"""What the training after an answer did to the recall of some classes, against others that trained for just as long."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.contracts.metric_parts import Interval
from components.contracts.scores import Scores
from components.evaluate.inputs import Inputs, Key
from components.evaluate.measures.statistics import rise_difference

Flags = npt.NDArray[np.bool_]


@dataclass(frozen=True)
class Effect:
    """Two groups of classes, counted once per stream: how many have test samples, the share of those that the streams
    recognised before and after, and how much more the first group's rose."""

    classes: tuple[int, int]
    recall: tuple[tuple[float, float], tuple[float, float]]
    difference: float
    interval: Interval


def around(inputs: Inputs, key: Key) -> tuple[Scores, Scores] | None:
    """Return a stream's scores before and after the training that followed an answer, if both are given."""
    stream, number = key
    before, after = inputs.scores.get((stream, number)), inputs.scores.get((stream, number + 1))
    return (before, after) if before is not None and after is not None else None


def recall_effect(inputs: Inputs, groups: Mapping[Key, tuple[Flags, Flags]]) -> Effect | None:
    """Compare the recall of two groups of classes, summed over answers.

    Args:
        inputs: the scores.
        groups: for each answer, which classes are in the first group and which in the second, bool ``[classes]``.

    Returns:
        None if a group has no test sample, or no scores are given.
    """
    rows, counts = None, np.zeros(2, dtype=np.int64)
    for key, pair in groups.items():
        both = around(inputs, key)
        if both is None:
            continue
        labels = both[0].labels
        counts += [int(group[np.unique(labels)].sum()) for group in pair]
        hits = [both[0].correct, both[1].correct]
        columns = [group[labels] & hit for group in pair for hit in (group[labels], *hits)]
        found = np.stack(columns, axis=1).astype(np.int64)
        rows = found if rows is None else rows + found
    change = rise_difference(rows) if rows is not None else None
    if rows is None or change is None:
        return None
    one, before, after, two, before_two, after_two = rows.sum(axis=0).tolist()
    return Effect(
        classes=(int(counts[0]), int(counts[1])),
        recall=((before / one, after / one), (before_two / two, after_two / two)),
        difference=change[0],
        interval=change[1],
    )
