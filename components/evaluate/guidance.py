"""What the agent said: one constraints artifact against the one before it."""

from __future__ import annotations

from collections import Counter
from typing import Any

from components.contracts.constraints import ClassConstraint, Constraints
from components.contracts.skeleton import load_layout
from components.evaluate.inputs import Inputs


def guidance(inputs: Inputs) -> list[dict[str, Any]]:
    """Describe every constraints artifact, prior first, then by stream and round.

    Returns:
        One mapping per artifact: ``stream``, ``round``, ``status`` (classes per status), ``notes`` (classes
        per reason given), ``prompt_tokens``, ``completion_tokens``; ``joints_changed`` and
        ``descriptions_changed`` (number of classes; None where the constraints before are not given);
        ``classes``: what is said of each class that was answered or changed (of all classes for the prior).
    """
    return [_describe(told, _before(inputs, stream, number)) for (stream, number), told in inputs.constraints.items()]


def _before(inputs: Inputs, stream: str, number: int) -> Constraints | None:
    return inputs.constraints.get(("", 0) if number == 1 else (stream, number - 1))


def _describe(told: Constraints, before: Constraints | None) -> dict[str, Any]:
    names = load_layout(told.layout).joints
    classes = [
        _class(constraint, before.classes[constraint.label] if before else None, names) for constraint in told.classes
    ]
    notes = Counter(constraint.provenance.note for constraint in told.classes if constraint.provenance.note)
    return {
        "stream": told.stream,
        "round": told.round,
        "status": dict(sorted(Counter(entry["status"] for entry in classes).items())),
        "notes": dict(sorted(notes.items())),
        "prompt_tokens": sum(constraint.provenance.prompt_tokens for constraint in told.classes),
        "completion_tokens": sum(constraint.provenance.completion_tokens for constraint in told.classes),
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


def _count(classes: list[dict[str, Any]], key: str) -> int:
    return sum(1 for entry in classes if entry[key])


def _worth_saying(entry: dict[str, Any]) -> bool:
    return bool(entry["status"] == "answered" or entry["joints_changed"] or entry["description_changed"])
