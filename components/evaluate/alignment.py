"""Puts scores into one order of samples, and refuses those that are of different ones."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import numpy as np

from components.contracts.errors import InputError
from components.contracts.scores import Scores


def align(scores: Sequence[Scores]) -> list[Scores]:
    """Put all scores into one order of samples, that of the sorted ids.

    Raises:
        InputError: a sample id stands twice, or two of the scores differ in their sample ids, in a
            sample's label or in the number of classes; an example is named.
    """
    ordered = [sorted_by_id(one) for one in scores]
    for other in ordered[1:]:
        check_same_samples(ordered[0], other)
    return ordered


def _name(scores: Scores) -> str:
    return f"scores of stream {scores.stream} round {scores.round}"


def sorted_by_id(scores: Scores) -> Scores:
    """Put scores into the order of their sample ids; ``InputError`` if an id stands twice."""
    ids = scores.sample_ids
    if (ids[1:] > ids[:-1]).all():
        return scores
    order = np.argsort(ids, kind="stable")
    ids = ids[order]
    twice = np.flatnonzero(ids[1:] == ids[:-1])
    if len(twice):
        raise InputError(f"sample {str(ids[twice[0]])!r} stands more than once", at=_name(scores))
    return replace(scores, sample_ids=ids, labels=scores.labels[order], probabilities=scores.probabilities[order])


def check_same_samples(first: Scores, other: Scores) -> None:
    """Check that two scores, each in the order of its ids, are of the same samples, labels and number of classes.

    Raises:
        InputError: they are not; an example is named.
    """
    both = f"{_name(first)} and {_name(other)}"
    for one, two in ((first, other), (other, first)):
        missing = np.setdiff1d(one.sample_ids, two.sample_ids, assume_unique=True)
        if len(missing):
            example = f"e.g. {str(missing[0])!r} is missing from the {_name(two)}"
            raise InputError(f"{both} are of different samples: {len(missing)} differ, {example}")
    differ = np.flatnonzero(first.labels != other.labels)
    if len(differ):
        at = differ[0]
        example = f"{str(first.sample_ids[at])!r} has {first.labels[at]} and {other.labels[at]}"
        raise InputError(f"{both} disagree about the labels of {len(differ)} samples, e.g. {example}")
    classes = (first.probabilities.shape[1], other.probabilities.shape[1])
    if classes[0] != classes[1]:
        raise InputError(f"{both} differ in the number of classes: {classes[0]} and {classes[1]}")
