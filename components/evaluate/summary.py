"""The numbers of a run, as they stand in ``metrics.json``. All accuracies are fractions from 0 to 1.

========================  ==============================================================================
key                       value
========================  ==============================================================================
``name, description``     of the experiment
``data``                  ``layout``, ``classes`` (names), ``protocol``, ``protocol_label``, ``train_split``,
                          ``test_split``, ``test_samples``
``notices``               what a reader must know first: ``kind`` (synthetic, leak, incomplete) and ``text``
``headline``              the configured ensemble at the last round: ``round``, ``streams``, ``weights``,
                          ``correct`` (samples), ``top1``, ``top5``, ``mean_class``
``gain``                  last round against first round, same ensemble: ``from_round``, ``to_round``,
                          ``top1``, ``correct``; null after one round or if the streams differ
``streams``               per stream and round: ``stream``, ``round``, ``clips``, ``train_top1`` (null if
                          there is no confusion artifact), ``top1``, ``top5``, ``mean_class``
``ensembles``             per round: ``name`` (configured, published N-stream), ``round``, ``streams``,
                          ``weights``, ``top1``, ``top5``, ``mean_class``
``confusion``             of the headline: counts ``[true][predicted]``
``confused_pairs``        its largest off-diagonal cells: ``true``, ``predicted`` (class numbers), ``count``,
                          ``share`` (of the true class)
``classes``               per class: ``label``, ``name``, ``samples``, ``recall``, ``precision`` (headline; null
                          where undefined), ``recall_by_round`` (configured ensemble), ``change`` (last round
                          minus first)
``constraints``           what the agent said, see ``guidance.guidance``
``history``               per stream: the training epochs
========================  ==============================================================================
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from components.contracts.config import EvaluateStage
from components.contracts.errors import InputError
from components.contracts.history import EpochRecord
from components.evaluate import metrics
from components.evaluate.ensemble import PUBLISHED, Fused, fuse
from components.evaluate.guidance import guidance
from components.evaluate.inputs import Inputs

CONFIGURED = "configured"
MOST_CONFUSED = 20
# A label speaks for itself; "leaked twins removed" and "no leaks" say that it does not leak.
_LEAKS = re.compile(r"(?<!no )(?<!not )(?<!without )\b(leaky|leaks|leaking)\b(?! removed| excluded)", re.IGNORECASE)
_SYNTHETIC = re.compile(r"\bsynthetic\b", re.IGNORECASE)


def summarise(stage: EvaluateStage, inputs: Inputs) -> dict[str, Any]:
    """Compute everything that the report says; the keys are those of this module's table.

    Raises:
        InputError: no stream with scores at the last round has a positive weight.
    """
    weights: dict[str, float] = {str(stream): weight for stream, weight in stage.evaluate.weights.items()}
    ensembles = _configured(inputs, weights)
    last = inputs.rounds[-1]
    headline = ensembles[last]
    counts = metrics.confusion_matrix(headline.probabilities, headline.labels)
    return {
        "name": stage.name,
        "description": stage.description,
        "data": _data(stage, len(headline.labels)),
        "notices": _notices(stage, inputs),
        "headline": {
            "round": last,
            "correct": int(counts.trace()),
            **_row(headline),
        },
        "gain": _gain(ensembles),
        "streams": _streams(inputs),
        "ensembles": _ensembles(inputs, ensembles),
        "confusion": counts.tolist(),
        "confused_pairs": [asdict(pair) for pair in metrics.most_confused(counts, MOST_CONFUSED)],
        "classes": _classes(stage, ensembles),
        "constraints": guidance(inputs),
        "history": _history(inputs),
    }


def _configured(inputs: Inputs, weights: Mapping[str, float]) -> dict[int, Fused]:
    """Return the configured ensemble of every round that has a weighted stream."""
    last = inputs.rounds[-1]
    if not any(weights.get(one.stream, 0) > 0 for one in inputs.scores_of_round(last)):
        found = ", ".join(one.stream for one in inputs.scores_of_round(last))
        raise InputError(f"evaluate.weights: no stream with scores of round {last} ({found}) has a positive weight")
    rounds = {number: inputs.scores_of_round(number) for number in inputs.rounds}
    return {
        number: fuse(scores, weights)
        for number, scores in rounds.items()
        if any(weights.get(one.stream, 0) > 0 for one in scores)
    }


def _row(fused: Fused) -> dict[str, Any]:
    measures = asdict(metrics.measure(fused.probabilities, fused.labels))
    return {"streams": list(fused.streams), "weights": list(fused.weights), **measures}


def _data(stage: EvaluateStage, samples: int) -> dict[str, Any]:
    protocol = stage.data.chosen
    return {
        "layout": stage.data.layout,
        "classes": list(stage.data.classes),
        "protocol": stage.data.protocol,
        "protocol_label": protocol.label or stage.data.protocol,
        "train_split": protocol.train,
        "test_split": protocol.test,
        "test_samples": samples,
    }


def _notices(stage: EvaluateStage, inputs: Inputs) -> list[dict[str, str]]:
    label = stage.data.chosen.label or stage.data.protocol
    notices = []
    if _SYNTHETIC.search(f"{stage.name} {stage.description} {label}"):
        notices.append({"kind": "synthetic", "text": "These numbers say nothing about real actions."})
    if _LEAKS.search(f"{stage.data.protocol} {label}"):
        text = f"The protocol says so itself: “{label}”. Do not read these numbers as accuracy on unseen data."
        notices.append({"kind": "leak", "text": text})
    if missing := _incomplete(inputs):
        notices.append({"kind": "incomplete", "text": "; ".join(missing) + "."})
    return notices


def _incomplete(inputs: Inputs) -> list[str]:
    last, planned = inputs.rounds[-1], max(training.rounds for training in inputs.training.values())
    missing = [f"scores are given up to round {last} of {planned}"] if last < planned else []
    for stream in inputs.streams:
        lacking = [str(number) for number in inputs.rounds if (stream, number) not in inputs.scores]
        if lacking:
            missing.append(f"stream {stream} has no scores of round {', '.join(lacking)}")
    others = {stream for stream, _ in (*inputs.confusions, *inputs.constraints) if stream} - set(inputs.streams)
    return missing + [f"stream {stream} has no scores" for stream in sorted(others)]


def _gain(ensembles: Mapping[int, Fused]) -> dict[str, Any] | None:
    first, last = min(ensembles), max(ensembles)
    if first == last or ensembles[first].streams != ensembles[last].streams:
        return None
    correct = {number: _correct(ensembles[number]) for number in (first, last)}
    difference = correct[last] - correct[first]
    return {
        "from_round": first,
        "to_round": last,
        "correct": difference,
        "top1": difference / len(ensembles[last].labels),
    }


def _correct(fused: Fused) -> int:
    return int((fused.probabilities.argmax(axis=1) == fused.labels).sum())


def _streams(inputs: Inputs) -> list[dict[str, Any]]:
    rows = []
    for key, scores in inputs.scores.items():
        confusion = inputs.confusions.get(key)
        rows.append(
            {
                "stream": scores.stream,
                "round": scores.round,
                "clips": scores.clips,
                "train_top1": metrics.accuracy(confusion.train) if confusion else None,
                **asdict(metrics.measure(scores.probabilities, scores.labels)),
            }
        )
    return rows


def _ensembles(inputs: Inputs, configured: Mapping[int, Fused]) -> list[dict[str, Any]]:
    rows = []
    for number in inputs.rounds:
        scores = inputs.scores_of_round(number)
        if number in configured:
            rows.append({"name": CONFIGURED, "round": number, **_row(configured[number])})
        for name, weights in PUBLISHED.items():
            if weights.keys() <= {one.stream for one in scores}:
                rows.append({"name": name, "round": number, **_row(fuse(scores, weights))})
    return rows


def _classes(stage: EvaluateStage, ensembles: Mapping[int, Fused]) -> list[dict[str, Any]]:
    counts = {number: metrics.confusion_matrix(one.probabilities, one.labels) for number, one in ensembles.items()}
    recalls = {number: metrics.recall(one) for number, one in counts.items()}
    first, last = min(counts), max(counts)
    samples, precisions = counts[last].sum(axis=1), metrics.precision(counts[last])
    return [
        {
            "label": label,
            "name": name,
            "samples": int(samples[label]),
            "recall": _number(recalls[last][label]),
            "precision": _number(precisions[label]),
            "recall_by_round": {str(number): _number(recall[label]) for number, recall in recalls.items()},
            "change": _number(recalls[last][label] - recalls[first][label]) if first != last else None,
        }
        for label, name in enumerate(stage.data.classes)
    ]


def _number(value: float) -> float | None:
    return None if np.isnan(value) else float(value)


def _history(inputs: Inputs) -> dict[str, list[dict[str, Any]]]:
    epochs: dict[str, dict[int, EpochRecord]] = {stream: {} for stream in inputs.streams}
    for scores in inputs.scores.values():  # by ascending round: the later record of an epoch stands
        epochs[scores.stream].update({record.epoch: record for record in scores.history})
    return {
        stream: [record.model_dump(mode="json") for _, record in sorted(records.items())]
        for stream, records in epochs.items()
    }
