"""The Questioner: from the training confusion to who is confused with whom, and whom to ask about.

It differs on purpose from the reference (QUIRKS 1): a class's list holds only classes that were really
confused with it, where the reference always keeps ten entries and so pads with classes that never were.
It counts the whole round, each mistake once in each direction, where the reference weighs false positives
by the batch they fell in and sees only the last epoch (QUIRKS 2, 4).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict

from components.contracts.config import AgentConfig
from components.contracts.constraints import ClassConstraint


@dataclass(frozen=True)
class Confused:
    """A class confused with another: its number, the pair's mistakes, and these per sample of the other."""

    label: int
    count: int
    share: float


class PlannedClass(BaseModel):
    """Whether a class is asked about this round, and why; ``confused`` is ranked, the worst first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: int
    name: str
    asked: bool
    confused: tuple[Confused, ...] = ()
    reason: str


class Plan(BaseModel):
    """What becomes of each class this round, in label order; ``order`` is the order of asking."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    classes: tuple[PlannedClass, ...]
    order: tuple[int, ...]


def pair_counts(confusion: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Return the mistakes between two classes in both directions: int64 ``[C, C]``, symmetric, diagonal 0.

    Args:
        confusion: int64 ``[C, C]``, samples by (true class, predicted class).
    """
    pairs = confusion + confusion.T
    np.fill_diagonal(pairs, 0)
    return pairs


def rank(
    pairs: npt.NDArray[Any], samples: npt.NDArray[Any], *, top_k: int, min_count: int, min_share: float
) -> list[tuple[Confused, ...]]:
    """Rank, for each class, the classes confused with it.

    Args:
        pairs: ``[C, C]``; row i says how often each class was confused with class i.
        samples: ``[C]`` samples per class; a class without samples counts as having one.
        top_k: the longest a list may get. Ties are broken by class number.
        min_count: the fewest mistakes of a pair that is listed; a pair without mistakes never is.
        min_share: the least ratio of a pair's mistakes to the samples of the class whose list it is.

    Returns:
        Per class its list, the most confused class first; it may be empty.
    """
    shares = pairs / np.maximum(samples, 1)[:, None]
    lists = []
    for label, row in enumerate(pairs):
        ranked = np.argsort(-row, kind="stable")
        confused = (Confused(int(other), int(row[other]), float(shares[label, other])) for other in ranked)
        listed = [c for c in confused if c.label != label and c.count >= max(min_count, 1) and c.share >= min_share]
        lists.append(tuple(listed[:top_k]))
    return lists


def confused_classes(confusion: npt.NDArray[np.int64], config: AgentConfig) -> list[tuple[Confused, ...]]:
    """Rank the classes confused with each class under the thresholds of ``config``; see ``rank``."""
    samples = confusion.sum(axis=1)
    return rank(
        pair_counts(confusion),
        samples,
        top_k=config.top_k,
        min_count=config.min_count,
        min_share=config.min_share,
    )


def plan_round(confusion: npt.NDArray[np.int64], previous: Sequence[ClassConstraint], config: AgentConfig) -> Plan:
    """Decide which classes to ask about after a round of training.

    A class is asked if others were confused with it and they are not exactly those that its constraint
    already tells it apart from. The most confused come first (mistakes of the listed pairs, then class
    number) and no more than ``config.max_requests`` are asked; every other class keeps its constraint.
    """
    lists = confused_classes(confusion, config)
    candidates = [
        label for label, listed in enumerate(lists) if listed and not _is_known(listed, previous[label].told_apart_from)
    ]
    candidates.sort(key=lambda label: (-sum(confused.count for confused in lists[label]), label))
    order = tuple(candidates[: config.max_requests])
    beyond = set(candidates[config.max_requests :])
    names = [constraint.name for constraint in previous]
    classes = []
    for label, listed in enumerate(lists):
        asked = label in order
        if asked:
            reason = "confused with " + ", ".join(f"{names[c.label]} ({c.count})" for c in listed)
        elif label in beyond:
            reason = f"beyond this round's max_requests ({config.max_requests})"
        elif listed:
            reason = "confused with the same classes as before"
        else:
            reason = "no confusion above the thresholds"
        classes.append(PlannedClass(label=label, name=names[label], asked=asked, confused=listed, reason=reason))
    return Plan(classes=tuple(classes), order=order)


def plan_opening(previous: Sequence[ClassConstraint], config: AgentConfig) -> Plan:
    """Decide whom to ask about before any training: the first ``config.max_requests`` classes."""
    order = tuple(range(min(len(previous), config.max_requests)))
    beyond = f"beyond this round's max_requests ({config.max_requests})"
    classes = tuple(
        PlannedClass(
            label=constraint.label,
            name=constraint.name,
            asked=constraint.label < len(order),
            reason="first round" if constraint.label < len(order) else beyond,
        )
        for constraint in previous
    )
    return Plan(classes=classes, order=order)


def _is_known(listed: Sequence[Confused], told_apart_from: Sequence[int]) -> bool:
    return {confused.label for confused in listed} == set(told_apart_from)
