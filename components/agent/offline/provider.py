"""The provider that needs no network: the written priors before any dialogue, and then their contrasts."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict

from components.agent.offline.measured import enumerate_words
from components.agent.offline.priors import Priors
from components.agent.providers import LOGGER, UNOBSERVED, Answer, Observer, Question, Reply
from components.contracts.artifact import digest_of
from components.contracts.constraints import ClassConstraint, Provenance
from components.contracts.priors import Prior
from components.contracts.skeleton import load_layout
from components.runtime.progress import Reporter

OFFLINE = "offline"
OFFLINE_VERSION = "offline-1"
NO_PRIOR = "no written prior: the class name and all joints"
MIN_DISTINCTIVE = 3
"""Fewer joints than this are no motion; the offline heuristic then leaves a class its prior's joints."""


def prior_constraints(names: Sequence[str], layout_name: str, priors: Priors, max_joints: int) -> list[ClassConstraint]:
    """Return the constraints before any dialogue: the written priors, in label order.

    A class without one gets its name as description and all joints, status ``no-prior``, and a warning
    lists all such classes.
    """
    layout = load_layout(layout_name)
    found = [priors.find(name, layout) for name in names]
    missing = [name for name, prior in zip(names, found, strict=True) if prior is None]
    if missing:
        LOGGER.warning("no written prior for %d of %d classes, all joints used: %s",
                       len(missing), len(names), ", ".join(missing))  # fmt: skip
    constraints = []
    for label, (name, prior) in enumerate(zip(names, found, strict=True)):
        joints = prior.joints[:max_joints] if prior else layout.joints
        note = "" if prior else NO_PRIOR
        status = "prior" if prior else "no-prior"
        constraints.append(
            ClassConstraint(
                label=label,
                name=name,
                description=prior.description if prior else name,
                joints=tuple(sorted(layout.number(joint) for joint in joints)),
                provenance=Provenance(status=status, provider=OFFLINE, prompt_version=OFFLINE_VERSION, note=note),
            )
        )
    return constraints


class OfflineProvider:
    """A heuristic in place of an LLM: it contrasts the written priors of the confused classes.

    The description is the class's prior and one sentence per rival that names the joints which matter for
    the class but not for the rival (or, where there are none, what the rival does instead). The joints are
    those of the prior that matter for none of the rivals, if there are at least ``MIN_DISTINCTIVE``, and
    the prior's joints otherwise. It starts from the prior every round, so contrasts do not pile up.
    """

    def __init__(self, priors: Priors) -> None:
        self._priors = priors

    def ask(self, questions: Sequence[Question], report: Reporter, observer: Observer = UNOBSERVED) -> list[Reply]:
        replies = []
        for done, question in enumerate(questions, start=1):
            replies.append(self._reply(question))
            observer.replied(replies[-1])
            report(done, question.name)
        return replies

    def _reply(self, question: Question) -> Reply:
        layout = load_layout(question.layout)
        prior = self._priors.find(question.name, layout)
        rivals = [self._priors.find(rival.name, layout) for rival in question.rivals]
        known = [rival for rival in rivals if rival is not None]
        answer, note = None, "no written prior to contrast with those of the confused classes"
        if prior is not None and known:
            answer, note = Answer(description=_contrast(prior, known), joints=_distinctive(prior, known)), ""
        return Reply(
            answer=answer,
            provider=OFFLINE,
            note=note,
            prompt_version=OFFLINE_VERSION,
            request_hash=digest_of({"version": OFFLINE_VERSION, **asdict(question)}),
        )


def _distinctive(prior: Prior, rivals: Sequence[Prior]) -> tuple[str, ...]:
    shared = {joint for rival in rivals for joint in rival.joints}
    own = tuple(joint for joint in prior.joints if joint not in shared)
    return own if len(own) >= MIN_DISTINCTIVE else prior.joints


def _contrast(prior: Prior, rivals: Sequence[Prior]) -> str:
    sentences = [prior.description]
    for rival in rivals:
        own = [joint.replace("_", " ") for joint in prior.joints if joint not in rival.joints]
        if own:
            sentences.append(f"Unlike '{rival.name}', it shows in the {enumerate_words(own)}.")
        else:
            sentences.append(f"It is not '{rival.name}': {rival.description}")
    return " ".join(sentences)
