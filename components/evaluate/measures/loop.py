"""What the loop of recogniser and agent did: how confusions moved, and whether guidance was the reason.

Rounds also train for longer, so a later round is no proof of guidance. Within one run, the confusions that the
agent *addressed* (pairs that it told apart with something new) can be compared with all others, which trained for
just as long. That is a comparison, not an experiment: the addressed pairs were the worst ones of the training split,
and the worst improve by themselves. The experiment is a second run without an agent, see ``compare``.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import asdict
from itertools import pairwise
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.accuracy import Counts, confusion_matrix
from components.contracts.scores import Scores
from components.evaluate.inputs import Inputs
from components.evaluate.measures.ensemble import Fused, right
from components.evaluate.measures.guidance import before_round, changed
from components.evaluate.measures.statistics import paired, ratio_change

MOST_MOVING = 8
"""Pairs in the picture of confusions over rounds."""

Pairs = npt.NDArray[np.bool_]


def loop(inputs: Inputs, ensembles: Mapping[int, Fused], said: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Describe the loop. ``said`` is what ``guidance`` returned.

    Returns:
        ``rounds``: per round after which the agent spoke, over all streams, ``round``, ``asked``, ``answered``,
        ``joints_changed``, ``descriptions_changed``, ``tokens``, ``cost`` and ``top1`` of the ensemble in this round
        and the next (None where unknown);
        ``told`` (number of classes, over streams and rounds, about which the agent said something new),
        ``asked``, ``tokens``, ``cost`` (sums; None where unknown); ``steps``: the configured ensemble from each round
        to the next, and ``streams``: each stream from its first round to its last, both as ``statistics.Paired``
        with ``from_round``, ``to_round``; ``effect``, see ``_effect``; ``slopes``: the pairs of classes that the
        ensemble confuses most (``classes``, ``counts`` per round, ``addressed``: whether any stream was told).
    """
    addressed = {key: _addressed(inputs, key) for key in inputs.constraints if key[1] > 0}
    told = [constraints for (_, number), constraints in inputs.constraints.items() if number > 0]
    plans = [constraints.plan for constraints in told if constraints.plan]
    spent = [constraint.provenance for constraints in told for constraint in constraints.classes]
    return {
        "rounds": _rounds(ensembles, said),
        "told": sum(new for _, new in addressed.values()),
        "asked": sum(one.asked for plan in plans for one in plan.classes) if plans else None,
        "tokens": sum(one.prompt_tokens + one.completion_tokens for one in spent),
        "cost": round(sum(inputs.costs.values()), 6) if inputs.costs else None,
        "steps": _steps(ensembles),
        "streams": _streams(inputs),
        "effect": _effect(inputs, {key: pairs for key, (pairs, _) in addressed.items()}),
        "slopes": _slopes(ensembles, [pairs for pairs, _ in addressed.values()]),
    }


def _rounds(ensembles: Mapping[int, Fused], said: Sequence[dict[str, Any]]) -> list[dict[str, Any]]:
    rows = []
    for number in sorted({entry["round"] for entry in said} - {0}):
        entries = [entry for entry in said if entry["round"] == number]
        both = [ensembles.get(each) for each in (number, number + 1)]
        sums = {key: _sum(entries, key) for key in ("asked", "joints_changed", "descriptions_changed", "cost")}
        rows.append(
            {
                "round": number,
                "answered": sum(entry["status"].get("answered", 0) for entry in entries),
                "tokens": sum(entry["prompt_tokens"] + entry["completion_tokens"] for entry in entries),
                "top1": [float(right(one).mean()) if one else None for one in both],
                **sums,
            }
        )
    return rows


def _sum(entries: Sequence[dict[str, Any]], key: str) -> Any:
    known = [entry[key] for entry in entries if entry[key] is not None]
    return round(sum(known), 6) if known else None


def _addressed(inputs: Inputs, key: tuple[str, int]) -> tuple[Pairs, int]:
    """Return the pairs that were told apart with something new, both ways, ``[classes, classes]``, and how many
    classes that concerns."""
    told, before = inputs.constraints[key], before_round(inputs, *key)
    pairs, classes = np.zeros((len(told.classes), len(told.classes)), dtype=bool), 0
    for constraint in told.classes:
        if before is not None and changed(constraint, before.classes[constraint.label]):
            classes += 1
            others = list(constraint.told_apart_from)
            pairs[constraint.label, others] = pairs[others, constraint.label] = True
    return pairs, classes


def _steps(ensembles: Mapping[int, Fused]) -> list[dict[str, Any]]:
    numbers = sorted(ensembles)
    return [
        {"from_round": one, "to_round": two, **_paired(ensembles[one], ensembles[two])}
        for one, two in pairwise(numbers)
        if ensembles[one].streams == ensembles[two].streams
    ]


def _streams(inputs: Inputs) -> list[dict[str, Any]]:
    found = []
    for stream in inputs.streams:
        numbers = sorted(number for name, number in inputs.scores if name == stream)
        if len(numbers) > 1:
            first, last = inputs.scores[stream, numbers[0]], inputs.scores[stream, numbers[-1]]
            ends = {"from_round": numbers[0], "to_round": numbers[-1]}
            found.append({"stream": stream, **ends, **_paired(first, last)})
    return found


def _paired(first: Fused | Scores, second: Fused | Scores) -> dict[str, Any]:
    return asdict(paired(right(first), right(second)))


def _effect(inputs: Inputs, addressed: Mapping[tuple[str, int], Pairs]) -> dict[str, Any] | None:
    """Compare the mistakes in addressed pairs with all others, one round to the next, summed over streams and rounds.

    Returns:
        ``addressed`` and ``others``, each the mistakes ``[before, after]``; ``difference`` of their ratios
        after/before (negative: addressed ones fell more), with ``interval`` over resampled samples, both None where
        there were none before; ``verdict``: ``gain`` or ``loss`` if the interval excludes 0, else ``nothing``.
        None if nothing new was said, or the scores of the rounds around it are not given.
    """
    rows = None
    for (stream, number), pairs in addressed.items():
        before, after = (inputs.scores.get((stream, each)) for each in (number, number + 1))
        if before is None or after is None or not pairs.any():
            continue
        columns = [_mistakes(one, pairs if inside else ~pairs) for inside in (True, False) for one in (before, after)]
        found = np.stack(columns, axis=1).astype(np.int64)
        rows = found if rows is None else rows + found
    if rows is None:
        return None
    totals, change = rows.sum(axis=0).tolist(), ratio_change(rows)
    difference, interval = change if change else (None, None)
    verdict = "nothing"
    if interval and (interval.high < 0 or interval.low > 0):
        verdict = "gain" if interval.high < 0 else "loss"
    return {
        "addressed": totals[:2],
        "others": totals[2:],
        "difference": difference,
        "interval": asdict(interval) if interval else None,
        "verdict": verdict,
    }


def _mistakes(scores: Scores, pairs: Pairs) -> npt.NDArray[np.bool_]:
    predicted = scores.probabilities.argmax(axis=1)
    return np.asarray((predicted != scores.labels) & pairs[scores.labels, predicted])


def _slopes(ensembles: Mapping[int, Fused], addressed: list[Pairs]) -> list[dict[str, Any]]:
    counts = {number: _both_ways(confusion_matrix(one.probabilities, one.labels)) for number, one in ensembles.items()}
    worst = np.triu(np.maximum.reduce(list(counts.values())), k=1)
    told = np.logical_or.reduce(addressed) if addressed else np.zeros(worst.shape, dtype=bool)
    order = np.argsort(-worst, axis=None, kind="stable")[:MOST_MOVING]
    pairs = [divmod(int(place), len(worst)) for place in order if worst.flat[place]]
    return [
        {
            "classes": [one, two],
            "counts": {str(number): int(found[one, two]) for number, found in sorted(counts.items())},
            "addressed": bool(told[one, two]),
        }
        for one, two in pairs
    ]


def _both_ways(counts: Counts) -> Counts:
    return np.asarray(counts + counts.T)
