"""What the agent said: one constraints artifact against the one before it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from components.contracts.accuracy import Counts, confusion_matrix
from components.contracts.constraints import ClassConstraint, Constraints
from components.contracts.skeleton import load_layout
from components.evaluate.inputs import Inputs


def guidance(inputs: Inputs) -> list[dict[str, Any]]:
    """Describe every constraints artifact, prior first, then by stream and round.

    Returns:
        One mapping per artifact: ``stream``, ``round``, ``status`` (classes per status), ``notes`` (classes
        per reason given), ``prompt_tokens``, ``completion_tokens``, ``cost`` (None where the model has no price);
        ``asked`` (number of classes; None in artifacts without a plan), ``joints_changed`` and
        ``descriptions_changed`` (number of classes; None where the constraints before are not given);
        ``classes``: what is said of each class that was answered or changed (of all classes for the prior), with
        ``mistaken``: how many test samples of the stream were taken for one of ``told_apart_from`` or the other way
        round, before and after the training that followed (None where scores are not given).
    """
    counts = {key: confusion_matrix(one.probabilities, one.labels) for key, one in inputs.scores.items()}
    found = []
    for (stream, number), told in inputs.constraints.items():
        both = [counts.get((stream, each)) for each in (number, number + 1)]
        entry = _describe(told, before_round(inputs, stream, number), both)
        found.append({**entry, "cost": inputs.costs.get((stream, number))})
    return found


def before_round(inputs: Inputs, stream: str, number: int) -> Constraints | None:
    """Return the constraints that a stream had before those of round ``number``; None if they are not given."""
    return None if number == 0 else inputs.constraints.get(("", 0) if number == 1 else (stream, number - 1))


def changed(now: ClassConstraint, before: ClassConstraint) -> bool:
    """Whether the agent said something new about a class."""
    return set(now.joints) != set(before.joints) or now.description != before.description


def _describe(told: Constraints, before: Constraints | None, counts: list[Counts | None]) -> dict[str, Any]:
    names = load_layout(told.layout).joints
    classes = []
    for constraint in told.classes:
        entry = _class(constraint, before.classes[constraint.label] if before else None, names)
        others = list(constraint.told_apart_from)
        classes.append({**entry, "mistaken": [_mistaken(one, constraint.label, others) for one in counts]})
    notes = Counter(constraint.provenance.note for constraint in told.classes if constraint.provenance.note)
    return {
        "stream": told.stream,
        "round": told.round,
        "status": dict(sorted(Counter(entry["status"] for entry in classes).items())),
        "notes": dict(sorted(notes.items())),
        "prompt_tokens": sum(constraint.provenance.prompt_tokens for constraint in told.classes),
        "completion_tokens": sum(constraint.provenance.completion_tokens for constraint in told.classes),
        "asked": sum(one.asked for one in told.plan.classes) if told.plan else None,
        "joints_changed": _count(classes, "joints_changed") if before else None,
        "descriptions_changed": _count(classes, "description_changed") if before else None,
        "classes": [entry for entry in classes if told.round == 0 or _worth_saying(entry)],
    }


def _class(now: ClassConstraint, before: ClassConstraint | None, names: tuple[str, ...]) -> dict[str, Any]:
    joints = set(now.joints)
    earlier = set(before.joints) if before else joints
    return {
        "label": now.label,
        "name": now.name,
        "status": now.provenance.status,
        "note": now.provenance.note,
        "told_apart_from": list(now.told_apart_from),
        "description": now.description,
        "joints": [names[joint] for joint in sorted(joints)],
        "joints_added": [names[joint] for joint in sorted(joints - earlier)],
        "joints_removed": [names[joint] for joint in sorted(earlier - joints)],
        "joints_changed": joints != earlier,
        "description_changed": before is not None and before.description != now.description,
    }


def _mistaken(counts: Counts | None, label: int, others: list[int]) -> int | None:
    return None if counts is None else int(counts[label, others].sum() + counts[others, label].sum())


def _count(classes: list[dict[str, Any]], key: str) -> int:
    return sum(1 for entry in classes if entry[key])


def _worth_saying(entry: dict[str, Any]) -> bool:
    return bool(entry["status"] == "answered" or entry["joints_changed"] or entry["description_changed"])
