"""Which joints the next round followed: those that the LLM named, or those that separate the classes in the data.

For each class that was answered, or whose joints the data gave, the joints of its constraint stand beside as many
measured ones (see ``guidance.measured_joints``). Most of them agree, or most do not: the recall of both groups is
compared, as is where the network looked afterwards. Who answered better was not drawn by lot: this is a hint.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.constraints import ClassConstraint
from components.contracts.loop_metrics import Followed, FollowedClass, FollowedEvidence, FollowedRecall
from components.evaluate.inputs import Inputs, Key
from components.evaluate.measures.effect import Flags, around, recall_effect
from components.evaluate.measures.guidance import agreement, measured_joints
from components.evaluate.measures.statistics import mean_interval

MOSTLY = 0.5
"""From this share of agreement on, a class follows the measured joints."""


def followed(inputs: Inputs) -> Followed | None:
    """Compare classes that follow the measured joints with those that do not; None where nothing was measured."""
    classes: list[FollowedClass] = []
    groups: dict[Key, tuple[Flags, Flags]] = {}
    for key, constraints in inputs.constraints.items():
        found = []
        for constraint in constraints.classes:
            measured = measured_joints(inputs, constraints, constraint.label)
            if constraint.provenance.status in ("answered", "data") and measured:
                found.append(_class(inputs, key, constraint, measured))
        if found:
            classes += found
            groups[key] = _groups(found, len(constraints.classes))
    if not classes:
        return None
    count = sum(one.agreement >= MOSTLY for one in classes)
    effect = recall_effect(inputs, groups)
    recall = (
        None
        if effect is None
        else FollowedRecall(
            measured=effect.recall[0], said=effect.recall[1], difference=effect.difference, interval=effect.interval
        )
    )
    evidence = _evidence_of_all(classes)
    return Followed(measured=count, said=len(classes) - count, recall=recall, evidence=evidence, classes=classes)


def _groups(found: Sequence[FollowedClass], classes: int) -> tuple[Flags, Flags]:
    measured, said = np.zeros(classes, dtype=bool), np.zeros(classes, dtype=bool)
    for one in found:
        (measured if one.agreement >= MOSTLY else said)[one.label] = True
    return measured, said


def _class(inputs: Inputs, key: Key, constraint: ClassConstraint, measured: list[int]) -> FollowedClass:
    only_said = sorted(set(constraint.joints) - set(measured))
    only_measured = sorted(set(measured) - set(constraint.joints))
    return FollowedClass(
        stream=key[0],
        round=key[1],
        label=constraint.label,
        status=constraint.provenance.status,
        agreement=agreement(constraint, measured) or 0.0,
        recall=_recall(inputs, key, constraint.label),
        evidence_said=_evidence(inputs, key, constraint.label, only_said),
        evidence_measured=_evidence(inputs, key, constraint.label, only_measured),
    )


def _recall(inputs: Inputs, key: Key, label: int) -> tuple[float, float] | None:
    both = around(inputs, key)
    if both is None or not (inside := both[0].labels == label).any():
        return None
    return float(both[0].correct[inside].mean()), float(both[1].correct[inside].mean())


def _evidence(inputs: Inputs, key: Key, label: int, joints: list[int]) -> tuple[float, float] | None:
    """Return the share of a class's evidence on these joints, in the round and in the next one."""
    shares = []
    for number in (key[1], key[1] + 1):
        found = inputs.confusions.get((key[0], number))
        if found is None or found.evidence is None or not joints:
            return None
        for_it: npt.NDArray[Any] = np.maximum(found.evidence[label].astype(np.float64), 0)
        if not for_it.any():
            return None
        shares.append(float(for_it[joints].sum() / for_it.sum()))
    return shares[0], shares[1]


def _evidence_of_all(classes: Sequence[FollowedClass]) -> FollowedEvidence | None:
    pairs = [(one.evidence_measured, one.evidence_said) for one in classes if one.evidence_measured]
    values = np.asarray([pair for pair in pairs if pair[1] is not None], dtype=np.float64)  # class, which, when
    if len(values) < 2:
        return None
    rise = values[:, 0, 1] - values[:, 0, 0] - (values[:, 1, 1] - values[:, 1, 0])
    (before, after), (said_before, said_after) = values.mean(axis=0).tolist()
    return FollowedEvidence(
        classes=len(values),
        measured=(before, after),
        said=(said_before, said_after),
        difference=float(rise.mean()),
        interval=mean_interval(rise),
    )
