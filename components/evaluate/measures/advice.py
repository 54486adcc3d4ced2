"""What to do next, from what the numbers show. Nothing here is tuned on the test split without saying so."""

from __future__ import annotations

from collections.abc import Iterator

from components.contracts.history import EpochRecord
from components.contracts.metrics import Advice, GroupErrors, Metrics
from components.contracts.skeleton import STREAM_NAMES
from components.evaluate.wording import counted, listed, p_value, percent, points

_RISING = 0.02
"""Training accuracy that rose by this share over the last fifth of the epochs has not settled."""
_LEARNT, _KNOWN, _OVERFIT = 0.9, 0.95, 0.25
"""Training accuracies that are enough, and with which rising is no reason to go on; and a gap to the test split."""
_FEW_IN_A_CLASS = 3


def advice(metrics: Metrics) -> list[Advice]:
    """Return what is worth doing, the most worthwhile first. ``metrics`` lacks only this."""
    return [
        Advice(kind=kind, text=text)
        for find in (_inert, _baseline, _training, _streams, _classes, _groups)
        for kind, text in find(metrics)
    ]


def _inert(metrics: Metrics) -> Iterator[tuple[str, str]]:
    statuses = {status for entry in metrics.constraints for status, count in entry.status.items() if count}
    if statuses and statuses <= {"no-prior", "kept"}:
        yield (
            "guidance off",
            "The constraint head is off: no prior was found for any class and no LLM was asked, so all joints count "
            "alike. Write priors for your classes (agent.priors: my_priors.yaml), or name an LLM (agent.provider: "
            "openai, agent.model, agent.base_url and the key in OPENAI_API_KEY).",
        )


def _baseline(metrics: Metrics) -> Iterator[tuple[str, str]]:
    ends = [records[-1].top1 for records in _trained(metrics).values()]
    learnt = bool(ends) and min(ends) >= _LEARNT
    cause = "what it knows of its training samples does not carry over" if learnt else "it has learnt little"
    then = "then at its views and subjects in training and test" if learnt else "then train longer"
    for one in metrics.baselines:
        if one.top1 >= metrics.headline.top1:
            yield (
                "baseline",
                f"{one.name} reaches {percent(one.top1)}, no less than this run ({percent(metrics.headline.top1)}): "
                f"the network is no better, {cause}. Look at the data first (python -m components.preprocess "
                f"inspect), {then}.",
            )


def _training(metrics: Metrics) -> Iterator[tuple[str, str]]:
    rising, short, overfit = [], [], []
    for stream, records in _trained(metrics).items():
        tested = [row.top1 for row in metrics.streams if row.stream == stream][-1]
        ending = records[-1].top1
        if ending - tested > _OVERFIT:
            overfit.append(stream)
        elif ending <= _KNOWN and _rise(records) > _RISING:
            rising.append(stream)
        elif ending < _LEARNT:
            short.append(stream)
    epochs = max((one.epochs for one in metrics.training.values()), default=0)
    if rising:
        yield (
            "train longer",
            f"Training accuracy was still rising at the end ({_named(rising)}): train longer, for example "
            f"train.epochs={2 * epochs}.",
        )
    elif short:
        ends = ", ".join(percent(metrics.history[stream][-1].top1) for stream in short)
        yield (
            "underfit",
            f"Training accuracy settled at {ends} ({_named(short)}), so the network does not know its own training "
            f"samples: train longer (train.epochs={2 * epochs}), or weaken the augmentation, or enlarge the network.",
        )
    if overfit:
        yield (
            "overfit",
            f"Training accuracy is far above that of the test split ({_named(overfit)}): more data, more augmentation "
            "or a smaller network would help more than longer training.",
        )


def _trained(metrics: Metrics) -> dict[str, list[EpochRecord]]:
    """Return the epochs of every stream that was trained in this run, not imported."""
    return {
        stream: records
        for stream, records in metrics.history.items()
        if records and not metrics.training[stream].imported
    }


def _rise(records: list[EpochRecord]) -> float:
    """How much the mean training accuracy of the last fifth of the epochs is above that of the fifth before."""
    fifth = len(records) // 5
    if not fifth:
        return 0.0
    last, before = records[-fifth:], records[-2 * fifth : -fifth]
    return sum(one.top1 for one in last) / fifth - sum(one.top1 for one in before) / fifth


def _streams(metrics: Metrics) -> Iterator[tuple[str, str]]:
    for stream, row in metrics.without.items():
        if row.difference < 0:
            yield (
                "stream lowers",
                f"The {STREAM_NAMES[stream]} stream ({stream}) lowers the ensemble by {points(-row.difference)[1:]} "
                f"points ({p_value(row.p_value)}). Before you leave it out (evaluate.weights.{stream}: 0), let "
                "held-out training samples say so too (train.held_out): the test split must not choose.",
            )


def _classes(metrics: Metrics) -> Iterator[tuple[str, str]]:
    names = metrics.data.classes
    lost = [row for row in metrics.classes if row.recall == 0 and row.samples >= _FEW_IN_A_CLASS]
    if not lost:
        return
    described = []
    for row in lost:
        counts = metrics.confusion[row.label]
        other = max(range(len(counts)), key=lambda label: (counts[label], -label))
        described.append(f"{row.name} (0 of {row.samples}, mostly taken for {names[other]})")
    yield (
        "class lost",
        f"{counted(len(lost), 'class is', 'classes are')} never recognised: {listed(described, 3)}. Look at "
        "their samples below: a wrong label, too few training samples, or two names for one motion?",
    )


def _groups(metrics: Metrics) -> Iterator[tuple[str, str]]:
    for kind in ("subject", "view"):
        groups = [one for one in metrics.groups if one.kind == kind]
        errors, samples = sum(one.wrong for one in groups), sum(one.samples for one in groups)
        worst = max(groups, key=_errors, default=None)
        if worst is None or 2 * worst.wrong < errors or errors < _FEW_IN_A_CLASS or 3 * worst.samples > samples:
            continue
        yield (
            f"one {kind}",
            f"{kind.capitalize()} {worst.name} has {worst.wrong} of all {errors} errors with {worst.samples} of "
            f"{samples} samples: look at its recordings (python -m components.preprocess inspect --plot).",
        )


def _errors(one: GroupErrors) -> int:
    return one.wrong


def _named(streams: list[str]) -> str:
    return f"stream{'s' if len(streams) > 1 else ''} {', '.join(streams)}"
