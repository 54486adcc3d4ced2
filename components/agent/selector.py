"""The Selector: from an answer as it came to a class's constraint, or the reason why there is none.

What an answer may do wrong is judged here and nowhere else: the provider asks ``complaint`` whether to
request a repair, and ``select`` keeps the standing constraint where the answer stays unusable.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache

from components.agent.offline.provider import NO_PRIOR
from components.agent.providers import Answer, Question, Reply
from components.contracts.constraints import ClassConstraint, Provenance, Status
from components.contracts.skeleton import Layout, load_layout

MAX_DESCRIPTION = 1000
"""Characters of a description that are kept; the text encoder reads about as many."""

_WORDS = {"l": "left", "r": "right", "lt": "left", "rt": "right", "centre": "center", "middle": "mid", "feet": "foot"}
# Names of one place. A joint is known by them too, unless the layout gives the name to another joint.
_SAME_PLACE = (
    ("pelvis", "hip center", "mid hip", "hips", "spine base", "root"),
    ("spine", "torso", "mid spine"),
    ("upper spine", "shoulder center", "mid shoulder", "spine shoulder", "chest", "thorax"),
    ("upper spine", "neck"),
    ("torso", "chest"),
    ("hand tip", "fingertip", "finger tip", "fingers"),
    ("hand", "palm"),
    ("hand", "wrist"),
    ("foot", "ankle"),
    ("head", "face", "nose"),
)
_SIDES = ("left", "right")
_FILLERS = {"the", "of", "joint", "joints", "both"}
_Name = tuple[str, ...]


@dataclass(frozen=True)
class Resolved:
    """The joints of an answer: their numbers in the answer's order, once each, and the unknown names."""

    joints: tuple[int, ...]
    unknown: tuple[str, ...]


@dataclass(frozen=True)
class Ballot:
    """Critical joints in ascending order, their weights (empty: all 1), and the answers that these count."""

    joints: tuple[int, ...]
    weights: tuple[float, ...] = ()
    votes: int = 1


def resolve(names: Iterable[str], layout: Layout) -> Resolved:
    """Turn joint names as people and models write them into joint numbers of a layout.

    Case, spaces, underscores and hyphens do not matter, nor the order of words ("hand left"), nor a side
    written as one letter ("l_hand"); common synonyms ("hip center") are known. A joint of two sides named
    without one, "both hands" or "knee", is both.
    """
    known = _names_of(layout.joints)
    joints: dict[int, None] = {}
    unknown = []
    for name in names:
        numbers = known.get(_words(name))
        if numbers is None:
            unknown.append(name)
        else:
            joints |= dict.fromkeys(numbers)
    return Resolved(tuple(joints), tuple(unknown))


def complaint(answer: Answer, question: Question) -> str:
    """Return what makes an answer unusable, in words that its author can act on; empty if it is usable."""
    layout = load_layout(question.layout)
    if not _clean(answer.description):
        return "the description is empty"
    if _plain(answer.description) == _plain(question.name):
        return "the description only repeats the name of the class"
    resolved = resolve(answer.joints, layout)
    if not resolved.joints:
        named = ", ".join(repr(name) for name in resolved.unknown[:3])
        return f"none of the joints is one of the skeleton's: {named}" if named else "no joints are named"
    if len(resolved.joints) == len(layout.joints):
        return "all joints of the skeleton are named, which singles out none"
    return ""


def select(
    question: Question,
    reply: Reply,
    standing: ClassConstraint,
    *,
    round_number: int,
    max_joints: int,
    fixed_joints: bool = False,
    agreement: bool = False,
    status: Status = "answered",
) -> ClassConstraint:
    """Make the constraint of one class that was asked about, or measured.

    Args:
        question: what was asked.
        reply: what came of it.
        standing: the constraint in force so far; it stays where the reply is unusable.
        round_number: the round that this is.
        max_joints: the longest list of joints; the first ones of the answer stay.
        fixed_joints: take the description only; the standing joints stay.
        agreement: weigh joints by how many of the class's answers named them; see ``agreed``.
        status: that of a new constraint.

    Returns:
        The new constraint, or the standing one with a note that says why it stays.
    """
    if reply.answer is None:
        return unchanged(standing, reply.note, round_number=round_number, reply=reply)
    if problem := complaint(reply.answer, question):
        return unchanged(standing, f"unusable answer: {problem}", round_number=round_number, reply=reply)
    resolved = resolve(reply.answer.joints, load_layout(question.layout))
    if fixed_joints:
        ballot = Ballot(standing.joints, standing.weights, standing.votes)
    elif agreement:
        ballot = agreed(standing, resolved.joints[:max_joints], load_layout(question.layout), max_joints)
    else:
        ballot = Ballot(tuple(sorted(resolved.joints[:max_joints])))
    provenance = Provenance(
        status=status,
        provider=reply.provider,
        model=reply.model,
        prompt_version=reply.prompt_version,
        request_hash=reply.request_hash,
        prompt_tokens=reply.prompt_tokens,
        completion_tokens=reply.completion_tokens,
        round=round_number,
        note=reply.note if fixed_joints else _notes(reply.note, resolved, max_joints),
    )
    return ClassConstraint(
        label=question.label,
        name=question.name,
        description=_clean(reply.answer.description),
        joints=ballot.joints,
        weights=ballot.weights,
        votes=ballot.votes,
        told_apart_from=tuple(rival.label for rival in question.rivals),
        shares=tuple(rival.share for rival in question.rivals),
        provenance=provenance,
    )


def agreed(standing: ClassConstraint, named: Sequence[int], layout: Layout, max_joints: int) -> Ballot:
    """Weigh each joint by the share of a class's answers that named it, the standing ones and the new one.

    What the new answer names stays, the rest as far as ``max_joints`` and its weight go. A class without a prior
    stands for all joints; that is no vote.
    """
    if len(standing.joints) == len(layout.joints):
        return Ballot(tuple(sorted(named)))
    votes = standing.votes
    shares = dict(zip(standing.joints, standing.weights or (1.0,) * len(standing.joints), strict=True))
    weights = {joint: (shares.get(joint, 0.0) * votes + (joint in named)) / (votes + 1) for joint in {*shares, *named}}
    # The last joint of a layout is never taken in: a mask of all joints singles out none.
    most = min(max_joints, len(layout.joints) - 1)
    kept = sorted(weights, key=lambda joint: (joint not in named, -weights[joint], joint))[:most]
    joints = tuple(sorted(kept))
    return Ballot(joints, tuple(round(weights[joint], 6) for joint in joints), votes + 1)


def unchanged(
    standing: ClassConstraint, note: str, *, round_number: int, reply: Reply | None = None
) -> ClassConstraint:
    """Keep a constraint and say why.

    Its provenance still names the round and the request that it came from; the tokens are this round's,
    so that what an unusable answer has cost is counted. In round 0 a prior stays a prior. That a class
    has no prior stays in its note until it is answered.
    """
    origin = standing.provenance
    tokens = (reply.prompt_tokens, reply.completion_tokens) if reply else (0, 0)
    update = {
        "status": origin.status if round_number == 0 else "kept",
        "prompt_tokens": tokens[0],
        "completion_tokens": tokens[1],
        "agreement": None,
        "note": f"{note}; {NO_PRIOR}" if NO_PRIOR in origin.note else note,
    }
    return standing.model_copy(update={"provenance": origin.model_copy(update=update)})


def uninformed(constraint: ClassConstraint) -> bool:
    """Tell whether nobody has said anything about a class so far: it stands for its name and all joints."""
    return constraint.provenance.status == "no-prior" or NO_PRIOR in constraint.provenance.note


def _notes(note: str, resolved: Resolved, max_joints: int) -> str:
    notes = [note] if note else []
    if resolved.unknown:
        notes.append(f"unknown joints dropped: {', '.join(repr(name) for name in resolved.unknown[:5])}")
    if len(resolved.joints) > max_joints:
        notes.append(f"the first {max_joints} of {len(resolved.joints)} joints kept")
    return "; ".join(notes)


def _clean(description: str) -> str:
    """Join lines, drop unprintable characters, and cut at a word where the text is too long."""
    text = "".join(character for character in " ".join(description.split()) if character.isprintable())
    if len(text) <= MAX_DESCRIPTION:
        return text
    return text[:MAX_DESCRIPTION].rpartition(" ")[0] + "…"


def _plain(text: str) -> list[str]:
    return re.findall(r"\w+", text.casefold())


def _words(name: str) -> _Name:
    """Reduce a joint name to its sorted words: "L_Hand", "handLeft" and "left hand" give the same."""
    spaced = re.sub(r"(?<=[a-z])(?=[A-Z])", " ", name)
    words = re.findall(r"[a-z0-9]+", spaced.lower())
    joined = [part for word in words for part in re.sub(r"^(left|right)(?=[a-z])", r"\1 ", word).split()]
    return tuple(sorted(_WORDS.get(word, word) for word in joined if word not in _FILLERS))


@lru_cache
def _names_of(joints: tuple[str, ...]) -> dict[_Name, tuple[int, ...]]:
    """Map every name that the joints of a layout go by to their numbers."""
    names: dict[_Name, tuple[int, ...]] = {_words(joint): (number,) for number, joint in enumerate(joints)}
    for group in _SAME_PLACE:
        others = [_words(other) for other in group]
        for number, joint in enumerate(joints):
            words = _words(joint)
            side = tuple(word for word in words if word in _SIDES)
            if _without_side(words) in others:
                for other in others:
                    names.setdefault(tuple(sorted(other + side)), (number,))
    for words, numbers in list(names.items()):
        if "left" in words:
            both = (*numbers, *names.get(tuple(sorted((*_without_side(words), "right"))), ()))
            names.setdefault(_without_side(words), both)
            names.setdefault(_words(" ".join(f"{word}s" for word in _without_side(words))), both)
    return names


def _without_side(words: _Name) -> _Name:
    return tuple(word for word in words if word not in _SIDES)
