"""What the loop of recogniser and agent did: how confusions moved, and whether guidance was the reason.

Rounds also train for longer, so a later round is no proof of guidance. Within one run, the confusions that the
agent *addressed* (pairs that it told apart with something new) can be compared with all others, which trained for
just as long. That is a comparison, not an experiment: the addressed pairs were the worst ones of the training split,
and the worst improve by themselves. The experiment is a second run without an agent, see ``compare``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, Literal, TypeVar

import numpy as np

from components.contracts.accuracy import Counts, confusion_matrix
from components.contracts.loop_metrics import (
    ClassEffect,
    Loop,
    LoopRound,
    MovingPair,
    PairEffect,
    Said,
    Step,
    StreamStep,
)
from components.contracts.scores import Scores
from components.evaluate.inputs import Inputs, Key
from components.evaluate.measures.effect import Flags, around, recall_effect
from components.evaluate.measures.ensemble import Fused
from components.evaluate.measures.followed import followed
from components.evaluate.measures.guidance import before_round, changed
from components.evaluate.measures.statistics import paired, ratio_change

MOST_MOVING = 8
"""Pairs in the picture of confusions over rounds."""


@dataclass(frozen=True)
class _Addressed:
    """``pairs`` that one answer told apart with something new, both ways, ``[classes, classes]``, and the ``classes``
    about which it said something new, ``[classes]``."""

    pairs: Flags
    classes: Flags


def loop(inputs: Inputs, ensembles: Mapping[int, Fused], said: Sequence[Said]) -> Loop:
    """Describe the loop. ``said`` is what ``guidance`` returned."""
    addressed = {key: _addressed(inputs, key) for key in inputs.constraints if key[1] > 0}
    answers = [constraints for (_, number), constraints in inputs.constraints.items() if number > 0]
    plans = [constraints.plan for constraints in answers if constraints.plan]
    spent = [constraint.provenance for constraints in answers for constraint in constraints.classes]
    return Loop(
        rounds=_rounds(inputs, ensembles, said, addressed),
        told=sum(int(one.classes.sum()) for one in addressed.values()),
        asked=sum(one.asked for plan in plans for one in plan.classes) if plans else None,
        tokens=sum(one.prompt_tokens + one.completion_tokens for one in spent),
        cost=round(sum(inputs.costs.values()), 6) if inputs.costs else None,
        steps=_steps(ensembles),
        streams=_streams(inputs),
        effect=_pair_effect(inputs, addressed),
        followed=followed(inputs),
        slopes=_slopes(ensembles, [one.pairs for one in addressed.values()]),
    )


def _rounds(
    inputs: Inputs, ensembles: Mapping[int, Fused], said: Sequence[Said], addressed: Mapping[Key, _Addressed]
) -> list[LoopRound]:
    rows = []
    for number in sorted({entry.round for entry in said} - {0}):
        entries = [entry for entry in said if entry.round == number]
        both = [ensembles.get(each) for each in (number, number + 1)]
        rows.append(
            LoopRound(
                round=number,
                answered=sum(entry.status.get("answered", 0) for entry in entries),
                measured=sum(entry.status.get("data", 0) for entry in entries),
                tokens=sum(entry.prompt_tokens + entry.completion_tokens for entry in entries),
                top1=[float(one.correct.mean()) if one else None for one in both],
                asked=_sum([entry.asked for entry in entries]),
                joints_changed=_sum([entry.joints_changed for entry in entries]),
                descriptions_changed=_sum([entry.descriptions_changed for entry in entries]),
                cost=_sum([entry.cost for entry in entries]),
                effect=_class_effect(inputs, {key: one for key, one in addressed.items() if key[1] == number}),
            )
        )
    return rows


N = TypeVar("N", int, float)


def _sum(values: Sequence[N | None]) -> N | None:
    known = [value for value in values if value is not None]
    return round(sum(known), 6) if known else None


def _addressed(inputs: Inputs, key: Key) -> _Addressed:
    constraints, before = inputs.constraints[key], before_round(inputs, *key)
    count = len(constraints.classes)
    pairs, classes = np.zeros((count, count), dtype=bool), np.zeros(count, dtype=bool)
    for constraint in constraints.classes:
        if before is not None and changed(constraint, before.classes[constraint.label]):
            classes[constraint.label] = True
            others = list(constraint.told_apart_from)
            pairs[constraint.label, others] = pairs[others, constraint.label] = True
    return _Addressed(pairs, classes)


def _steps(ensembles: Mapping[int, Fused]) -> list[Step]:
    return [
        Step(from_round=one, to_round=two, **_paired(ensembles[one], ensembles[two]))
        for one, two in pairwise(sorted(ensembles))
        if ensembles[one].streams == ensembles[two].streams
    ]


def _streams(inputs: Inputs) -> list[StreamStep]:
    found = []
    for stream in inputs.streams:
        numbers = sorted(number for name, number in inputs.scores if name == stream)
        if len(numbers) > 1:
            first, last = inputs.scores[stream, numbers[0]], inputs.scores[stream, numbers[-1]]
            ends = {"from_round": numbers[0], "to_round": numbers[-1]}
            found.append(StreamStep(stream=stream, **ends, **_paired(first, last)))
    return found


def _paired(first: Fused | Scores, second: Fused | Scores) -> dict[str, Any]:
    return dict(paired(first.correct, second.correct))


def _class_effect(inputs: Inputs, addressed: Mapping[Key, _Addressed]) -> ClassEffect | None:
    """Compare the recall of addressed classes with that of all others, over the streams of one round."""
    found = recall_effect(inputs, {key: (one.classes, ~one.classes) for key, one in addressed.items()})
    return (
        None
        if found is None
        else ClassEffect(
            addressed=found.classes[0],
            others=found.classes[1],
            addressed_recall=found.recall[0],
            others_recall=found.recall[1],
            difference=found.difference,
            interval=found.interval,
        )
    )


def _pair_effect(inputs: Inputs, addressed: Mapping[Key, _Addressed]) -> PairEffect | None:
    """Compare the mistakes in addressed pairs with all others, one round to the next, summed over streams and rounds.

    None if nothing new was said, or the scores of the rounds around it are not given.
    """
    rows = None
    for key, one in addressed.items():
        both = around(inputs, key)
        if both is None or not one.pairs.any():
            continue
        columns = [_mistakes(scores, pairs) for pairs in (one.pairs, ~one.pairs) for scores in both]
        found = np.stack(columns, axis=1).astype(np.int64)
        rows = found if rows is None else rows + found
    if rows is None:
        return None
    totals, change = rows.sum(axis=0).tolist(), ratio_change(rows)
    difference, interval = change if change else (None, None)
    verdict: Literal["gain", "loss", "nothing"] = "nothing"
    if interval and (interval.high < 0 or interval.low > 0):
        verdict = "gain" if interval.high < 0 else "loss"
    return PairEffect(
        addressed=totals[:2], others=totals[2:], difference=difference, interval=interval, verdict=verdict
    )


def _mistakes(scores: Scores, pairs: Flags) -> Flags:
    predicted = scores.probabilities.argmax(axis=1)
    return np.asarray((predicted != scores.labels) & pairs[scores.labels, predicted])


def _slopes(ensembles: Mapping[int, Fused], addressed: list[Flags]) -> list[MovingPair]:
    counts = {number: _both_ways(confusion_matrix(one.probabilities, one.labels)) for number, one in ensembles.items()}
    worst = np.triu(np.maximum.reduce(list(counts.values())), k=1)
    known = np.logical_or.reduce(addressed) if addressed else np.zeros(worst.shape, dtype=bool)
    order = np.argsort(-worst, axis=None, kind="stable")[:MOST_MOVING]
    pairs = [divmod(int(place), len(worst)) for place in order if worst.flat[place]]
    return [
        MovingPair(
            classes=[one, two],
            counts={str(number): int(found[one, two]) for number, found in sorted(counts.items())},
            addressed=bool(known[one, two]),
        )
        for one, two in pairs
    ]


def _both_ways(counts: Counts) -> Counts:
    return np.asarray(counts + counts.T)
