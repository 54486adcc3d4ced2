"""The numbers of a run, as they stand in ``metrics.json``: see ``contracts.metrics`` for what each means."""

from __future__ import annotations

import re
from collections.abc import Mapping

from components.contracts import accuracy
from components.contracts.config import EvaluateStage
from components.contracts.errors import InputError
from components.contracts.history import EpochRecord
from components.contracts.metrics import (
    Baseline,
    Calibration,
    Data,
    Gain,
    Headline,
    HeldOutTempered,
    Intervals,
    Metrics,
    Notice,
    Tempered,
    Training,
)
from components.contracts.skeleton import load_layout
from components.evaluate.inputs import Inputs
from components.evaluate.measures import calibration
from components.evaluate.measures.advice import advice
from components.evaluate.measures.baseline import nearest_neighbour
from components.evaluate.measures.checks import checks
from components.evaluate.measures.doubts import recorded
from components.evaluate.measures.ensemble import Fused, fuse
from components.evaluate.measures.groups import group_errors
from components.evaluate.measures.guidance import guidance
from components.evaluate.measures.loop import loop
from components.evaluate.measures.statistics import mean_class_interval, paired, share_interval
from components.evaluate.measures.tables import (
    class_rows,
    described,
    ensemble_rows,
    stream_rows,
    top1_interval,
    without_each,
)

MOST_CONFUSED = 20
# A label speaks for itself; "leaked twins removed" and "no leaks" say that it does not leak.
_LEAKS = re.compile(r"(?<!no )(?<!not )(?<!without )\b(leaky|leaks|leaking)\b(?! removed| excluded)", re.IGNORECASE)
_SYNTHETIC = re.compile(r"\bsynthetic\b", re.IGNORECASE)


def summarise(stage: EvaluateStage, inputs: Inputs) -> Metrics:
    """Compute everything that the report says.

    Raises:
        InputError: no stream with scores at the last round has a positive weight.
    """
    ensembles = _configured(stage, inputs)
    headline = ensembles[inputs.rounds[-1]]
    counts = accuracy.confusion_matrix(headline.probabilities, headline.labels)
    (rows, last), said = ensemble_rows(inputs, ensembles), guidance(inputs)
    found = Metrics(
        name=stage.name,
        description=stage.description,
        data=_data(stage, inputs, len(headline.labels)),
        training=_training(inputs),
        notices=_notices(stage, inputs),
        checks=checks(stage, inputs),
        headline=_headline(inputs.rounds[-1], headline, int(counts.trace())),
        calibration=_calibration(inputs, headline),
        gain=_gain(ensembles),
        streams=stream_rows(inputs),
        ensembles=rows,
        last=last,
        without=without_each(inputs, headline),
        confusion=counts.tolist(),
        confused_pairs=accuracy.most_confused(counts, MOST_CONFUSED),
        classes=class_rows(stage, ensembles),
        constraints=said,
        loop=loop(inputs, ensembles, said),
        history=_history(inputs),
        baselines=_baselines(stage, inputs, headline),
        groups=group_errors(next(iter(inputs.scores.values())).sample_ids, headline.correct),
    )
    return found.model_copy(update={"advice": advice(found)})


def headline_of(stage: EvaluateStage, inputs: Inputs) -> Fused:
    """Return the configured ensemble of the last round."""
    return fuse(inputs.scores_of_round(inputs.rounds[-1]), _weights(stage), aligned=True)


def _weights(stage: EvaluateStage) -> dict[str, float]:
    return {str(stream): weight for stream, weight in stage.evaluate.weights.items()}


def _configured(stage: EvaluateStage, inputs: Inputs) -> dict[int, Fused]:
    """Return the configured ensemble of every round that has a weighted stream."""
    weights, last = _weights(stage), inputs.rounds[-1]
    if not any(weights.get(one.stream, 0) > 0 for one in inputs.scores_of_round(last)):
        found = ", ".join(one.stream for one in inputs.scores_of_round(last))
        raise InputError(f"evaluate.weights: no stream with scores of round {last} ({found}) has a positive weight")
    rounds = {number: inputs.scores_of_round(number) for number in inputs.rounds}
    return {
        number: fuse(scores, weights, aligned=True)
        for number, scores in rounds.items()
        if any(weights.get(one.stream, 0) > 0 for one in scores)
    }


def _baselines(stage: EvaluateStage, inputs: Inputs, headline: Fused) -> list[Baseline]:
    found = [nearest_neighbour(stage, inputs.dataset)] if inputs.dataset else []
    for one in inputs.baselines:
        against = paired(headline.correct, one.correct)
        found.append(Baseline(name=one.stream, top1=one.top1, interval=top1_interval(one), against=against))
    return found


def _headline(number: int, fused: Fused, hits: int) -> Headline:
    samples, classes = fused.probabilities.shape
    among = round(accuracy.top_k(fused.probabilities, fused.labels, 5) * samples)
    return Headline(
        round=number,
        correct=hits,
        **described(fused),
        mean_average_precision=accuracy.mean_average_precision(fused.probabilities, fused.labels),
        intervals=Intervals(
            top1=top1_interval(fused),
            top5=share_interval(among, samples),
            mean_class=mean_class_interval(fused.probabilities.argmax(axis=1), fused.labels, classes),
        ),
    )


def _calibration(inputs: Inputs, headline: Fused) -> Calibration:
    """Describe how far probabilities are from the share that is correct."""
    bins = calibration.reliability(headline.probabilities, headline.labels)
    diagnosis = held_out = None
    if len(headline.labels) >= 2 * calibration.BINS:
        temperature, error = calibration.crossed_temperature(headline.probabilities, headline.labels)
        diagnosis = Tempered(temperature=temperature, error=error)
    if set(headline.streams) <= {one.stream for one in inputs.held_out}:
        weights = dict(zip(headline.streams, headline.weights, strict=True))
        known = fuse(inputs.held_out, weights, aligned=True)
        temperature = calibration.fit_temperature(known.probabilities, known.labels)
        after = calibration.reliability(calibration.tempered(headline.probabilities, temperature), headline.labels)
        error = calibration.calibration_error(after)
        held_out = HeldOutTempered(temperature=temperature, error=error, samples=len(known.labels))
    return Calibration(bins=bins, error=calibration.calibration_error(bins), diagnosis=diagnosis, held_out=held_out)


def _data(stage: EvaluateStage, inputs: Inputs, samples: int) -> Data:
    protocol, known = stage.data.chosen, recorded(inputs.dataset)
    return Data(
        layout=load_layout(stage.data.layout).name,
        classes=list(stage.data.classes),
        protocol=stage.data.protocol,
        protocol_label=protocol.label or stage.data.protocol,
        train_split=protocol.train,
        test_split=protocol.test,
        test_samples=samples,
        train_samples=len(inputs.dataset.split(protocol.train)) if inputs.dataset else None,
        held_out_samples=len(inputs.held_out[0].labels) if inputs.held_out else 0,
        doubts=known.doubts,
        lost=known.lost,
    )


def _training(inputs: Inputs) -> dict[str, Training]:
    imported = {stream for (stream, _), origin in inputs.origins.items() if "imported" in origin}
    return {
        stream: Training(
            epochs=training.train.epochs, rounds=training.rounds, seed=training.seed, imported=stream in imported
        )
        for stream, training in inputs.training.items()
    }


def _notices(stage: EvaluateStage, inputs: Inputs) -> list[Notice]:
    label = stage.data.chosen.label or stage.data.protocol
    notices = []
    if _SYNTHETIC.search(f"{stage.name} {stage.description} {label}"):
        notices.append(Notice(kind="synthetic", text="These numbers say nothing about real actions."))
    if _LEAKS.search(f"{stage.data.protocol} {label}"):
        text = f"The protocol says so itself: “{label}”. Do not read these numbers as accuracy on unseen data."
        notices.append(Notice(kind="leak", text=text))
    if missing := _incomplete(inputs):
        notices.append(Notice(kind="incomplete", text="; ".join(missing) + "."))
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


def _gain(ensembles: Mapping[int, Fused]) -> Gain | None:
    first, last = min(ensembles), max(ensembles)
    if first == last or ensembles[first].streams != ensembles[last].streams:
        return None
    found = paired(ensembles[first].correct, ensembles[last].correct)
    return Gain(
        from_round=first,
        to_round=last,
        correct=found.won - found.lost,
        top1=found.difference,
        won=found.won,
        lost=found.lost,
        interval=found.interval,
        p_value=found.p_value,
    )


def _history(inputs: Inputs) -> dict[str, list[EpochRecord]]:
    epochs: dict[str, dict[int, EpochRecord]] = {stream: {} for stream in inputs.streams}
    for scores in inputs.scores.values():  # by ascending round: the later record of an epoch stands
        epochs[scores.stream].update({record.epoch: record for record in scores.history})
    return {stream: [record for _, record in sorted(records.items())] for stream, records in epochs.items()}
