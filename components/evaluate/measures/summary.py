"""The numbers of a run, as they stand in ``metrics.json``. All accuracies are fractions from 0 to 1.

Intervals (``low``, ``high``) are 95 % bootstrap intervals over test samples, p-values those of McNemar's exact test.

========================  ==============================================================================
key                       value
========================  ==============================================================================
``name, description``     of the experiment
``data``                  ``layout``, ``classes`` (names), ``protocol``, ``protocol_label``, ``train_split``,
                          ``test_split``, ``test_samples``, ``train_samples`` (null without the dataset),
                          ``held_out_samples`` (of the training split, from which weights were learnt)
``training``              per stream: ``epochs``, ``rounds``, ``seed``, ``imported``
``notices``               what a reader must know first: ``kind`` (synthetic, leak, incomplete) and ``text``
``checks``                see ``checks.checks``
``headline``              the configured ensemble at the last round: ``round``, ``streams``, ``weights``,
                          ``correct`` (samples), ``top1``, ``top5``, ``mean_class``,
                          ``mean_average_precision``, ``intervals`` (of the first three)
``calibration``           of the headline, see ``_calibration``
``gain``                  last round against first round, same ensemble: ``from_round``, ``to_round``,
                          ``top1``, ``correct``, ``won``, ``lost``, ``interval``, ``p_value``; null after one
                          round or if the streams differ
``streams``               per stream and round: ``stream``, ``round``, ``clips``, ``train_top1`` (null if
                          there is no confusion artifact), ``top1``, ``top5``, ``mean_class``, ``interval``
``ensembles``             per round: ``name`` (configured, uniform, published N-stream, learnt), ``round``,
                          ``streams``, ``weights``, ``top1``, ``top5``, ``mean_class``, ``interval``
``last``                  every stream and ensemble of the last round: ``name``, ``streams``, ``weights``,
                          the measures and ``mean_average_precision``, ``interval``, and ``against``: it against
                          the headline (``statistics.Paired``; null for the headline itself)
``without``               per stream of an ensemble: the headline against the ensemble without that stream
``confusion``             of the headline: counts ``[true][predicted]``
``confused_pairs``        its largest off-diagonal cells: ``true``, ``predicted`` (class numbers), ``count``,
                          ``share`` (of the true class)
``classes``               per class: ``label``, ``name``, ``samples``, ``recall``, ``precision`` (headline; null
                          where undefined), ``recall_by_round`` (configured ensemble), ``change`` (last round
                          minus first)
``constraints``           what the agent said, see ``guidance.guidance``
``loop``                  what came of it, see ``loop.loop``
``history``               per stream: the training epochs
========================  ==============================================================================
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import asdict
from typing import Any

import numpy as np

from components.contracts import accuracy as metrics
from components.contracts.config import EvaluateStage
from components.contracts.errors import InputError
from components.contracts.history import EpochRecord
from components.contracts.scores import Scores
from components.contracts.skeleton import STREAM_NAMES
from components.evaluate.inputs import Inputs
from components.evaluate.measures import calibration
from components.evaluate.measures.checks import checks
from components.evaluate.measures.ensemble import PUBLISHED, Fused, fuse, learnt_weights, proportional, right
from components.evaluate.measures.guidance import guidance
from components.evaluate.measures.loop import loop
from components.evaluate.measures.statistics import mean_class_interval, paired, share_interval

CONFIGURED = "configured"
UNIFORM = "uniform"
LEARNT = "learnt"
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
    (rows, final), said = _ensembles(inputs, ensembles), guidance(inputs)
    return {
        "name": stage.name,
        "description": stage.description,
        "data": _data(stage, inputs, len(headline.labels)),
        "training": _training(inputs),
        "notices": _notices(stage, inputs),
        "checks": checks(stage, inputs),
        "headline": {
            "round": last,
            "correct": int(counts.trace()),
            **_described(headline),
            "mean_average_precision": metrics.mean_average_precision(headline.probabilities, headline.labels),
            "intervals": _intervals(headline),
        },
        "calibration": _calibration(inputs, headline),
        "gain": _gain(ensembles),
        "streams": _streams(inputs),
        "ensembles": rows,
        "last": final,
        "without": _without(inputs, headline),
        "confusion": counts.tolist(),
        "confused_pairs": [asdict(pair) for pair in metrics.most_confused(counts, MOST_CONFUSED)],
        "classes": _classes(stage, ensembles),
        "constraints": said,
        "loop": loop(inputs, ensembles, said),
        "history": _history(inputs),
    }


def headline_of(stage: EvaluateStage, inputs: Inputs) -> Fused:
    """Return the configured ensemble of the last round."""
    weights: dict[str, float] = {str(stream): weight for stream, weight in stage.evaluate.weights.items()}
    return fuse(inputs.scores_of_round(inputs.rounds[-1]), weights, aligned=True)


def _configured(inputs: Inputs, weights: Mapping[str, float]) -> dict[int, Fused]:
    """Return the configured ensemble of every round that has a weighted stream."""
    last = inputs.rounds[-1]
    if not any(weights.get(one.stream, 0) > 0 for one in inputs.scores_of_round(last)):
        found = ", ".join(one.stream for one in inputs.scores_of_round(last))
        raise InputError(f"evaluate.weights: no stream with scores of round {last} ({found}) has a positive weight")
    rounds = {number: inputs.scores_of_round(number) for number in inputs.rounds}
    return {
        number: fuse(scores, weights, aligned=True)
        for number, scores in rounds.items()
        if any(weights.get(one.stream, 0) > 0 for one in scores)
    }


def _described(fused: Fused) -> dict[str, Any]:
    measures = asdict(metrics.measure(fused.probabilities, fused.labels))
    return {"streams": list(fused.streams), "weights": list(fused.weights), **measures}


def _interval(one: Fused | Scores) -> dict[str, float]:
    return asdict(share_interval(int(right(one).sum()), len(one.labels)))


def _intervals(fused: Fused) -> dict[str, dict[str, float]]:
    samples, classes = fused.probabilities.shape
    among = round(metrics.top_k(fused.probabilities, fused.labels, 5) * samples)
    return {
        "top1": _interval(fused),
        "top5": asdict(share_interval(among, samples)),
        "mean_class": asdict(mean_class_interval(right(fused), fused.labels, classes)),
    }


def _calibration(inputs: Inputs, headline: Fused) -> dict[str, Any]:
    """Describe how far probabilities are from the share that is right.

    Returns:
        ``bins`` and ``error`` (expected calibration error); ``diagnosis``: ``temperature`` and ``error`` where each
        half of the test samples tempers the other (it uses their labels: nothing else does it touch);
        ``held_out``: the same with the temperature fitted on held-out training samples, null without them.
    """
    bins = calibration.reliability(headline.probabilities, headline.labels)
    found: dict[str, Any] = {
        "bins": [asdict(one) for one in bins],
        "error": calibration.calibration_error(bins),
        "diagnosis": None,
        "held_out": None,
    }
    if len(headline.labels) >= 2 * calibration.BINS:
        temperature, error = calibration.crossed_temperature(headline.probabilities, headline.labels)
        found["diagnosis"] = {"temperature": temperature, "error": error}
    if set(headline.streams) <= {one.stream for one in inputs.held_out}:
        weights = dict(zip(headline.streams, headline.weights, strict=True))
        known = fuse(inputs.held_out, weights, aligned=True)
        temperature = calibration.fit_temperature(known.probabilities, known.labels)
        after = calibration.reliability(calibration.tempered(headline.probabilities, temperature), headline.labels)
        error = calibration.calibration_error(after)
        found["held_out"] = {"temperature": temperature, "error": error, "samples": len(known.labels)}
    return found


def _data(stage: EvaluateStage, inputs: Inputs, samples: int) -> dict[str, Any]:
    protocol = stage.data.chosen
    return {
        "layout": stage.data.layout,
        "classes": list(stage.data.classes),
        "protocol": stage.data.protocol,
        "protocol_label": protocol.label or stage.data.protocol,
        "train_split": protocol.train,
        "test_split": protocol.test,
        "test_samples": samples,
        "train_samples": len(inputs.dataset.split(protocol.train)) if inputs.dataset else None,
        "held_out_samples": len(inputs.held_out[0].labels) if inputs.held_out else 0,
    }


def _training(inputs: Inputs) -> dict[str, dict[str, Any]]:
    imported = {stream for (stream, _), origin in inputs.origins.items() if "imported" in origin}
    return {
        stream: {
            "epochs": training.train.epochs,
            "rounds": training.rounds,
            "seed": training.seed,
            "imported": stream in imported,
        }
        for stream, training in inputs.training.items()
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
    found = paired(right(ensembles[first]), right(ensembles[last]))
    return {
        "from_round": first,
        "to_round": last,
        "correct": found.won - found.lost,
        "top1": found.difference,
        "won": found.won,
        "lost": found.lost,
        "interval": asdict(found.interval),
        "p_value": found.p_value,
    }


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
                "interval": _interval(scores),
            }
        )
    return rows


def _ensembles(inputs: Inputs, configured: Mapping[int, Fused]) -> tuple[list[dict[str, Any]], list[dict[str, Any]]]:
    """Return the rows of ``ensembles`` and of ``last``."""
    last = inputs.rounds[-1]
    every: list[dict[str, Any]] = []
    final: list[dict[str, Any]] = []
    for one in inputs.scores_of_round(last):
        fused = fuse([one], {one.stream: 1.0}, aligned=True)
        row = {"name": f"{STREAM_NAMES[one.stream]} alone", **_described(fused), "interval": _interval(fused)}
        final.append({**row, **_against(fused, configured[last])})
    for name, number, fused in _fused(inputs, configured):
        row = {"name": name, "round": number, **_described(fused), "interval": _interval(fused)}
        every.append(row)
        if number == last:
            final.append({**row, "name": f"{name} ensemble", **_against(fused, configured[last])})
    return every, final


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


def _against(fused: Fused, headline: Fused) -> dict[str, Any]:
    """What an ensemble of the last round has besides its row."""
    area = metrics.mean_average_precision(fused.probabilities, fused.labels)
    against = None if fused is headline else asdict(paired(right(headline), right(fused)))
    return {"mean_average_precision": area, "against": against}


def _without(inputs: Inputs, headline: Fused) -> dict[str, dict[str, Any]]:
    scores = inputs.scores_of_round(inputs.rounds[-1])
    weights = dict(zip(headline.streams, headline.weights, strict=True))
    found = {}
    for stream in headline.streams:
        others = {other: weight for other, weight in weights.items() if other != stream}
        if others:
            found[stream] = asdict(paired(right(fuse(scores, others, aligned=True)), right(headline)))
    return found


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
