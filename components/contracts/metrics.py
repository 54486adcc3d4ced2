"""The numbers of a run, as they stand in ``metrics.json``. Accuracies are fractions from 0 to 1.

Intervals are 95 % intervals over test samples, p-values those of McNemar's exact test. A field with a default was
added after schema 1.0, so that the files of older versions open; what such a file lacks is "not known".
"""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from components.contracts.accuracy import ConfusedPair
from components.contracts.history import EpochRecord
from components.contracts.loop_metrics import Loop, Said
from components.contracts.metric_parts import NOT_KNOWN, Interval, Paired, Part


class Doubt(Part):
    """One thing that is doubtful about the data; see ``components.preprocess.inspect.doubts``.

    ``stop`` makes results meaningless, ``accepted`` would but for ``data.accept``; a ``warning`` should be looked into,
    a ``note`` is worth knowing.
    """

    code: str
    severity: Literal["stop", "accepted", "warning", "note"]
    text: str
    remedy: str = ""


class LostInClass(Part):
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


class Data(Part):
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


class Training(Part):
    """How one stream was trained."""

    epochs: int
    rounds: int
    seed: int
    imported: bool = Field(description="whether its scores were read from a dump of other code")


class Notice(Part):
    """What a reader must know first."""

    kind: Literal["synthetic", "leak", "incomplete"]
    text: str


class Check(Part):
    """``bad``: do not trust the numbers before you know why; ``unknown``: could not be looked at."""

    name: str
    status: Literal["bad", "warn", "unknown", "ok"]
    text: str


class _Measured(Part):
    """Share of samples whose label is the most probable class, among the five most probable, and mean recall."""

    top1: float
    top5: float
    mean_class: float


class Intervals(Part):
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


class Bin(Part):
    """The samples whose largest probability lies in ``(low, high]``: its mean, and the share that is correct."""

    low: float
    high: float
    samples: int
    confidence: float
    accuracy: float


class Tempered(Part):
    """A temperature, and the calibration error after it."""

    temperature: float
    error: float


class HeldOutTempered(Tempered):
    """A temperature that was learnt from this number of held-out training samples."""

    samples: int


class Calibration(Part):
    """How far the headline's probabilities are from the share that is correct."""

    bins: list[Bin] = Field([])
    error: float | None = Field(None, description="expected calibration error")
    diagnosis: Tempered | None = Field(
        None, description="each half of the test samples tempers the other: it uses their labels, nothing else does"
    )
    held_out: HeldOutTempered | None = Field(None, description="fitted on held-out training samples")


class Gain(Part):
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


class ClassRow(Part):
    """One class. ``recall`` and ``precision`` of the headline are null where undefined."""

    label: int
    name: str
    samples: int
    recall: float | None
    precision: float | None
    recall_by_round: dict[str, float | None] = Field(description="of the configured ensemble")
    change: float | None = Field(description="last round minus first")


class Baseline(Part):
    """A simple method on the same splits; ``text`` says how it was made. Given scores are compared ``against`` the
    headline, sample by sample."""

    name: str
    top1: float
    interval: Interval
    text: str = ""
    against: Paired | None = None


class GroupErrors(Part):
    """Test samples of one subject or one view, as the sample ids tell it, and how many of them are wrong."""

    kind: Literal["subject", "view"]
    name: str
    samples: int
    wrong: int


class Advice(Part):
    """What to do next, and from what that follows."""

    kind: str
    text: str


class Metrics(Part):
    """All numbers of a run."""

    name: str
    description: str
    data: Data
    training: dict[str, Training] = Field({}, description="by stream")
    notices: list[Notice] = Field([])
    checks: list[Check] = Field([], description="the worst first")
    headline: Headline
    calibration: Calibration = Calibration()
    gain: Gain | None = Field(None, description="null after one round, or if the streams differ")
    streams: list[StreamRow]
    ensembles: list[EnsembleRow]
    last: list[LastRow] = Field([])
    without: dict[str, Paired] = Field({}, description="by stream: the headline against it without that stream")
    confusion: list[list[int]] = Field(description="of the headline: counts [true][predicted]")
    confused_pairs: list[ConfusedPair] = Field(description="its largest cells off the diagonal")
    classes: list[ClassRow]
    constraints: list[Said] = Field(description="prior first, then by stream and round")
    loop: Loop = Loop()
    history: dict[str, list[EpochRecord]] = Field(description="by stream")
    baselines: list[Baseline] = Field([])
    groups: list[GroupErrors] = Field([], description="empty where the ids tell neither subject nor view")
    advice: list[Advice] = Field([], description="the most worthwhile first")
