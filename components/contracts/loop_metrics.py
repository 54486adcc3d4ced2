"""What ``metrics.json`` says of the loop: what the agent said, what it changed, and what the next round made of it.

Accuracies are fractions from 0 to 1; see ``contracts.metrics``, of which this is a part.
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.contracts.metric_parts import Interval, Paired, Part


class SaidOfClass(Part):
    """What a constraints artifact says of one class, against the one before it.

    ``mistaken``: test samples of the stream that were taken for one of ``told_apart_from`` or the other way round,
    before and after the training that followed; null where scores are not given.
    """

    label: int
    name: str
    status: str
    note: str
    told_apart_from: list[int]
    description: str
    joints: list[str]
    joints_added: list[str]
    joints_removed: list[str]
    joints_changed: bool
    description_changed: bool
    mistaken: list[int | None] = Field([None, None])
    measured: list[str] = Field(
        [], description="as many joints as ``joints`` has: those that separate the class best in the training data"
    )
    agreement: float | None = Field(None, description="share of ``joints`` that are in ``measured``")


class Said(Part):
    """One constraints artifact; ``classes`` that were answered or changed, of the prior (round 0) all."""

    stream: str
    round: int
    status: dict[str, int] = Field(description="classes per status")
    notes: dict[str, int] = Field(description="classes per reason given")
    prompt_tokens: int
    completion_tokens: int
    asked: int | None = Field(None, description="classes; null in artifacts without a plan")
    joints_changed: int | None = Field(description="classes; null where the constraints before are not given")
    descriptions_changed: int | None
    classes: list[SaidOfClass]
    cost: float | None = Field(None, description="null where the model has no price")


class ClassEffect(Part):
    """The classes that the agent addressed with something new after a round, against those it did not.

    Classes are counted once per stream; ``addressed_recall`` and ``others_recall`` are shares of their test samples
    that the stream recognised before and after the training that followed. ``difference``: how much more the
    recall of the addressed ones rose. A guess: the addressed classes were the worst ones, which also improve by
    themselves.
    """

    addressed: int
    others: int
    addressed_recall: tuple[float, float]
    others_recall: tuple[float, float]
    difference: float
    interval: Interval


class FollowedClass(Part):
    """A class whose joints the LLM named or the data gave, after a round.

    ``agreement``: the share of its joints that are also the measured ones. Before and after the training that followed:
    ``recall`` on the test split, and of all that the network saw in favour of the class on training samples
    (``evidence`` above 0) the share on joints that only the guidance names and on those that were only measured. Null
    where the artifacts do not say.
    """

    stream: str
    round: int
    label: int
    status: str
    agreement: float
    recall: tuple[float, float] | None
    evidence_said: tuple[float, float] | None
    evidence_measured: tuple[float, float] | None


class FollowedRecall(Part):
    """How much the recall of classes rose whose joints are mostly the measured ones, against those of which they are
    mostly others. ``difference``: how much more that of the former rose, with its interval over test samples."""

    measured: tuple[float, float]
    said: tuple[float, float]
    difference: float
    interval: Interval


class FollowedEvidence(Part):
    """The shares of evidence of ``FollowedClass``, on average over ``classes``; ``difference``: how much more that on
    measured joints rose than that on joints that only the guidance names, with its interval over classes."""

    classes: int
    measured: tuple[float, float]
    said: tuple[float, float]
    difference: float
    interval: Interval


class Followed(Part):
    """Which joints the round after followed: those that the LLM named, or those that the data measured.

    ``measured`` and ``said`` count classes (per stream and round) by where most of their joints are from. The groups
    are not drawn by lot: what is found is a hint and no proof.
    """

    measured: int
    said: int
    recall: FollowedRecall | None = Field(None, description="null if a group is empty, or scores are not given")
    evidence: FollowedEvidence | None = Field(None, description="null where the artifacts do not say")
    classes: list[FollowedClass]


class LoopRound(Part):
    """A round after which the agent spoke, over all streams; ``top1`` of the ensemble in this round and the next."""

    round: int
    asked: int | None
    answered: int
    measured: int = Field(0, description="classes whose joints the data gave; nobody was asked about them")
    joints_changed: int | None
    descriptions_changed: int | None
    tokens: int
    cost: float | None
    top1: list[float | None]
    effect: ClassEffect | None = Field(None, description="null if nothing new was said, or scores are not given")


class Step(Paired):
    """The configured ensemble of one round against that of another."""

    from_round: int
    to_round: int


class StreamStep(Step):
    """One stream from its first round to its last."""

    stream: str


class PairEffect(Part):
    """Mistakes ``[before, after]`` in the pairs of classes that the agent addressed, and in all others.

    ``difference`` of the ratios after/before (negative: the addressed ones fell more), with its interval; both null
    where there was none before. ``verdict``: gain or loss if the interval excludes 0.
    """

    addressed: list[int]
    others: list[int]
    difference: float | None
    interval: Interval | None
    verdict: Literal["gain", "loss", "nothing"]


class MovingPair(Part):
    """Two classes, and per round how often the ensemble confused them, either way."""

    classes: list[int]
    counts: dict[str, int]
    addressed: bool = Field(description="whether any stream was told of it")


class Loop(Part):
    """What came of what the agent said. Sums are null where nothing is known."""

    rounds: list[LoopRound] = Field([])
    told: int = Field(0, description="classes, over streams and rounds, about which it said something new")
    asked: int | None = None
    tokens: int = 0
    cost: float | None = None
    steps: list[Step] = Field([])
    streams: list[StreamStep] = Field([])
    effect: PairEffect | None = None
    followed: Followed | None = Field(None, description="null where no joints were measured")
    slopes: list[MovingPair] = Field([])
