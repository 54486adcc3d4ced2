"""The plan of a round: which classes are asked and why, which are left and why, and what that should cost.

It lies as ``plan.json`` in the ``constraints`` artifact, written for people as much as for machines.
"""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class _Part(BaseModel):
    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False)


class Confused(_Part):
    """A class confused with another: its number, the pair's mistakes, and these per sample of the other."""

    label: int
    count: int
    share: float


class Estimate(_Part):
    """What asking should cost, before it is known: tokens, and money where the model has a price."""

    prompt_tokens: int = 0
    completion_tokens: int = 0
    cost: float | None = None

    @property
    def tokens(self) -> int:
        return self.prompt_tokens + self.completion_tokens


class PlannedClass(_Part):
    """Whether a class is asked about this round, and why; ``confused`` is ranked, the worst first.

    ``measured``: nobody is asked, but its joints are measured from the training data.

    ``change``: how much the shares of its confusions differ from those that its constraint answered (see
    ``components.agent.questioner.change``); ``None`` where it never was told apart from any class.
    ``estimate``: what asking about it should cost; ``None`` where nothing speaks for asking.
    """

    label: int
    name: str
    asked: bool
    reason: str
    confused: tuple[Confused, ...] = ()
    change: float | None = None
    estimate: Estimate | None = None
    measured: bool = False


class Budget(_Part):
    """The most that a round may send, repair turns and retries included; ``None`` sets no limit."""

    requests: int
    tokens: int | None = None
    cost: float | None = None


class Plan(_Part):
    """What becomes of each class this round, in label order; ``order`` is the order of asking.

    ``estimate`` is that of all classes in ``order``: one request each, no repair.
    """

    budget: Budget
    estimate: Estimate
    order: tuple[int, ...]
    classes: tuple[PlannedClass, ...]
