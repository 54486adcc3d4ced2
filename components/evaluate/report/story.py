"""The run in one minute: six questions and their answers, the same on the page and in the terminal."""

from __future__ import annotations

from dataclasses import dataclass

from components.contracts.metric_parts import Interval
from components.contracts.metrics import Gain, Metrics
from components.contracts.skeleton import STREAM_NAMES, STREAMS
from components.evaluate.report.doubts import accepted, grave, in_one_line
from components.evaluate.wording import (
    counted,
    listed,
    money,
    p_value,
    percent,
    points,
    points_span,
    signed,
    signed_span,
    span,
)

SIGNIFICANT = 0.05
MORE_TRAINING = (
    "A later round has also trained for more epochs; this comparison does not separate that from the agent’s guidance."
)


@dataclass(frozen=True)
class Answer:
    """``status`` colours the answer: good, bad, warn or empty."""

    question: str
    text: str
    status: str = ""


def story(metrics: Metrics) -> list[Answer]:
    """Return the answers for a reader who has one minute."""
    return [
        Answer("What was trained?", _trained(metrics)),
        Answer("How good is it?", _good(metrics)),
        Answer("What did the loop do?", _loop(metrics)),
        _helped(metrics),
        Answer("What is confused?", _confused(metrics)),
        _suspicious(metrics),
    ]


def _trained(metrics: Metrics) -> str:
    data, training = metrics.data, metrics.training
    streams = listed([f"{STREAM_NAMES[stream]} ({stream})" for stream in sorted(training, key=STREAMS.index)], 6)
    ours = [one for one in training.values() if not one.imported]
    samples = f"{counted(data.train_samples, 'sample')} of " if data.train_samples is not None else ""
    text = f"{counted(len(training), 'stream')}: {streams}; {samples}{counted(len(data.classes), 'class', 'classes')}, "
    if data.held_out_samples:
        held_out, whole = data.held_out_samples, data.train_samples is not None
        text += f"{f'{held_out} of them' if whole else counted(held_out, 'training sample')} held out from training, "
    text += f"protocol “{data.protocol_label}”"
    if ours:
        epochs, seeds = {one.epochs for one in ours}, {one.seed for one in ours}
        text += f"; {_joined(epochs)} epochs in {counted(max(one.rounds for one in ours), 'round')}, "
        text += f"seed {_joined(seeds)} (how much another seed would change is not known from one run)"
    return f"{text}."


def _joined(values: set[int]) -> str:
    return " or ".join(str(value) for value in sorted(values))


def _good(metrics: Metrics) -> str:
    data, headline = metrics.data, metrics.headline
    return (
        f"{percent(headline.top1)} top-1 {recogniser(metrics)} after round {headline.round}: {headline.correct} of "
        f"{data.test_samples} test samples, 95\u202f% interval {span(headline.intervals.top1)}. Uniform "
        f"guessing would reach {percent(1 / len(data.classes))}{_baselines(metrics)}.{_learnt(metrics)}"
    )


def _baselines(metrics: Metrics) -> str:
    return "".join(f", {one.name} {percent(one.top1)}" for one in metrics.baselines)


def _learnt(metrics: Metrics) -> str:
    """The ensemble with learnt weights, if there is one."""
    row = next((row for row in metrics.last if row.name == "learnt ensemble"), None)
    if row is None or row.against is None:
        return ""
    weights = ", ".join(f"{stream} {weight:.2f}" for stream, weight in zip(row.streams, row.weights, strict=True))
    known = counted(metrics.data.held_out_samples, "held-out training sample")
    top1, against = percent(row.top1), p_value(row.against.p_value)
    return f" With weights learnt from {known} ({weights}) it is {top1}, {against}."


def recogniser(metrics: Metrics) -> str:
    """Who made the headline."""
    streams = metrics.headline.streams
    if len(streams) > 1:
        return f"by the ensemble of {len(streams)} streams"
    return f"by the {STREAM_NAMES[streams[0]]} stream"


def _loop(metrics: Metrics) -> str:
    loop, answers = metrics.loop, [entry for entry in metrics.constraints if entry.round > 0]
    if not metrics.constraints:
        return "Not known: no constraints artifacts were given to this evaluation."
    if not answers:
        return "There was one round: the agent gave the prior before training and was not asked again."
    rounds = len({entry.round for entry in answers})
    streams = len({entry.stream for entry in answers})
    if nobody_answered(metrics):
        return _nobody(metrics, streams, rounds)
    text = f"The agent saw the training mistakes of {counted(streams, 'stream')} after {counted(rounds, 'round')}"
    if loop.asked is not None:
        text += f" and was asked about {counted(loop.asked, 'class', 'classes')} (counted per stream and round)"
    text += f"; about {loop.told or 'none'} it said something new"
    joints = sum(row.joints_changed or 0 for row in loop.rounds)
    texts = sum(row.descriptions_changed or 0 for row in loop.rounds)
    text += f" (other critical joints for {joints}, another description for {texts})." if loop.told else "."
    if loop.tokens:
        cost = f", cost {money(loop.cost)}" if loop.cost is not None else ""
        text += f" It took {counted(loop.tokens, 'token')}{cost}."
    return text


def nobody_answered(metrics: Metrics) -> bool:
    """Whether it is known that nobody was asked between rounds: there was no LLM, or nothing to ask it."""
    loop = metrics.loop
    if loop.asked or any(row.answered for row in loop.rounds):
        return False
    return loop.asked == 0 or any(row.measured for row in loop.rounds)


def _nobody(metrics: Metrics, streams: int, rounds: int) -> str:
    measured = sum(row.measured for row in metrics.loop.rounds)
    changed = sum(row.joints_changed or 0 for row in metrics.loop.rounds)
    after = f"after {counted(rounds, 'round')} of {counted(streams, 'stream')}"
    if not measured:
        return f"Nobody was asked {after}, and no joints were measured from the data: every class kept its guidance."
    classes = counted(measured, "class", "classes")
    return (
        f"Nobody was asked {after}: the joints of {classes} (counted per stream and round) were measured from the "
        f"training data; for {changed} they are other ones than before."
    )


def followed_in_words(metrics: Metrics) -> str:
    """Which joints the next round followed, the LLM's or the measured ones; empty where that cannot be compared."""
    found = metrics.loop.followed
    if found is None:
        return ""
    text = (
        f"The joints of {counted(found.measured, 'class', 'classes')} (counted per stream and round) are mostly those "
        f"that separate the class best in the training data, those of {found.said} mostly others."
    )
    if recall := found.recall:
        text += (
            f" In the next round the recall of the former changed by {points(recall.measured[1] - recall.measured[0])} "
            f"points, that of the latter by {points(recall.said[1] - recall.said[0])}: "
            f"{_compared('accuracy', recall.difference, recall.interval)}"
        )
    if looked := found.evidence:
        changes = [points(after - before) for before, after in (looked.measured, looked.said)]
        text += (
            f" Where the two differ ({counted(looked.classes, 'class', 'classes')}), the network’s evidence moved by "
            f"{changes[0]} points on joints that were only measured and by {changes[1]} on those that only the "
            f"guidance names: {_compared('where it looked', looked.difference, looked.interval)}"
        )
    if not (found.recall or found.evidence):
        return f"{text} Which of both the next round followed cannot be compared."
    return f"{text} The two groups were not drawn by lot: this is a hint and no proof."


def _compared(what: str, difference: float, interval: Interval) -> str:
    about = f"a difference of {points(difference)}, 95\u202f% interval {points_span(interval)}"
    if interval.low <= 0 <= interval.high:
        return f"{about}, which is within chance."
    return f"{about}, so {what} followed the {'measured joints' if difference > 0 else 'guidance’s own joints'}."


def _helped(metrics: Metrics) -> Answer:
    question, gain = "Did it help?", metrics.gain
    guidance, status = _guidance(metrics)
    guess = _guess(metrics)
    if not gain:
        return Answer(question, f"{guidance}{guess}", status)
    return Answer(question, f"{guidance}{guess} {gained(gain)}", status)


def gained(gain: Gain) -> str:
    """What changed from the first round to the last, for whatever reason."""
    start = f"From round {gain.from_round} to round {gain.to_round} the ensemble"
    samples = counted(abs(gain.correct), "sample")
    about = f"95\u202f% interval {points_span(gain.interval)}, {p_value(gain.p_value)}"
    if gain.correct == 0:
        return f"{start}: it gained nothing: the same number of samples is right."
    sure = "" if gain.p_value < SIGNIFICANT else ": within chance"
    if gain.correct < 0:
        return f"{start}: it gained nothing: {points(gain.top1)} points ({samples} fewer; {about}{sure})."
    return f"{start} gained {points(gain.top1)} points ({samples}; {about}{sure}). {MORE_TRAINING}"


def _guidance(metrics: Metrics) -> tuple[str, str]:
    loop = metrics.loop
    if not [entry for entry in metrics.constraints if entry.round > 0]:
        return "Cannot be told: nothing was said between rounds.", ""
    if not loop.told:
        why = "no class got other joints" if nobody_answered(metrics) else "the agent said nothing new"
        return f"The guidance gained nothing: {why}, so rounds differ by training alone.", "warn"
    effect = loop.effect
    if effect is None or effect.difference is None or effect.interval is None:
        return "Cannot be told: the confusions that were addressed did not occur on the test split.", ""
    (before, after), (others_before, others_after) = effect.addressed, effect.others
    counts = f"confusions it addressed went from {before} to {after}, all others from {others_before} to {others_after}"
    about = f"difference of the ratios {signed(effect.difference)}, 95\u202f% interval {signed_span(effect.interval)}"
    if effect.verdict == "gain":
        text = f"The guidance may have helped: {counts} ({about}). The worst confusions also improve by themselves: "
        return f"{text}compare with a run without an agent.", "good"
    if effect.verdict == "loss":
        return f"The guidance gained nothing: {counts}, so the addressed ones fell less ({about}).", "warn"
    return f"The guidance gained nothing that can be told from chance: {counts} ({about}).", "warn"


def _guess(metrics: Metrics) -> str:
    """The agent's guess at its own effect, by the latest round after which it said something new."""
    row = next((row for row in reversed(metrics.loop.rounds) if row.effect), None)
    if row is None or row.effect is None:
        return ""
    effect = row.effect
    ours, others = (after - before for before, after in (effect.addressed_recall, effect.others_recall))
    sure = effect.interval.low > 0 or effect.interval.high < 0
    return (
        f" By class: after round {row.round} the recall of {counted(effect.addressed, 'class', 'classes')} that it "
        f"addressed changed by {points(ours)} points, that of the {effect.others} others by {points(others)}: a "
        f"difference of {points(effect.difference)}, 95\u202f% interval {points_span(effect.interval)}"
        f"{'' if sure else ', which is within chance'}."
    )


def _confused(metrics: Metrics) -> str:
    names = metrics.data.classes
    samples = {row.label: row.samples for row in metrics.classes}
    pairs = [
        f"{names[pair.true]} taken for {names[pair.predicted]} ({pair.count} of {samples[pair.true]})"
        for pair in metrics.confused_pairs[:3]
    ]
    return f"Most often {'; '.join(pairs)}." if pairs else "No test sample was taken for another class."


def _suspicious(metrics: Metrics) -> Answer:
    question, found = "What is suspicious?", metrics.checks
    bad, warn = ([check for check in found if check.status == status] for status in ("bad", "warn"))
    looked = [f"{check.name}: {check.text}" for check in bad + warn]
    notices = [notice.text for notice in metrics.notices if notice.kind != "incomplete"]
    doubts = [in_one_line(metrics.data)] if grave(metrics.data) else []
    unknown = sum(check.status == "unknown" for check in found)
    passed = f"{counted(sum(check.status == 'ok' for check in found), 'check')} passed"
    passed += f", {unknown} could not be made." if unknown else "."
    status = "warn" if warn or doubts else "" if unknown else "good"
    if bad or notices or accepted(metrics.data):
        status = "bad"
    found_so = [*notices, *doubts, *looked]
    return Answer(question, f"{' '.join(found_so) or 'Nothing was found:'} {passed}", status)
