"""Guidance out of the data, for classes that nobody has said anything about: joints that separate them, measured.

The train stage measures how well the movement of each joint tells a class from those that it is confused with (see
``contracts.confusion``). Taken are the joints that come near the best one: neighbours on the body move together, so
that a joint with half of the best one's share often only follows it, and on NW-UCLA a bound of one half takes 16 of
20 joints. At four fifths it takes nine of 20, about as many as people name in written priors.

What chance brings about is no reason: with few samples some joint always seems to separate two classes.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from components.agent.providers import Answer, Question, Reply
from components.contracts.confusion import Confusion

DATA = "data"
DATA_VERSION = "data-1"
NEAR_THE_BEST = 0.8
"""A joint counts if it separates at least so much of what the best one does."""
FEWEST = 3
"""So many joints count even if they do not come near the best: one or two are no motion (if chance is ruled out)."""
_OF_A_PAIR = 3
"""Joints that a description names for one confused class."""
_CHANCE = 10.0
"""What the best of a joint's ten measures reaches by chance once in a hundred times, as χ² with one degree."""

Floats = npt.NDArray[np.float32]


def measured_reply(question: Question, seen: Confusion, most: int) -> Reply:
    """Answer a question about a class with what separates it in the training data.

    Args:
        question: the class and those that it is confused with.
        seen: what was measured; its arrays are there.
        most: the longest list of joints. All joints of a skeleton single out none: half of them is the limit.

    Returns:
        An answer; without one if no joint separates the class beyond chance, and a note that says so.
    """
    row = _measured(seen.separability)[question.label]
    joints = best_joints(row, most, chance_level(seen, question.label))
    names = question.joint_names
    answer, note = None, "no joint separates it in the training data beyond chance"
    if joints:
        description = _description(question, seen, [names[joint] for joint in joints])
        answer, note = Answer(description=description, joints=tuple(names[joint] for joint in joints)), ""
    return Reply(answer=answer, provider=DATA, note=note, prompt_version=DATA_VERSION)


def best_joints(row: Floats, most: int, chance: float) -> list[int]:
    """Return the joints that separate best, the best first: those beyond ``chance`` and near the best one.

    At least ``FEWEST`` of those beyond chance, at most ``most`` and half of all.
    """
    ranked = [int(joint) for joint in np.argsort(-row, kind="stable") if row[joint] > chance]
    near = [joint for joint in ranked if row[joint] >= NEAR_THE_BEST * row.max()]
    return ranked[: max(min(len(near), most, len(row) // 2), min(FEWEST, most, max(len(row) // 2, 1)))]


def chance_level(seen: Confusion, label: int, other: int | None = None) -> float:
    """Return the separability that is no better than chance for a class, or for a pair, going by the samples."""
    samples = seen.train.sum(axis=1)
    count = 2 * samples[label] if other is None else samples[label] + samples[other]
    return float(_CHANCE / (count + _CHANCE))


def overlap(named: Sequence[int], row: Floats) -> float | None:
    """Return the share of k named joints that are among the k that separate best; None if none separates."""
    if not named or not row.any():
        return None
    best = np.argsort(-row, kind="stable")[: len(named)]
    return round(len(set(named) & set(best.tolist())) / len(named), 4)


def separating(seen: Confusion, label: int, other: int) -> list[int]:
    """Return the few joints that separate a pair best, the best first; empty if it was not measured, or none does."""
    pair = [min(label, other), max(label, other)]
    found = np.flatnonzero((_measured(seen.pairs) == pair).all(axis=1))
    if not len(found):
        return []
    return best_joints(_measured(seen.pair_separability)[found[0]], _OF_A_PAIR, chance_level(seen, label, other))


def can_tell(seen: Confusion) -> bool:
    """Tell whether an artifact says what separates classes; those of schema 1.0 do not."""
    return seen.separability is not None and seen.pairs is not None and seen.pair_separability is not None


def enumerate_words(words: Sequence[str]) -> str:
    """Return "a, b and c"."""
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"


def _description(question: Question, seen: Confusion, joints: Sequence[str]) -> str:
    """Return a true sentence or two: the class's name, and which joints tell it from what."""
    told = []
    for rival in question.rivals:
        pair = [question.joint_names[joint] for joint in separating(seen, question.label, rival.label)]
        if pair:
            told.append(f"from '{rival.name}' by the {_spoken(pair)}")
    if not told:
        others = "the classes that it is confused with" if question.rivals else "the classes nearest to it"
        told.append(f"from {others} by the {_spoken(joints[:_OF_A_PAIR])}")
    return f"{question.name}; measured: it is told {'; '.join(told)}."


def _spoken(joints: Sequence[str]) -> str:
    return enumerate_words([joint.replace("_", " ") for joint in joints])


def _measured(array: npt.NDArray[np.float32] | npt.NDArray[np.int64] | None) -> npt.NDArray[np.float32]:
    if array is None:
        raise ValueError("nothing was measured: see can_tell")
    return array  # type: ignore[return-value]
