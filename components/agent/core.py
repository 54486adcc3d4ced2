"""The agent stage: one round of guidance for the recogniser.

Round 0 makes constraints before any training: the written priors or, with an LLM, its answers about each
class. Round r takes the confusion that training round r left and the constraints it trained with, asks
about the classes whose confusions are new, and keeps what stands about the others. Where nobody has said anything
about a class, the training data do (see ``offline.measured``).
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, replace
from pathlib import Path

from components.agent.llm.budget import cost, estimate
from components.agent.llm.chat import ChatProvider
from components.agent.metrics import CONSTRAINTS
from components.agent.offline.measured import can_tell, joints_of, measured_reply, overlap
from components.agent.offline.priors import load_priors
from components.agent.offline.provider import NO_PRIOR, OfflineProvider, prior_constraints
from components.agent.providers import LOGGER, UNOBSERVED, Observer, Provider, Question, Reply
from components.agent.questioner import MEASURED, plan_round, plan_round_zero
from components.agent.questions import question_about
from components.agent.round import Round
from components.agent.selector import resolve, select, unchanged, uninformed
from components.agent.text.encoder import load_encoder
from components.contracts import confusion as confusions
from components.contracts import constraints
from components.contracts.agent_config import PACKAGED
from components.contracts.config import AgentStage
from components.contracts.confusion import Confusion
from components.contracts.constraints import ClassConstraint, Constraints, Status
from components.contracts.errors import InputError
from components.contracts.plan import Plan, PlannedClass
from components.contracts.skeleton import load_layout
from components.runtime.progress import progress
from components.runtime.store.interface import Documents


@dataclass(frozen=True)
class _Planned:
    """A planned round: what stands so far, whom to ask, what it was made from, and what was measured, if anything."""

    standing: list[ClassConstraint]
    plan: Plan
    made_from: dict[str, str]
    seen: Confusion | None = None


def run_round(
    what: Round, output: Path, *, cache: Documents | Path | None = None, observer: Observer = UNOBSERVED
) -> None:
    """Write the constraints of one round.

    Args:
        what: the round.
        output: where the ``constraints`` artifact is written.
        cache: where an LLM's answers are remembered and every request is logged, so that no question is paid
            for twice; ``None`` keeps neither.
        observer: follows the round, and may stop it.

    Raises:
        InputError: an input is missing, damaged, of another dataset, stream or round, or the provider is
            not configured. A provider that fails is no error: its classes keep their constraints.
        StoppedError: the observer stopped the round; nothing is written.
    """
    stage = what.stage
    if what.encoder is None and stage.agent.encoder != PACKAGED:
        raise InputError(f"config: agent.encoder: {stage.agent.encoder!r} is not at hand")
    provider = _provider(stage, cache)
    encoder = load_encoder(what.encoder, stage.agent.encoder)  # before anything is paid for
    planned = _plan(what)
    classes = _carry_out(planned, provider, what, observer)
    _log_summary(classes, planned.plan, what)
    text = encoder.encode([constraint.description for constraint in classes])
    result = Constraints(
        stage.data.layout, what.number, what.stream, encoder.name, tuple(classes), text, plan=planned.plan
    )
    made_from = planned.made_from | ({"encoder": encoder.sha256} if encoder.sha256 else {})
    constraints.write(output, result, made_from=made_from, config=stage)
    for constraint in classes:
        CONSTRAINTS.labels(constraint.provenance.status).inc()


def plan_of_round(what: Round) -> Plan:
    """Return the plan by which ``run_round`` would ask, without asking anything; errors are its."""
    return _plan(what).plan


def _provider(stage: AgentStage, cache: Documents | Path | None) -> Provider:
    if stage.agent.provider == "openai":
        return ChatProvider(stage.agent, cache=cache)
    return OfflineProvider(load_priors(stage.agent.priors))


def check_round(what: Round) -> None:
    """Raise what ``run_round`` would for its inputs, without planning anything."""
    load_priors(what.stage.agent.priors)
    if what.number:
        _open_inputs(what)
    elif what.confusion is not None or what.previous is not None:
        raise InputError("round 0 takes neither a confusion nor previous constraints")


def _plan(what: Round) -> _Planned:
    stage = what.stage
    priors, layout = load_priors(stage.agent.priors), load_layout(stage.data.layout)
    priors.check(stage.data.classes, layout)
    made_from = {"priors": priors.sha256} if priors.sha256 else {}
    if what.number == 0:
        check_round(what)
        standing = prior_constraints(stage.data.classes, stage.data.layout, priors, stage.agent.max_joints)
        plan = plan_round_zero(
            standing, stage.agent, lambda planned: estimate(question_about(planned, standing, stage), stage.agent)
        )
        return _Planned(standing, plan, made_from)
    counts, before = _open_inputs(what)
    seen, standing = counts if can_tell(counts) else None, list(before.classes)
    offline = stage.agent.provider == "offline"
    plan = plan_round(
        counts.train,
        standing,
        stage.agent,
        lambda planned: estimate(question_about(planned, standing, stage, seen), stage.agent),
        unanswerable={
            label for label, name in enumerate(stage.data.classes) if offline and priors.find(name, layout) is None
        },
        measurable=_measurable(seen, stage),
    )
    made_from |= {"confusion": counts.digest, "previous": before.digest}
    return _Planned(standing, plan, made_from, seen)


def _measurable(seen: Confusion | None, stage: AgentStage) -> set[int]:
    """Return the classes that some joint separates beyond chance."""
    if seen is None:
        return set()
    return {label for label in range(len(stage.data.classes)) if joints_of(seen, label, stage.agent.max_joints)}


def _carry_out(planned: _Planned, provider: Provider, what: Round, observer: Observer) -> list[ClassConstraint]:
    """Ask what the plan says and return all constraints, in label order."""
    plan, standing = planned.plan, planned.standing
    if what.number == 0 and what.stage.agent.provider == "offline":
        return standing  # the priors are what the offline provider has to say
    questions = [question_about(plan.classes[label], standing, what.stage, planned.seen) for label in plan.order]
    observer.planned(len(questions))
    with progress("agent", len(questions), LOGGER) as report:
        replies = provider.ask(questions, report, observer) if questions else []
    replied = {question.label: reply for question, reply in zip(questions, replies, strict=True)}
    return [_of_class(entry, replied.get(entry.label), planned, what) for entry in plan.classes]


def _of_class(entry: PlannedClass, reply: Reply | None, planned: _Planned, what: Round) -> ClassConstraint:
    """Return what a class is told: by an answer, else by the data if nobody has said anything else, else as before."""
    standing = planned.standing[entry.label]
    question = question_about(entry, planned.standing, what.stage, planned.seen)
    if reply is None:
        made = unchanged(standing, f"not asked: {entry.reason}", round_number=what.number)
    else:
        made = _select(question, reply, standing, what, "answered")
        if made.provenance.status == "answered":
            return _compared(made, question, reply, planned)
    seen, origin = planned.seen, made.provenance
    if seen is None or not (entry.measured or uninformed(standing)):
        return made
    measured = measured_reply(question, seen, what.stage.agent.max_joints)
    if measured.answer is None:
        silent = origin.model_copy(update={"note": f"{origin.note}; {measured.note}"})
        return made.model_copy(update={"provenance": silent})
    measured = replace(
        measured,
        note=origin.note.removesuffix(f"; {NO_PRIOR}") + (f"; {MEASURED}" if reply else ""),
        prompt_tokens=origin.prompt_tokens,
        completion_tokens=origin.completion_tokens,
    )
    return _select(question, measured, standing, what, "data")


def _select(
    question: Question, reply: Reply, standing: ClassConstraint, what: Round, status: Status
) -> ClassConstraint:
    config = what.stage.agent
    return select(
        question,
        reply,
        standing,
        round_number=what.number,
        max_joints=config.max_joints,
        fixed_joints=config.joints == "fixed" and what.number > 0 and not uninformed(standing),
        agreement=config.joint_weights == "agreement" and what.number > 0,
        status=status,
    )


def _compared(made: ClassConstraint, question: Question, reply: Reply, planned: _Planned) -> ClassConstraint:
    """Add how far the joints of an answer agree with the measured ones."""
    if planned.seen is None or reply.answer is None:
        return made
    named = resolve(reply.answer.joints, load_layout(question.layout)).joints[: question.max_joints]
    found = overlap(named, planned.seen, question.label)
    return made.model_copy(update={"provenance": made.provenance.model_copy(update={"agreement": found})})


def _open_inputs(what: Round) -> tuple[Confusion, Constraints]:
    data, confusion, previous = what.stage.data, what.confusion, what.previous
    if confusion is None or previous is None:
        missing = "confusion" if confusion is None else "previous"
        raise InputError(f"round {what.number} needs the {missing} artifact (only round 0 has none)")
    counts, before = confusions.open_train(confusion), constraints.open(previous)
    _expect(confusion, "classes", len(counts.train), len(data.classes))
    _expect(confusion, "layout", counts.layout, data.layout)
    _expect(confusion, "stream", counts.stream, what.stream)
    _expect(confusion, "round", counts.round, what.number)
    _expect(previous, "layout", before.layout, data.layout)
    _expect(previous, "classes", len(before.classes), len(data.classes))
    for label, name in enumerate(data.classes):
        _expect(previous, f"class {label}", before.classes[label].name, name)
    if counts.separability is not None:
        _expect(confusion, "joints", counts.separability.shape[1], len(load_layout(data.layout).joints))
    if before.stream:
        _expect(previous, "stream", before.stream, what.stream)
    _expect(previous, "round", before.round, what.number - 1)
    return counts, before


def _expect(path: Path, field: str, found: object, expected: object) -> None:
    if found != expected:
        raise InputError(f"{field}: found {found!r}, expected {expected!r}", at=path)


def _log_summary(classes: list[ClassConstraint], plan: Plan, what: Round) -> None:
    origins = [constraint.provenance for constraint in classes]
    counts = sorted(Counter(origin.status for origin in origins).items())
    where = f"round {what.number}" + (f", stream {what.stream}" if what.stream else "")
    statuses = ", ".join(f"{count} {status}" for status, count in counts)
    nobody = what.stage.agent.provider == "offline" and what.stage.agent.priors is None
    asked = "nobody was asked: no LLM and no priors" if nobody else f"{len(plan.order)} classes asked"
    if any(origin.status == "data" for origin in origins):
        asked += f"; {MEASURED}"
    LOGGER.info("%s: %s; %s", where, asked, statuses)
    notes = Counter(origin.note for origin in origins if origin.status == "kept")
    for note, count in notes.most_common(5):
        if note:
            LOGGER.info("  %d unchanged: %s", count, note)
    prompt = sum(origin.prompt_tokens for origin in origins)
    completion = sum(origin.completion_tokens for origin in origins)
    if prompt + completion:
        money = cost(what.stage.agent, prompt, completion)
        LOGGER.info("  %d tokens%s", prompt + completion, "" if money is None else f", cost {money:.4f}")
