"""The agent stage: one round of guidance for the recogniser.

Round 0 makes constraints before any training: the written priors or, with an LLM, its answers about each
class. Round r takes the confusion that training round r left and the constraints it trained with, asks
about the classes whose confusions are new, and keeps what stands about the others.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass
from pathlib import Path

from components.agent.llm.budget import cost, estimate
from components.agent.llm.chat import ChatProvider
from components.agent.metrics import CONSTRAINTS
from components.agent.offline.priors import load_priors
from components.agent.offline.provider import NO_PRIOR, OfflineProvider, prior_constraints
from components.agent.providers import LOGGER, UNOBSERVED, Observer, Provider, Question, Rival
from components.agent.questioner import plan_round, plan_round_zero
from components.agent.round import Round
from components.agent.selector import select, unchanged
from components.agent.text.encoder import load_encoder
from components.contracts import confusion as confusions
from components.contracts import constraints
from components.contracts.agent_config import PACKAGED
from components.contracts.config import AgentStage
from components.contracts.confusion import Confusion
from components.contracts.constraints import ClassConstraint, Constraints
from components.contracts.errors import InputError
from components.contracts.plan import Estimate, Plan, PlannedClass
from components.contracts.skeleton import load_layout
from components.runtime.progress import progress
from components.runtime.store.interface import Documents


@dataclass(frozen=True)
class _Planned:
    """A planned round: what stands so far, whom to ask, and what it was made from."""

    standing: list[ClassConstraint]
    plan: Plan
    made_from: dict[str, str]


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
    priors = load_priors(stage.agent.priors)
    priors.check(stage.data.classes, load_layout(stage.data.layout))
    made_from = {"priors": priors.sha256} if priors.sha256 else {}
    if what.number == 0:
        check_round(what)
        standing = prior_constraints(stage.data.classes, stage.data.layout, priors, stage.agent.max_joints)
    else:
        counts, before = _open_inputs(what)
        made_from |= {"confusion": counts.digest, "previous": before.digest}
        standing = list(before.classes)

    def estimated(planned: PlannedClass) -> Estimate:
        return estimate(_question(planned, standing, stage), stage.agent)

    if what.number == 0:
        return _Planned(standing, plan_round_zero(standing, stage.agent, estimated), made_from)
    return _Planned(standing, plan_round(counts.train, standing, stage.agent, estimated), made_from)


def _carry_out(planned: _Planned, provider: Provider, what: Round, observer: Observer) -> list[ClassConstraint]:
    """Ask what the plan says and return all constraints, in label order."""
    stage, round_number = what.stage, what.number
    plan, standing = planned.plan, planned.standing
    if round_number == 0 and stage.agent.provider == "offline":
        return standing  # the priors are what the offline provider has to say
    questions = [_question(plan.classes[label], standing, stage) for label in plan.order]
    observer.planned(len(questions))
    with progress("agent", len(questions), LOGGER) as report:
        replies = provider.ask(questions, report, observer) if questions else []
    classes = [
        unchanged(constraint, f"not asked: {planned_class.reason}", round_number=round_number)
        for planned_class, constraint in zip(plan.classes, standing, strict=True)
    ]
    for question, reply in zip(questions, replies, strict=True):
        classes[question.label] = select(
            question,
            reply,
            standing[question.label],
            round_number=round_number,
            max_joints=stage.agent.max_joints,
            fixed_joints=stage.agent.joints == "fixed" and round_number > 0,
            agreement=stage.agent.joint_weights == "agreement" and round_number > 0,
        )
    return classes


def _question(planned: PlannedClass, standing: list[ClassConstraint], stage: AgentStage) -> Question:
    names = load_layout(stage.data.layout).joints
    own = standing[planned.label]
    rivals = [(standing[confused.label], confused.share) for confused in planned.confused]
    return Question(
        label=own.label,
        name=own.name,
        description=own.description,
        joints=tuple(names[joint] for joint in own.joints),
        rivals=tuple(
            Rival(rival.label, rival.name, rival.description, tuple(names[joint] for joint in rival.joints), share)
            for rival, share in rivals
        ),
        layout=stage.data.layout,
        dimensions=stage.data.dimensions,
        max_persons=stage.data.max_persons,
        max_joints=stage.agent.max_joints,
    )


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
    LOGGER.info("%s: %s; %s", where, asked, statuses)
    notes = Counter(origin.note for origin in origins if origin.status != "answered" and origin.note != NO_PRIOR)
    for note, count in notes.most_common(5):
        if note:
            LOGGER.info("  %d unchanged: %s", count, note)
    prompt = sum(origin.prompt_tokens for origin in origins)
    completion = sum(origin.completion_tokens for origin in origins)
    if prompt + completion:
        money = cost(what.stage.agent, prompt, completion)
        LOGGER.info("  %d tokens%s", prompt + completion, "" if money is None else f", cost {money:.4f}")
