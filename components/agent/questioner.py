"""The Questioner: from the training confusion to who is confused with whom, and whom to ask about.

It differs on purpose from the reference (QUIRKS 1): a class's list holds only classes that were really
confused with it, where the reference always keeps ten entries and so pads with classes that never were.
It counts each mistake once in each direction, where the reference weighs false positives by the batch they
fell in (QUIRKS 2). Like the reference's, its counts are those of the last epoch before it is asked (QUIRKS 4).
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Sequence
from typing import Any

import numpy as np
import numpy.typing as npt

from components.agent.offline.measured import DATA
from components.agent.selector import uninformed
from components.contracts.config import AgentConfig
from components.contracts.constraints import ClassConstraint
from components.contracts.plan import Budget, Confused, Estimate, Plan, PlannedClass

NOBODY = "nobody to ask: no LLM and no written prior"
MEASURED = "joints measured from the data"

Estimator = Callable[[PlannedClass], Estimate]
"""Says what asking about a class should cost."""


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
        confused = (
            Confused(label=int(other), count=int(row[other]), share=float(shares[label, other])) for other in ranked
        )
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


def plan_round(
    confusion: npt.NDArray[np.int64],
    previous: Sequence[ClassConstraint],
    config: AgentConfig,
    estimate: Estimator | None = None,
    *,
    unanswerable: Collection[int] = (),
    measurable: Collection[int] = (),
) -> Plan:
    """Decide which classes to ask about after a round of training.

    A class is asked if others were confused with it and it was never told apart from any, or its confusions
    have changed materially since (``change`` above ``config.material_change``). The most confused come first
    (mistakes of the listed pairs, then class number), as far as the budget goes; of the others those are measured
    that can be and that nobody has said anything about yet, or that were measured before and whose confusions have
    changed likewise. Every other class keeps its constraint.

    Args:
        confusion: int64 ``[C, C]``, samples by (true class, predicted class), of the training split.
        previous: the constraints that the round trained with, in label order.
        config: thresholds and budget.
        estimate: what asking about a class should cost; by default nothing.
        unanswerable: classes that there is nobody to ask about.
        measurable: classes whose joints the training data tell.
    """
    names = [constraint.name for constraint in previous]
    candidates: list[PlannedClass] = []
    left: list[PlannedClass] = []
    to_measure: set[int] = set()
    for constraint, listed in zip(previous, confused_classes(confusion, config), strict=True):
        changed = change(listed, constraint)
        known = changed is not None and changed <= config.material_change
        new, nobody = bool(listed) and not known, constraint.label in unanswerable
        if constraint.label in measurable and (uninformed(constraint) or (new and _is_measured(constraint))):
            to_measure.add(constraint.label)
        planned = PlannedClass(
            label=constraint.label,
            name=constraint.name,
            asked=new and not nobody,
            confused=listed,
            change=changed,
            reason=_reason(listed, known, names) + (f"; {NOBODY}" if new and nobody else ""),
        )
        (candidates if planned.asked else left).append(planned)
    candidates.sort(key=lambda planned: (-sum(confused.count for confused in planned.confused), planned.label))
    return _with_measured(_within_budget(candidates, left, config, estimate), to_measure)


def _is_measured(constraint: ClassConstraint) -> bool:
    return constraint.provenance.provider == DATA


def _with_measured(plan: Plan, to_measure: Collection[int]) -> Plan:
    """Have those of these classes measured that are not asked."""
    classes = [
        one.model_copy(update={"measured": True, "reason": f"{one.reason}; {MEASURED}"})
        if one.label in to_measure and not one.asked
        else one
        for one in plan.classes
    ]
    return plan.model_copy(update={"classes": tuple(classes)})


def plan_round_zero(
    previous: Sequence[ClassConstraint], config: AgentConfig, estimate: Estimator | None = None
) -> Plan:
    """Decide whom to ask about before any training: every class, in order, as far as the budget goes.

    Offline nobody is asked: the written priors are the answer.
    """
    asked = config.provider != "offline"
    classes = [
        PlannedClass(
            label=constraint.label, name=constraint.name, asked=asked, reason=_first_reason(constraint, asked=asked)
        )
        for constraint in previous
    ]
    return _within_budget(classes, [], config, estimate) if asked else _within_budget([], classes, config, estimate)


def _first_reason(constraint: ClassConstraint, *, asked: bool) -> str:
    if asked:
        return "first round"
    return NOBODY if uninformed(constraint) else "the written priors are the answer to the first round"


def change(listed: Sequence[Confused], constraint: ClassConstraint) -> float | None:
    """Measure how much a class's confusions differ from those that its constraint answered.

    Returns:
        The sum of ``|share now - share then|`` over the classes listed now or told apart from then, a share
        being 0 where a class does not stand; ``None`` if the class was not told apart from any. Where the
        shares of then are unknown (schema 1.0), 0 if the same classes are listed and 1 otherwise.
    """
    if not constraint.told_apart_from:
        return None
    now = {confused.label: confused.share for confused in listed}
    if not constraint.shares:
        return float(now.keys() != set(constraint.told_apart_from))
    then = dict(zip(constraint.told_apart_from, constraint.shares, strict=True))
    return float(sum(abs(now.get(label, 0.0) - then.get(label, 0.0)) for label in sorted(now.keys() | then.keys())))


def _reason(listed: Sequence[Confused], known: bool, names: Sequence[str]) -> str:
    if not listed:
        return "no confusion above the thresholds"
    if known:
        return "its confusions did not change materially since it was asked about"
    return "confused with " + ", ".join(f"{names[confused.label]} ({confused.count})" for confused in listed)


def _within_budget(
    candidates: Sequence[PlannedClass], left: Sequence[PlannedClass], config: AgentConfig, estimate: Estimator | None
) -> Plan:
    """Take the candidates in their order until one does not fit; it and all after it are left."""
    asked: list[PlannedClass] = []
    classes = list(left)
    total = Estimate()
    beyond = ""
    for candidate in candidates:
        cost = estimate(candidate) if estimate else Estimate()
        beyond = beyond or _beyond(len(asked) + 1, _sum(total, cost), config)
        if beyond:
            update = {"asked": False, "reason": f"beyond this round's {beyond}", "estimate": cost}
            classes.append(candidate.model_copy(update=update))
        else:
            total = _sum(total, cost)
            asked.append(candidate.model_copy(update={"estimate": cost}))
    return Plan(
        budget=Budget(requests=config.max_requests, tokens=config.max_tokens, cost=config.max_cost),
        estimate=total,
        order=tuple(planned.label for planned in asked),
        classes=tuple(sorted([*asked, *classes], key=lambda planned: planned.label)),
    )


def _beyond(requests: int, total: Estimate, config: AgentConfig) -> str:
    """Name the first limit that is passed; empty if none is."""
    if requests > config.max_requests:
        return f"max_requests ({config.max_requests})"
    if config.max_tokens is not None and total.tokens > config.max_tokens:
        return f"max_tokens ({config.max_tokens})"
    if config.max_cost is not None and (total.cost or 0.0) > config.max_cost:
        return f"max_cost ({config.max_cost:g})"
    return ""


def _sum(one: Estimate, other: Estimate) -> Estimate:
    unpriced = one.cost is None and other.cost is None
    return Estimate(
        prompt_tokens=one.prompt_tokens + other.prompt_tokens,
        completion_tokens=one.completion_tokens + other.completion_tokens,
        cost=None if unpriced else round((one.cost or 0.0) + (other.cost or 0.0), 6),
    )
