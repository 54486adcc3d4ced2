"""Who answers the agent's questions: the common types, and the offline provider, which needs no network."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from components.agent.priors import Prior, Priors
from components.contracts.artifact import digest_of
from components.contracts.constraints import ClassConstraint, Provenance
from components.contracts.skeleton import load_layout
from components.runtime.logs import stage_logger
from components.runtime.progress import Reporter

LOGGER = stage_logger("agent")
OFFLINE = "offline"
OFFLINE_VERSION = "offline-1"
NO_PRIOR = "no written prior: the class name and all joints"
MIN_DISTINCTIVE = 3
"""Fewer joints than this are no motion; the offline heuristic then leaves a class its prior's joints."""


@dataclass(frozen=True)
class Rival:
    """A class to be told apart from the one asked about, with what stands about it now.

    ``share``: the pair's mistakes per sample of the class asked about. No prompt speaks of it.
    """

    label: int
    name: str
    description: str
    joints: tuple[str, ...]
    share: float = 0.0


@dataclass(frozen=True)
class Question:
    """One class to ask about: what stands about it now, its rivals (ranked), and the kind of skeleton."""

    label: int
    name: str
    description: str
    joints: tuple[str, ...]
    rivals: tuple[Rival, ...]
    layout: str
    dimensions: str
    max_persons: int
    max_joints: int


class Answer(BaseModel):
    """What a provider says about a class, not yet validated against the layout (see ``selector``)."""

    model_config = ConfigDict(extra="ignore", frozen=True)

    description: str
    joints: tuple[str, ...]


@dataclass(frozen=True)
class Reply:
    """What came of a question: an answer, or ``None`` and a note that says why; and what it has cost."""

    answer: Answer | None
    provider: str
    note: str = ""
    model: str = ""
    prompt_version: str = ""
    request_hash: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


class StoppedError(Exception):
    """The round ended early because its observer said so; what was answered is remembered."""


class Observer(Protocol):
    """Follows a round from another thread, and may stop it."""

    def planned(self, total: int) -> None:
        """Take the number of classes that will be asked."""
        ...

    def replied(self, reply: Reply) -> None:
        """Take what came of one question."""
        ...

    def stopping(self) -> bool:
        """Tell whether no more may be sent. What is under way then ends first."""
        ...


class Unobserved:
    """The observer of a round that nobody follows."""

    def planned(self, total: int) -> None:
        """Do nothing."""

    def replied(self, reply: Reply) -> None:
        """Do nothing."""

    def stopping(self) -> bool:
        return False


UNOBSERVED = Unobserved()


class Provider(Protocol):
    """Answers questions. Whatever fails outside the user's control becomes a reply without an answer."""

    def ask(self, questions: Sequence[Question], report: Reporter, observer: Observer = UNOBSERVED) -> list[Reply]:
        """Return one reply per question, in their order.

        Raises:
            InputError: only for a wrong configuration.
            StoppedError: the observer stopped the round.
        """
        ...


def opening(names: Sequence[str], layout_name: str, priors: Priors, max_joints: int) -> list[ClassConstraint]:
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
            sentences.append(f"Unlike '{rival.name}', it shows in the {_enumerate(own)}.")
        else:
            sentences.append(f"It is not '{rival.name}': {rival.description}")
    return " ".join(sentences)


def _enumerate(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"{', '.join(words[:-1])} and {words[-1]}"
