"""The numbers of a run, as they stand in ``metrics.json``. Accuracies are fractions from 0 to 1.

Intervals are 95 % intervals over test samples, p-values those of McNemar's exact test. A field with a default was
added after schema 1.0, so that the files of older versions open; what such a file lacks is "not known".
"""

from __future__ import annotations

from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

from components.contracts.accuracy import ConfusedPair
from components.contracts.history import EpochRecord


class _Part(BaseModel):
    """Keys that a newer minor version added are passed over."""

    model_config = ConfigDict(extra="ignore", frozen=True, allow_inf_nan=False)


class Interval(_Part):
    """A 95 % confidence interval of a share or of a difference of shares."""

    low: float
    high: float


NOT_KNOWN = Interval(low=0.0, high=1.0)
"""The interval of a share in files of schema 1.0, which had none."""


class Paired(_Part):
    """Two sets of predictions of the same samples: ``won`` are correct only in the second, ``lost`` only in the first.

    ``difference`` of the shares that are correct (second minus first), its ``interval``, and the ``p_value`` of
    McNemar's exact test that both are equally often correct.
    """

    won: int
    lost: int
    samples: int
    difference: float
    interval: Interval
    p_value: float


class Doubt(_Part):
    """One thing that is doubtful about the data; see ``components.preprocess.inspect.doubts``.

    ``stop`` makes results meaningless, ``accepted`` would but for ``data.accept``; a ``warning`` should be looked into,
    a ``note`` is worth knowing.
    """

    code: str
    severity: Literal["stop", "accepted", "warning", "note"]
    text: str
    remedy: str = ""


class LostInClass(_Part):
    """Of the ``samples`` of a class that lost something: frames that show nobody, frames that are not in the dataset,
    and positions of joints that were interpolated."""

    samples: int
    empty: int
    dropped: int
    filled: int


class Lost(LostInClass):
    """The same of all classes, and the ``frames`` of the whole input."""

    frames: int
    classes: dict[str, LostInClass] = Field({}, description="by name, those that lost something")


class Data(_Part):
    """What was learnt from and tested on."""

    layout: str = Field(description="its name")
    classes: list[str] = Field(description="names, by class number")
    protocol: str
    protocol_label: str
    train_split: str
    test_split: str
    test_samples: int
    train_samples: int | None = Field(None, description="null without the dataset")
    held_out_samples: int = Field(0, description="of the training split, from which weights were learnt")
    doubts: list[Doubt] | None = Field(None, description="the gravest first; null without the dataset")
    lost: Lost | None = Field(None, description="null without the dataset")


class Training(_Part):
    """How one stream was trained."""

    epochs: int
    rounds: int
    seed: int
    imported: bool = Field(description="whether its scores were read from a dump of other code")


class Notice(_Part):
    """What a reader must know first."""

    kind: Literal["synthetic", "leak", "incomplete"]
    text: str


class Check(_Part):
    """``bad``: do not trust the numbers before you know why; ``unknown``: could not be looked at."""

    name: str
    status: Literal["bad", "warn", "unknown", "ok"]
    text: str


class _Measured(_Part):
    """Share of samples whose label is the most probable class, among the five most probable, and mean recall."""

    top1: float
    top5: float
    mean_class: float


class Intervals(_Part):
    """Those of the three measures."""

    top1: Interval = NOT_KNOWN
    top5: Interval = NOT_KNOWN
    mean_class: Interval = NOT_KNOWN


class Headline(_Measured):
    """The configured ensemble at the last round."""

    round: int
    streams: list[str]
    weights: list[float]
    correct: int = Field(description="samples")
    mean_average_precision: float | None = None
    intervals: Intervals = Intervals()


class Bin(_Part):
    """The samples whose largest probability lies in ``(low, high]``: its mean, and the share that is correct."""

    low: float
    high: float
    samples: int
    confidence: float
    accuracy: float


class Tempered(_Part):
    """A temperature, and the calibration error after it."""

    temperature: float
    error: float


class HeldOutTempered(Tempered):
    """A temperature that was learnt from this number of held-out training samples."""

    samples: int


class Calibration(_Part):
    """How far the headline's probabilities are from the share that is correct."""

    bins: list[Bin] = []
    error: float | None = Field(None, description="expected calibration error")
    diagnosis: Tempered | None = Field(
        None, description="each half of the test samples tempers the other: it uses their labels, nothing else does"
    )
    held_out: HeldOutTempered | None = Field(None, description="fitted on held-out training samples")


class Gain(_Part):
    """The last round against the first, same ensemble."""

    from_round: int
    to_round: int
    top1: float
    correct: int = Field(description="samples, won minus lost")
    won: int = 0
    lost: int = 0
    interval: Interval = Interval(low=-1.0, high=1.0)
    p_value: float = 1.0


class StreamRow(_Measured):
    """One stream after one round."""

    stream: str
    round: int
    clips: int
    train_top1: float | None = Field(description="null without a confusion artifact")
    interval: Interval = NOT_KNOWN


class EnsembleRow(_Measured):
    """One ensemble after one round; ``name``: configured, uniform, published N-stream, learnt."""

    name: str
    round: int
    streams: list[str]
    weights: list[float]
    interval: Interval = NOT_KNOWN


class LastRow(_Measured):
    """A stream or an ensemble of the last round; ``against`` the headline, null for the headline itself."""

    name: str
    round: int
    streams: list[str]
    weights: list[float]
    interval: Interval
    mean_average_precision: float
    against: Paired | None


class ClassRow(_Part):
    """One class. ``recall`` and ``precision`` of the headline are null where undefined."""

    label: int
    name: str
    samples: int
    recall: float | None
    precision: float | None
    recall_by_round: dict[str, float | None] = Field(description="of the configured ensemble")
    change: float | None = Field(description="last round minus first")


class SaidOfClass(_Part):
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
    mistaken: list[int | None] = [None, None]
    measured: list[str] = Field(
        [], description="as many joints as ``joints`` has: those that separate the class best in the training data"
    )
    agreement: float | None = Field(None, description="share of ``joints`` that are in ``measured``")


class Said(_Part):
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


class ClassEffect(_Part):
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


class FollowedClass(_Part):
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


class FollowedRecall(_Part):
    """How much the recall of classes rose whose joints are mostly the measured ones, against those of which they are
    mostly others. ``difference``: how much more that of the former rose, with its interval over test samples."""

    measured: tuple[float, float]
    said: tuple[float, float]
    difference: float
    interval: Interval


class FollowedEvidence(_Part):
    """The shares of evidence of ``FollowedClass``, on average over ``classes``; ``difference``: how much more that on
    measured joints rose than that on joints that only the guidance names, with its interval over classes."""

    classes: int
    measured: tuple[float, float]
    said: tuple[float, float]
    difference: float
    interval: Interval


class Followed(_Part):
    """Which joints the round after followed: those that the LLM named, or those that the data measured.

    ``measured`` and ``said`` count classes (per stream and round) by where most of their joints are from. The groups
    are not drawn by lot: what is found is a hint and no proof.
    """

    measured: int
    said: int
    recall: FollowedRecall | None = Field(None, description="null if a group is empty, or scores are not given")
    evidence: FollowedEvidence | None = Field(None, description="null where the artifacts do not say")
    classes: list[FollowedClass]


class LoopRound(_Part):
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


class PairEffect(_Part):
    """Mistakes ``[before, after]`` in the pairs of classes that the agent addressed, and in all others.

    ``difference`` of the ratios after/before (negative: the addressed ones fell more), with its interval; both null
    where there was none before. ``verdict``: gain or loss if the interval excludes 0.
    """

    addressed: list[int]
    others: list[int]
    difference: float | None
    interval: Interval | None
    verdict: Literal["gain", "loss", "nothing"]


class MovingPair(_Part):
    """Two classes, and per round how often the ensemble confused them, either way."""

    classes: list[int]
    counts: dict[str, int]
    addressed: bool = Field(description="whether any stream was told of it")


class Loop(_Part):
    """What came of what the agent said. Sums are null where nothing is known."""

    rounds: list[LoopRound] = []
    told: int = Field(0, description="classes, over streams and rounds, about which it said something new")
    asked: int | None = None
    tokens: int = 0
    cost: float | None = None
    steps: list[Step] = []
    streams: list[StreamStep] = []
    effect: PairEffect | None = None
    followed: Followed | None = Field(None, description="null where no joints were measured")
    slopes: list[MovingPair] = []


class Baseline(_Part):
    """A simple method on the same splits; ``text`` says how it was made. Given scores are compared ``against`` the
    headline, sample by sample."""

    name: str
    top1: float
    interval: Interval
    text: str = ""
    against: Paired | None = None


class GroupErrors(_Part):
    """Test samples of one subject or one view, as the sample ids tell it, and how many of them are wrong."""

    kind: Literal["subject", "view"]
    name: str
    samples: int
    wrong: int


class Advice(_Part):
    """What to do next, and from what that follows."""

    kind: str
    text: str


class Metrics(_Part):
    """All numbers of a run."""

    name: str
    description: str
    data: Data
    training: dict[str, Training] = Field({}, description="by stream")
    notices: list[Notice] = []
    checks: list[Check] = Field([], description="the worst first")
    headline: Headline
    calibration: Calibration = Calibration()
    gain: Gain | None = Field(None, description="null after one round, or if the streams differ")
    streams: list[StreamRow]
    ensembles: list[EnsembleRow]
    last: list[LastRow] = []
    without: dict[str, Paired] = Field({}, description="by stream: the headline against it without that stream")
    confusion: list[list[int]] = Field(description="of the headline: counts [true][predicted]")
    confused_pairs: list[ConfusedPair] = Field(description="its largest cells off the diagonal")
    classes: list[ClassRow]
    constraints: list[Said] = Field(description="prior first, then by stream and round")
    loop: Loop = Loop()
    history: dict[str, list[EpochRecord]] = Field(description="by stream")
    baselines: list[Baseline] = []
    groups: list[GroupErrors] = Field([], description="empty where the ids tell neither subject nor view")
    advice: list[Advice] = Field([], description="the most worthwhile first")
