"""Is run B better than run A? Both spoke about the same test samples, so they are compared sample by sample."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt

from components.contracts import report
from components.contracts.artifact import MANIFEST
from components.contracts.errors import InputError
from components.contracts.metric_parts import Paired
from components.contracts.metrics import Metrics
from components.contracts.report import PREDICTIONS, Predictions
from components.evaluate.measures.statistics import holm, paired
from components.evaluate.report.story import SIGNIFICANT
from components.evaluate.wording import counted, p_value, percent, points, points_span


@dataclass(frozen=True)
class ClassChange:
    """One class: its recall in A and in B, the samples that changed, and McNemar's p-value adjusted by Holm."""

    name: str
    first: float
    second: float
    paired: Paired
    adjusted: float


@dataclass(frozen=True)
class Comparison:
    """``classes`` are those of which a sample changed, the surest change first."""

    answer: str
    overall: Paired
    classes: tuple[ClassChange, ...]
    cautions: tuple[str, ...]


@dataclass(frozen=True)
class Run:
    """The metrics of a run and what its last ensemble said, samples in the order of their ids."""

    metrics: Metrics
    predictions: Predictions

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        return np.asarray(self.predictions.predicted == self.predictions.labels)


def open_run(path: Path) -> Run:
    """Open a ``report`` artifact or a run's folder (``metrics.json`` and ``predictions.npz``).

    Raises:
        InputError: it is neither, it is damaged, or it is of a version that kept no predictions.
    """
    if (path / MANIFEST).is_file():
        opened = report.open(path)
        if opened.predictions is None:
            raise InputError(f"it holds no {PREDICTIONS}: evaluate the run again", at=path)
        return Run(opened.metrics, _sorted(opened.predictions))
    for name in ("metrics.json", PREDICTIONS):
        if not (path / name).is_file():
            raise InputError(f"no {name} found; expected a run's folder (runs/<name>) or a report artifact", at=path)
    metrics = report.read_metrics(path / "metrics.json")
    return Run(metrics, _sorted(report.read_predictions(path / PREDICTIONS)))


def _sorted(found: Predictions) -> Predictions:
    order = np.argsort(found.sample_ids, kind="stable")
    return Predictions(**{name: array[order] for name, array in vars(found).items()})


def compare(first: Run, second: Run) -> Comparison:
    """Compare two runs of the same test samples.

    Raises:
        InputError: the test samples, their labels or the classes differ.
    """
    _check_same(first, second)
    overall = paired(first.correct, second.correct)
    return Comparison(_answer(first, second, overall), overall, _classes(first, second), _cautions(first, second))


def _check_same(first: Run, second: Run) -> None:
    one, two = first.predictions, second.predictions
    foreign = np.setxor1d(one.sample_ids, two.sample_ids)
    if len(foreign):
        raise InputError(
            f"the runs are of different test samples: {len(foreign)} are in one only, e.g. {str(foreign[0])!r}"
        )
    differ = np.flatnonzero(one.labels != two.labels)
    if len(differ):
        raise InputError(
            f"the runs disagree about the labels of {len(differ)} samples, e.g. {str(one.sample_ids[differ[0]])!r}"
        )
    if first.metrics.data.classes != second.metrics.data.classes:
        raise InputError("the runs name their classes differently")


def _answer(first: Run, second: Run, found: Paired) -> str:
    shares = f"{percent(float(second.correct.mean()))} against {percent(float(first.correct.mean()))} top-1"
    interval = points_span(found.interval)
    if found.won + found.lost == 0:
        return f"No: A and B have the same samples right ({shares})."
    counts = (
        f"{shares}, {points(found.difference)} points, 95 % interval {interval}, {p_value(found.p_value)}; "
        f"only B has {counted(found.won, 'sample')} right, only A {found.lost}"
    )
    if found.p_value >= SIGNIFICANT:
        return f"It cannot be told whether B is better than A: {counts}."
    return f"{'Yes, B is better than A' if found.difference > 0 else 'No, A is better than B'}: {counts}."


def _classes(first: Run, second: Run) -> tuple[ClassChange, ...]:
    labels, names = first.predictions.labels, first.metrics.data.classes
    found = []
    for label in np.unique(labels[first.correct != second.correct]):
        inside = labels == label
        one, two = first.correct[inside], second.correct[inside]
        found.append((names[label], float(one.mean()), float(two.mean()), paired(one, two)))
    adjusted = holm([change.p_value for *_, change in found])
    rows = [ClassChange(*row, value) for row, value in zip(found, adjusted, strict=True)]
    return tuple(sorted(rows, key=lambda row: (row.adjusted, -abs(row.paired.difference), row.name)))


def _cautions(first: Run, second: Run) -> tuple[str, ...]:
    found = []
    trained = [run.metrics.data.train_split for run in (first, second)]
    if trained[0] != trained[1]:
        found.append(f"A was trained on {trained[0]!r}, B on {trained[1]!r}: the difference may be the data's.")
    for name, run in (("A", first), ("B", second)):
        bad = [check.name for check in run.metrics.checks if check.status == "bad"]
        bad += [doubt.code for doubt in run.metrics.data.doubts or [] if doubt.severity in ("stop", "accepted")]
        if bad:
            found.append(f"{name} has red flags: {', '.join(bad)}.")
    found.append("One run each: how much another seed would change is not in these intervals.")
    return tuple(found)
