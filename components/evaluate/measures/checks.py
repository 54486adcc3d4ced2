"""Whether the numbers can be trusted: leaks, imbalance, missing samples, collapsed streams.

What contradicts itself (samples, labels or classes that differ between streams) is refused when it is opened, see
``inputs``; here stands what can be reported on and must be looked at.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Literal

import numpy as np

from components.contracts.config import EvaluateStage
from components.contracts.dataset import Dataset
from components.contracts.scores import Scores
from components.evaluate.inputs import Inputs
from components.evaluate.report.wording import listed, some

Status = Literal["bad", "warn", "ok", "unknown"]
FEW_SAMPLES = 100
IMBALANCED = 5
_SUM_TOLERANCE = 1e-3


@dataclass(frozen=True)
class Check:
    """``bad``: do not trust the numbers before you know why; ``unknown``: could not be looked at."""

    name: str
    status: Status
    text: str


def checks(stage: EvaluateStage, inputs: Inputs) -> list[dict[str, Any]]:
    """Return all checks, the worst first: ``name``, ``status``, ``text``."""
    found = [*_agreement(inputs), *_held_out(inputs), *_test_split(stage, inputs), *_probabilities(inputs)]
    if inputs.dataset is None:
        text = "The dataset was not given: leaks, missing samples and training classes were not looked at."
        found.append(Check("Dataset", "unknown", text))
    else:
        found += _dataset(stage, inputs, inputs.dataset)
    order = ("bad", "warn", "unknown", "ok")
    return [asdict(check) for check in sorted(found, key=lambda check: order.index(check.status))]


def _first(inputs: Inputs) -> Scores:
    return next(iter(inputs.scores.values()))


def _agreement(inputs: Inputs) -> list[Check]:
    samples = len(_first(inputs).labels)
    text = f"All {some(len(inputs.scores), 'scores artifact')} hold the same {samples} samples with the same labels."
    found = [Check("Streams agree", "ok", text)]
    datasets = {origin["dataset"] for origin in inputs.origins.values() if "dataset" in origin}
    packed = {inputs.dataset.digest} if inputs.dataset else set()
    if len(datasets | packed) > 1:
        text = "The scores were made from different dataset artifacts; ids and labels agree, coordinates may not."
        found.append(Check("One dataset", "bad", text))
    imported = sorted({stream for (stream, _), origin in inputs.origins.items() if "imported" in origin})
    if imported:
        text = f"Stream {', '.join(imported)}: read from a score dump of other code, trained in a way unknown here."
        found.append(Check("Imported scores", "warn", text))
    return found


def _held_out(inputs: Inputs) -> list[Check]:
    """Streams that brought held-out samples of which nothing could be learnt."""
    having = [one.stream for one in inputs.scores_of_round(inputs.rounds[-1]) if one.held_out is not None]
    if inputs.held_out or not having:
        return []
    text = f"Streams {', '.join(having)} held out different training samples, so each was trained on those of another"
    return [Check("Held-out samples", "warn", f"{text}: no weights were learnt.")]


def _test_split(stage: EvaluateStage, inputs: Inputs) -> list[Check]:
    classes = stage.data.classes
    counts = np.bincount(_first(inputs).labels, minlength=len(classes))
    found = []
    samples = int(counts.sum())
    if samples < FEW_SAMPLES:
        text = f"Only {samples}: one sample is {100 / samples:.1f} points. Look at the intervals."
        found.append(Check("Test samples", "warn", text))
    else:
        found.append(Check("Test samples", "ok", f"{samples}: one sample is {100 / samples:.2f} points."))
    absent = [classes[label] for label in np.flatnonzero(counts == 0)]
    if absent:
        text = f"{some(len(absent), 'class', 'classes')} without a test sample: {listed(absent)}."
        found.append(Check("Test classes", "warn", text))
    found.append(_balance("Balance of the test split", counts, list(classes)))
    return found


def _balance(name: str, counts: Any, classes: list[str]) -> Check:
    present = np.flatnonzero(counts)
    least, most = present[counts[present].argmin()], present[counts[present].argmax()]
    ratio = counts[most] / counts[least]
    if ratio == 1:
        return Check(name, "ok", f"{some(int(counts[most]), 'sample')} in every class.")
    text = f"From {counts[least]} ({classes[least]}) to {counts[most]} samples ({classes[most]}) per class."
    if ratio > IMBALANCED:
        text += f" The largest is {ratio:.0f} times the smallest: look at the mean-class accuracy."
    return Check(name, "warn" if ratio > IMBALANCED else "ok", text)


def _probabilities(inputs: Inputs) -> list[Check]:
    found = []
    for (stream, number), scores in inputs.scores.items():
        predicted = scores.probabilities.argmax(axis=1)
        if len(scores.labels) > 1 and len(np.unique(predicted)) == 1 and len(np.unique(scores.labels)) > 1:
            text = f"Stream {stream}, round {number}: every sample gets the same class."
            found.append(Check("Collapsed stream", "bad", text))
        elif float((predicted == scores.labels).mean()) <= 1 / scores.probabilities.shape[1]:
            text = f"Stream {stream}, round {number}: no better than guessing."
            found.append(Check("Stream at chance", "bad", text))
        sums = scores.probabilities.sum(axis=1)
        if (scores.probabilities < 0).any() or (np.abs(sums - 1) > _SUM_TOLERANCE).any():
            text = f"Stream {stream}, round {number}: sums from {sums.min():.3g} to {sums.max():.3g}, 1 expected."
            found.append(Check("Not probabilities", "bad", text))
    return found


def _dataset(stage: EvaluateStage, inputs: Inputs, packed: Dataset) -> list[Check]:
    chosen = stage.data.chosen
    train, test = packed.split(chosen.train), packed.split(chosen.test)
    found = [_leaks(inputs.leaks, len(test))]
    shared = np.intersect1d(train, test)
    if len(shared):
        text = f"{some(len(shared), 'sample')} in both splits, e.g. {str(packed.sample_ids[shared[0]])!r}."
        found.append(Check("Splits overlap", "bad", text))
    missing = np.setdiff1d(packed.sample_ids[test], _first(inputs).sample_ids)
    if len(missing):
        text = f"{len(missing)} of {len(test)} test samples have no scores, e.g. {str(missing[0])!r}."
        found.append(Check("Missing scores", "bad", text))
    if packed.skipped:
        text = f"{some(len(packed.skipped), 'sample')} of the input could not be used: see its skipped.jsonl."
        found.append(Check("Skipped samples", "warn", text))
    counts = np.bincount(packed.labels[train], minlength=len(stage.data.classes))
    unknown = [stage.data.classes[label] for label in np.unique(packed.labels[test]) if not counts[label]]
    if unknown:
        text = f"{some(len(unknown), 'class', 'classes')} tested but never trained: {listed(unknown)}."
        found.append(Check("Training classes", "bad", text))
    return [*found, _balance("Balance of the training split", counts, list(stage.data.classes))]


def _leaks(leaks: int | None, samples: int) -> Check:
    if leaks is None:
        return Check(
            "Leaks", "unknown", "The dataset does not say whether test samples are copies of training samples."
        )
    if leaks:
        text = f"{leaks} of {samples} test samples are byte-equal to a training sample: accuracy is overstated."
        return Check("Leaks", "bad", text)
    return Check("Leaks", "ok", "No test sample is byte-equal to a training sample.")
