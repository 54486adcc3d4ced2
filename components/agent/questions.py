"""The question about one class: what stands about it and its rivals, and what the network and the data say of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from components.agent.offline.measured import separating
from components.agent.providers import Question, Rival
from components.contracts.config import AgentStage
from components.contracts.confusion import Confusion
from components.contracts.constraints import ClassConstraint
from components.contracts.plan import Confused, PlannedClass
from components.contracts.skeleton import load_layout

MOST_LOOKED_AT = 3
"""Joints that a prompt names as those that the network goes by."""


def question_about(
    planned: PlannedClass, standing: Sequence[ClassConstraint], stage: AgentStage, seen: Confusion | None = None
) -> Question:
    """Return the question about a class; with ``agent.tell=evidence`` it holds what was measured, too."""
    names = load_layout(stage.data.layout).joints
    told = seen if stage.agent.tell == "evidence" else None
    own = standing[planned.label]

    def named(joints: Sequence[int]) -> tuple[str, ...]:
        return tuple(names[joint] for joint in joints)

    def rival(confused: Confused) -> Rival:
        other = standing[confused.label]
        return Rival(
            label=other.label,
            name=other.name,
            description=other.description,
            joints=named(other.joints),
            share=confused.share,
            looked_at=named(_looked_at(told, other.label)),
            separated_by=named(separating(told, own.label, other.label) if told else ()),
        )

    return Question(
        label=own.label,
        name=own.name,
        description=own.description,
        joints=named(own.joints),
        rivals=tuple(rival(confused) for confused in planned.confused),
        layout=stage.data.layout,
        dimensions=stage.data.dimensions,
        max_persons=stage.data.max_persons,
        max_joints=stage.agent.max_joints,
        looked_at=named(_looked_at(told, own.label)),
    )


def _looked_at(seen: Confusion | None, label: int) -> list[int]:
    """Return the joints that speak most for a class where the network recognises it, the first one most."""
    if seen is None or seen.evidence is None:
        return []
    row = seen.evidence[label]
    return [int(joint) for joint in np.argsort(-row, kind="stable")[:MOST_LOOKED_AT] if row[joint] > 0]
