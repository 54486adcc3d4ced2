"""Guidance out of the data, for classes that nobody has said anything about: joints that separate them, measured.

The train stage measures how well the movement of each joint tells a class from those that it is confused with, and how
much it moves in that class; a joint's merit is the product (see ``contracts.confusion``). Without the second, two
classes that are confused with each other would get the same joints.

Taken are the joints that come near the best one: neighbours on the body move together, so that a joint with half of
the best one's merit often only follows it. On NW-UCLA (20 joints, every class confused with three others) a bound of
one half takes as many as are allowed, ten; four fifths takes three to seven: the ankles and hands of somebody who
walks, the right hand of somebody who throws. Of joints with at least half of the best one's merit up to three are taken
in any case: one or two are no motion.

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
HALF_AS_GOOD = 0.5
FEWEST = 3
_OF_A_PAIR = 3
"""Joints that a description names for one confused class."""
_CHANCE = 13.0
"""What the best of a skeleton's two hundred measures reaches by chance once in twenty times, as χ² with one degree."""

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
    joints = joints_of(seen, question.label, most)
    names = question.joint_names
    answer, note = None, "no joint separates it in the training data beyond chance"
    if joints:
        description = _description(question, seen, [names[joint] for joint in joints])
        answer, note = Answer(description=description, joints=tuple(names[joint] for joint in joints)), ""
    return Reply(answer=answer, provider=DATA, note=note, prompt_version=DATA_VERSION)


def joints_of(seen: Confusion, label: int, most: int) -> list[int]:
    """Return the joints that single a class out, the best first; empty if none separates it beyond chance."""
    merit = _measured(seen.merit())[label]
    beyond = _measured(seen.separability)[label] > chance_level(seen, label)
    return _best(np.where(beyond, merit, 0), min(most, max(len(merit) // 2, 1)))


def _best(merit: Floats, most: int) -> list[int]:
    """Return the numbers of the joints near the best one, the best first."""
    ranked = [int(joint) for joint in np.argsort(-merit, kind="stable") if merit[joint] > 0]
    near = sum(merit[joint] >= NEAR_THE_BEST * merit.max() for joint in ranked)
    half = sum(merit[joint] >= HALF_AS_GOOD * merit.max() for joint in ranked)
    return ranked[: min(max(near, min(half, FEWEST)), most)]


def chance_level(seen: Confusion, label: int, other: int | None = None) -> float:
    """Return the separability that is no better than chance for a class, or for a pair, going by the samples."""
    samples = seen.train.sum(axis=1)
    count = 2 * samples[label] if other is None else samples[label] + samples[other]
    return float(_CHANCE / (count + _CHANCE))


def overlap(named: Sequence[int], seen: Confusion, label: int) -> float | None:
    """Return the share of k named joints that are among the k of most merit; None if none has any."""
    merit = _measured(seen.merit())[label]
    if not named or not merit.any():
        return None
    best = np.argsort(-merit, kind="stable")[: len(named)]
    return round(len(set(named) & set(best.tolist())) / len(named), 4)


def separating(seen: Confusion, label: int, other: int) -> list[int]:
    """Return the few joints that separate a pair best, the best first; empty if it was not measured, or none does."""
    pair = [min(label, other), max(label, other)]
    found = np.flatnonzero((seen.pairs == pair).all(axis=1)) if seen.pairs is not None else np.empty(0, dtype=int)
    if not len(found):
        return []
    row = _measured(seen.pair_separability)[found[0]]
    return _best(np.where(row > chance_level(seen, label, other), row, 0), _OF_A_PAIR)


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


def _measured(array: Floats | None) -> Floats:
    if array is None:
        raise ValueError("nothing was measured: see can_tell")
    return array
