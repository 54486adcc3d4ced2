"""Whether the numbers can be trusted: leaks, imbalance, missing samples, collapsed streams.

What contradicts itself (samples, labels or classes that differ between streams) is refused when it is opened, see
``inputs``; here stands what can be reported on and must be looked at.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from components.contracts.config import EvaluateStage
from components.contracts.dataset import Dataset
from components.contracts.metrics import Check
from components.contracts.scores import Scores
from components.evaluate.inputs import Inputs
from components.evaluate.wording import counted, listed

FEW_SAMPLES = 100
IMBALANCED = 5
_SUM_TOLERANCE = 1e-3


def checks(stage: EvaluateStage, inputs: Inputs) -> list[Check]:
    """Return all checks, the worst first."""
    found = [*_agreement(inputs), *_held_out(inputs), *_test_split(stage, inputs), *_probabilities(inputs)]
    if inputs.dataset is None:
        text = "The dataset was not given: leaks, missing samples and training classes were not looked at."
        found.append(Check(name="Dataset", status="unknown", text=text))
    else:
        found += _dataset(stage, inputs, inputs.dataset)
    order = ("bad", "warn", "unknown", "ok")
    return sorted(found, key=lambda check: order.index(check.status))


def _first(inputs: Inputs) -> Scores:
    return next(iter(inputs.scores.values()))


def _agreement(inputs: Inputs) -> list[Check]:
    samples = len(_first(inputs).labels)
    text = f"All {counted(len(inputs.scores), 'scores artifact')} hold the same {samples} samples with the same labels."
    found = [Check(name="Streams agree", status="ok", text=text)]
    datasets = {origin["dataset"] for origin in inputs.origins.values() if "dataset" in origin}
    packed = {inputs.dataset.digest} if inputs.dataset else set()
    if len(datasets | packed) > 1:
        text = "The scores were made from different dataset artifacts; ids and labels agree, coordinates may not."
        found.append(Check(name="One dataset", status="bad", text=text))
    imported = sorted({stream for (stream, _), origin in inputs.origins.items() if "imported" in origin})
    if imported:
        text = f"Stream {', '.join(imported)}: read from a score dump of other code, trained in a way unknown here."
        found.append(Check(name="Imported scores", status="warn", text=text))
    return found


def _held_out(inputs: Inputs) -> list[Check]:
    """Streams that brought held-out samples of which nothing could be learnt."""
    having = [one.stream for one in inputs.scores_of_round(inputs.rounds[-1]) if one.held_out is not None]
    if inputs.held_out or not having:
        return []
    text = f"Streams {', '.join(having)} held out different training samples, so each was trained on those of another"
    return [Check(name="Held-out samples", status="warn", text=f"{text}: no weights were learnt.")]


def _test_split(stage: EvaluateStage, inputs: Inputs) -> list[Check]:
    classes = stage.data.classes
    counts = np.bincount(_first(inputs).labels, minlength=len(classes))
    found = []
    samples = int(counts.sum())
    if samples < FEW_SAMPLES:
        text = f"Only {samples}: one sample is {100 / samples:.1f} points. Look at the intervals."
        found.append(Check(name="Test samples", status="warn", text=text))
    else:
        found.append(
            Check(name="Test samples", status="ok", text=f"{samples}: one sample is {100 / samples:.2f} points.")
        )
    absent = [classes[label] for label in np.flatnonzero(counts == 0)]
    if absent:
        text = f"{counted(len(absent), 'class', 'classes')} without a test sample: {listed(absent)}. "
        text += (
            "The mean-class accuracy counts such a class as 0 if a sample was taken for it, as the published one does."
        )
        found.append(Check(name="Test classes", status="warn", text=text))
    found.append(_balance("Balance of the test split", counts, list(classes)))
    return found


def _balance(name: str, counts: Any, classes: list[str]) -> Check:
    present = np.flatnonzero(counts)
    least, most = present[counts[present].argmin()], present[counts[present].argmax()]
    ratio = counts[most] / counts[least]
    if ratio == 1:
        return Check(name=name, status="ok", text=f"{counted(int(counts[most]), 'sample')} in every class.")
    text = f"From {counts[least]} ({classes[least]}) to {counts[most]} samples ({classes[most]}) per class."
    if ratio > IMBALANCED:
        text += f" The largest is {ratio:.0f} times the smallest: look at the mean-class accuracy."
    return Check(name=name, status="warn" if ratio > IMBALANCED else "ok", text=text)


def _probabilities(inputs: Inputs) -> list[Check]:
    found = []
    for (stream, number), scores in inputs.scores.items():
        predicted = scores.probabilities.argmax(axis=1)
        if len(scores.labels) > 1 and len(np.unique(predicted)) == 1 and len(np.unique(scores.labels)) > 1:
            text = f"Stream {stream}, round {number}: every sample gets the same class."
            found.append(Check(name="Collapsed stream", status="bad", text=text))
        elif scores.top1 <= 1 / scores.probabilities.shape[1]:
            text = f"Stream {stream}, round {number}: no better than guessing."
            found.append(Check(name="Stream at chance", status="bad", text=text))
        sums = scores.probabilities.sum(axis=1)
        if (scores.probabilities < 0).any() or (np.abs(sums - 1) > _SUM_TOLERANCE).any():
            text = f"Stream {stream}, round {number}: sums from {sums.min():.3g} to {sums.max():.3g}, 1 expected."
            found.append(Check(name="Not probabilities", status="bad", text=text))
    return found


def _dataset(stage: EvaluateStage, inputs: Inputs, packed: Dataset) -> list[Check]:
    chosen = stage.data.chosen
    train, test = packed.split(chosen.train), packed.split(chosen.test)
    found = [_leaks(inputs.leaks, len(test))]
    shared = np.intersect1d(train, test)
    if len(shared):
        text = f"{counted(len(shared), 'sample')} in both splits, e.g. {str(packed.sample_ids[shared[0]])!r}."
        found.append(Check(name="Splits overlap", status="bad", text=text))
    missing = np.setdiff1d(packed.sample_ids[test], _first(inputs).sample_ids)
    if len(missing):
        text = f"{len(missing)} of {len(test)} test samples have no scores, e.g. {str(missing[0])!r}."
        found.append(Check(name="Missing scores", status="bad", text=text))
    if packed.skipped:
        text = f"{counted(len(packed.skipped), 'sample')} of the input could not be used: see its skipped.jsonl."
        found.append(Check(name="Skipped samples", status="warn", text=text))
    counts = np.bincount(packed.labels[train], minlength=len(stage.data.classes))
    unknown = [stage.data.classes[label] for label in np.unique(packed.labels[test]) if not counts[label]]
    if unknown:
        text = f"{counted(len(unknown), 'class', 'classes')} tested but never trained: {listed(unknown)}."
        found.append(Check(name="Training classes", status="bad", text=text))
    return [*found, _balance("Balance of the training split", counts, list(stage.data.classes))]


def _leaks(leaks: int | None, samples: int) -> Check:
    if leaks is None:
        return Check(
            name="Leaks",
            status="unknown",
            text="The dataset does not say whether test samples are copies of training samples.",
        )
    if leaks:
        text = f"{leaks} of {samples} test samples are byte-equal to a training sample: accuracy is overstated."
        return Check(name="Leaks", status="bad", text=text)
    return Check(name="Leaks", status="ok", text="No test sample is byte-equal to a training sample.")
