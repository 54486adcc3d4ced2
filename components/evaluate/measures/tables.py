"""The rows of the report's tables: streams, ensembles and classes."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from components.contracts import accuracy
from components.contracts.config import EvaluateStage
from components.contracts.metric_parts import Interval, Paired
from components.contracts.metrics import ClassRow, EnsembleRow, LastRow, StreamRow
from components.contracts.scores import Scores
from components.contracts.skeleton import STREAM_NAMES
from components.evaluate.inputs import Inputs
from components.evaluate.measures.ensemble import PUBLISHED, Fused, fuse, learnt_weights, proportional
from components.evaluate.measures.statistics import paired, share_interval

CONFIGURED = "configured"
UNIFORM = "uniform"
LEARNT = "learnt"


def described(fused: Fused) -> dict[str, Any]:
    """Return the streams, weights and three measures of an ensemble, as the fields of its row."""
    measures = asdict(accuracy.measure(fused.probabilities, fused.labels))
    return {"streams": list(fused.streams), "weights": list(fused.weights), **measures}


def top1_interval(one: Fused | Scores) -> Interval:
    """Return the interval of top-1 accuracy."""
    return share_interval(int(one.correct.sum()), len(one.labels))


def stream_rows(inputs: Inputs) -> list[StreamRow]:
    """Return a row for every stream and round."""
    rows = []
    for key, scores in inputs.scores.items():
        confusion = inputs.confusions.get(key)
        rows.append(
            StreamRow(
                stream=scores.stream,
                round=scores.round,
                clips=scores.clips,
                train_top1=accuracy.accuracy(confusion.train) if confusion else None,
                **asdict(accuracy.measure(scores.probabilities, scores.labels)),
                interval=top1_interval(scores),
            )
        )
    return rows


def ensemble_rows(inputs: Inputs, configured: Mapping[int, Fused]) -> tuple[list[EnsembleRow], list[LastRow]]:
    """Return the ensembles of every round, and every stream and ensemble of the last one."""
    last = inputs.rounds[-1]
    every, final = [], []
    for one in inputs.scores_of_round(last):
        fused = fuse([one], {one.stream: 1.0}, aligned=True)
        final.append(_last_row(f"{STREAM_NAMES[one.stream]} alone", last, fused, configured[last]))
    for name, number, fused in _fused(inputs, configured):
        row = EnsembleRow(name=name, round=number, **described(fused), interval=top1_interval(fused))
        every.append(row)
        if number == last:
            final.append(_last_row(f"{name} ensemble", number, fused, configured[last]))
    return every, final


def _last_row(name: str, number: int, fused: Fused, headline: Fused) -> LastRow:
    return LastRow(
        name=name,
        round=number,
        **described(fused),
        interval=top1_interval(fused),
        mean_average_precision=accuracy.mean_average_precision(fused.probabilities, fused.labels),
        against=None if fused is headline else paired(headline.correct, fused.correct),
    )


def _fused(inputs: Inputs, configured: Mapping[int, Fused]) -> Iterator[tuple[str, int, Fused]]:
    """Yield name, round and probabilities of every ensemble, one at a time: of 400 classes they are large."""
    for number in inputs.rounds:
        if number in configured:
            yield CONFIGURED, number, configured[number]
        scores = inputs.scores_of_round(number)
        for name, weights in _combinations(inputs, number).items():
            yield name, number, fuse(scores, weights, aligned=True)


def _combinations(inputs: Inputs, number: int) -> dict[str, Mapping[str, float]]:
    """Return the weights of each ensemble of a round besides the configured one."""
    given = {one.stream for one in inputs.scores_of_round(number)}
    chosen: dict[str, Mapping[str, float]] = {
        name: weights for name, weights in PUBLISHED.items() if weights.keys() <= given
    }
    uniform = dict.fromkeys(given, 1.0)
    if len(given) > 1 and not any(proportional(uniform, weights) for weights in chosen.values()):
        chosen[UNIFORM] = uniform
    held_out = [one for one in inputs.held_out if one.stream in given]
    if len(held_out) > 1 and number == inputs.rounds[-1]:
        chosen[LEARNT] = learnt_weights(held_out)
    return chosen


def without_each(inputs: Inputs, headline: Fused) -> dict[str, Paired]:
    """Compare the headline with itself without each of its streams."""
    scores = inputs.scores_of_round(inputs.rounds[-1])
    weights = dict(zip(headline.streams, headline.weights, strict=True))
    found = {}
    for stream in headline.streams:
        others = {other: weight for other, weight in weights.items() if other != stream}
        if others:
            found[stream] = paired(fuse(scores, others, aligned=True).correct, headline.correct)
    return found


def class_rows(stage: EvaluateStage, ensembles: Mapping[int, Fused]) -> list[ClassRow]:
    """Return recall and precision of every class, by the configured ensemble."""
    counts = {number: accuracy.confusion_matrix(one.probabilities, one.labels) for number, one in ensembles.items()}
    recalls = {number: accuracy.recall(one) for number, one in counts.items()}
    first, last = min(counts), max(counts)
    samples, precisions = counts[last].sum(axis=1), accuracy.precision(counts[last])
    return [
        ClassRow(
            label=label,
            name=name,
            samples=int(samples[label]),
            recall=_known(recalls[last][label]),
            precision=_known(precisions[label]),
            recall_by_round={str(number): _known(recall[label]) for number, recall in recalls.items()},
            change=_known(recalls[last][label] - recalls[first][label]) if first != last else None,
        )
        for label, name in enumerate(stage.data.classes)
    ]


def _known(value: float) -> float | None:
    return None if np.isnan(value) else float(value)
