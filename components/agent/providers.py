"""Questions, answers and replies, and what whoever answers them has to offer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Protocol

from pydantic import BaseModel, ConfigDict

from components.contracts.skeleton import load_layout
from components.runtime.logs import stage_logger
from components.runtime.progress import Reporter

LOGGER = stage_logger("agent")


@dataclass(frozen=True)
class Rival:
    """A class to be told apart from the one asked about, with what stands about it now.

    ``share``: the pair's mistakes per sample of the class asked about. No prompt speaks of it.
    ``looked_at``: the joints that the network goes by most when it sees this class; ``separated_by``: those that
    separate the two best in the training data. Both the most telling first, and empty if that is not to be told.
    """

    label: int
    name: str
    description: str
    joints: tuple[str, ...]
    share: float = 0.0
    looked_at: tuple[str, ...] = ()
    separated_by: tuple[str, ...] = ()


@dataclass(frozen=True)
class Question:
    """One class to ask about: what stands about it now, its rivals (ranked), and the kind of skeleton.

    ``looked_at``: as with a rival.
    """

    label: int
    name: str
    description: str
    joints: tuple[str, ...]
    rivals: tuple[Rival, ...]
    layout: str
    dimensions: str
    max_persons: int
    max_joints: int
    looked_at: tuple[str, ...] = ()

    @property
    def joint_names(self) -> tuple[str, ...]:
        """The joints of the skeleton, in the order of their numbers."""
        return load_layout(self.layout).joints


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

    def dropped(self) -> bool:
        """Tell whether nobody waits for what is under way either."""
        ...


class Unobserved:
    """The observer of a round that nobody follows."""

    def planned(self, total: int) -> None:
        """Do nothing."""

    def replied(self, reply: Reply) -> None:
        """Do nothing."""

    def stopping(self) -> bool:
        return False

    def dropped(self) -> bool:
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
