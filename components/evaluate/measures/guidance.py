"""What the agent said: one constraints artifact against the one before it."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence

import numpy as np

from components.contracts.accuracy import Counts, confusion_matrix
from components.contracts.constraints import ClassConstraint, Constraints
from components.contracts.loop_metrics import Said, SaidOfClass
from components.contracts.skeleton import load_layout
from components.evaluate.inputs import Inputs


def guidance(inputs: Inputs) -> list[Said]:
    """Describe every constraints artifact, prior first, then by stream and round."""
    counts = {key: confusion_matrix(one.probabilities, one.labels) for key, one in inputs.scores.items()}
    found = []
    for (stream, number), constraints in inputs.constraints.items():
        classes = _classes(inputs, constraints, [counts.get((stream, each)) for each in (number, number + 1)])
        before = before_round(inputs, stream, number)
        found.append(_describe(constraints, before, classes, inputs.costs.get((stream, number))))
    return found


def before_round(inputs: Inputs, stream: str, number: int) -> Constraints | None:
    """Return the constraints that a stream had before those of round ``number``; None if they are not given."""
    return None if number == 0 else inputs.constraints.get(("", 0) if number == 1 else (stream, number - 1))


def changed(now: ClassConstraint, before: ClassConstraint) -> bool:
    """Whether the agent said something new about a class."""
    return set(now.joints) != set(before.joints) or now.description != before.description


def _classes(inputs: Inputs, constraints: Constraints, counts: list[Counts | None]) -> list[SaidOfClass]:
    """Describe every class; ``counts`` of the stream's test samples before and after the training that followed."""
    names = load_layout(constraints.layout).joints
    before = before_round(inputs, constraints.stream, constraints.round)
    classes = []
    for constraint in constraints.classes:
        earlier = before.classes[constraint.label] if before else None
        described = _of_class(constraint, earlier, names, counts)
        measured = measured_joints(inputs, constraints, constraint.label)
        known = {"measured": [names[joint] for joint in measured], "agreement": agreement(constraint, measured)}
        classes.append(described.model_copy(update=known))
    return classes


def measured_joints(inputs: Inputs, constraints: Constraints, label: int) -> list[int]:
    """Return as many joints as are critical for a class: those that separate it best in the training data.

    Empty if that was not measured, or all joints are critical. Where the data gave the class its joints, it is these.
    """
    constraint, seen = constraints.classes[label], inputs.confusions.get((constraints.stream, constraints.round))
    if constraint.provenance.status == "data":
        return sorted(constraint.joints)
    critical, merit = len(constraint.joints), None if seen is None else seen.merit()
    if merit is None or critical == merit.shape[1]:
        return []
    best = np.argsort(-merit[label], kind="stable")[:critical]
    return sorted(int(joint) for joint in best)


def agreement(constraint: ClassConstraint, measured: Sequence[int]) -> float | None:
    """Return the share of a class's joints that are measured ones; None if nothing was measured."""
    return len(set(constraint.joints) & set(measured)) / len(measured) if measured else None


def _describe(
    constraints: Constraints, before: Constraints | None, classes: list[SaidOfClass], cost: float | None
) -> Said:
    notes = Counter(constraint.provenance.note for constraint in constraints.classes if constraint.provenance.note)
    return Said(
        stream=constraints.stream,
        round=constraints.round,
        status=dict(sorted(Counter(entry.status for entry in classes).items())),
        notes=dict(sorted(notes.items())),
        prompt_tokens=sum(constraint.provenance.prompt_tokens for constraint in constraints.classes),
        completion_tokens=sum(constraint.provenance.completion_tokens for constraint in constraints.classes),
        asked=sum(one.asked for one in constraints.plan.classes) if constraints.plan else None,
        joints_changed=sum(entry.joints_changed for entry in classes) if before else None,
        descriptions_changed=sum(entry.description_changed for entry in classes) if before else None,
        classes=[entry for entry in classes if constraints.round == 0 or _worth_saying(entry)],
        cost=cost,
    )


def _of_class(
    now: ClassConstraint, before: ClassConstraint | None, names: tuple[str, ...], counts: list[Counts | None]
) -> SaidOfClass:
    joints, others = set(now.joints), list(now.told_apart_from)
    earlier = set(before.joints) if before else joints
    return SaidOfClass(
        label=now.label,
        name=now.name,
        status=now.provenance.status,
        note=now.provenance.note,
        told_apart_from=others,
        description=now.description,
        joints=[names[joint] for joint in sorted(joints)],
        joints_added=[names[joint] for joint in sorted(joints - earlier)],
        joints_removed=[names[joint] for joint in sorted(earlier - joints)],
        joints_changed=joints != earlier,
        description_changed=before is not None and before.description != now.description,
        mistaken=[_mistaken(one, now.label, others) for one in counts],
    )


def _mistaken(counts: Counts | None, label: int, others: list[int]) -> int | None:
    return None if counts is None else int(counts[label, others].sum() + counts[others, label].sum())


def _worth_saying(entry: SaidOfClass) -> bool:
    return entry.status in ("answered", "data") or entry.joints_changed or entry.description_changed
