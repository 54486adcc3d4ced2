"""Real test samples of confused classes: one that was mistaken, beside one of the other class that was recognised."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.contracts.constraints import Constraints
from components.contracts.dataset import Dataset
from components.contracts.metrics import Metrics
from components.evaluate.inputs import Inputs
from components.evaluate.measures.ensemble import Fused
from components.runtime import drawing

PAIRS = 6
_MOST_LOOKED_AT = 100
"""Samples of the dataset by whose trunks it is found which way is up."""


@dataclass(frozen=True)
class Example:
    """One sample of the dataset, of class ``name``.

    ``critical`` are the joints that the guidance names for the class; ``evidence`` float ``[V]`` from 0 to 1 where the
    network looked for the class, None where the artifacts do not say; ``up`` float ``[2 or 3]`` the way that trunks of
    the whole dataset point on average.
    """

    number: int
    name: str
    said: str
    critical: tuple[int, ...]
    evidence: npt.NDArray[np.float64] | None
    up: npt.NDArray[np.float64] | None = None


def coordinates(packed: Dataset, number: int) -> npt.NDArray[np.float64]:
    """Return a sample without the score of 2D joints, ``[M, T, V, 2 or 3]``."""
    points = np.asarray(packed.sample(number), dtype=np.float64)
    return points[..., :2] if packed.config.dimensions == "2d+score" else points


def _upward(packed: Dataset) -> npt.NDArray[np.float64]:
    """Return the mean direction of the trunks of samples from the whole dataset: most people stand most of the time."""
    chosen = np.unique(np.linspace(0, len(packed) - 1, _MOST_LOOKED_AT).astype(int))
    means = []
    for number in chosen.tolist():
        points = coordinates(packed, number)
        steps = drawing.trunks(points, drawing.present(points, packed.layout), packed.layout)
        means.append(steps.sum(axis=0) / max(float(np.linalg.norm(steps.sum(axis=0))), 1e-12))
    return np.asarray(np.mean(means, axis=0))


def confused_examples(inputs: Inputs, headline: Fused, metrics: Metrics) -> list[tuple[Example, Example]]:
    """Return, for the most confused pairs of classes, a mistaken sample and a recognised one of the other class.

    Of all that were mistaken, the one that the ensemble was surest about; of all recognised, likewise. Empty without
    the dataset.
    """
    packed = inputs.dataset
    if packed is None:
        return []
    names = packed.config.classes
    up = _upward(packed)
    constraints, evidence = _latest_constraints(inputs, headline), _latest_evidence(inputs, headline)
    ids = next(iter(inputs.scores.values())).sample_ids
    predicted = headline.probabilities.argmax(axis=1)
    numbers = {str(sample_id): number for number, sample_id in enumerate(packed.sample_ids)}

    def example(places: npt.NDArray[np.intp], label: int, other: int, said: str) -> Example:
        sure = headline.probabilities[places, other]
        place = int(places[sure.argmax()])
        critical = constraints.classes[label].joints if constraints else ()
        looked = None if evidence is None else _up_to_one(evidence[label])
        said = f"{said} with {headline.probabilities[place, other]:.0%}"
        return Example(numbers[str(ids[place])], names[label], said, critical, looked, up)

    found: list[tuple[Example, Example]] = []
    seen: set[frozenset[int]] = set()
    for pair in metrics.confused_pairs:
        true, other = pair.true, pair.predicted
        mistaken = np.flatnonzero((headline.labels == true) & (predicted == other))
        recognised = np.flatnonzero((headline.labels == other) & (predicted == other))
        if frozenset((true, other)) in seen or not len(recognised):
            continue
        seen.add(frozenset((true, other)))
        taken = example(mistaken, true, other, f"taken for {names[other]}")
        found.append((taken, example(recognised, other, other, "recognised")))
        if len(found) == PAIRS:
            break
    return found


def _up_to_one(values: npt.NDArray[np.float32]) -> npt.NDArray[np.float64]:
    """Return by how much each joint's evidence is above that of the middle one, as a share of the most."""
    above = np.maximum(np.asarray(values, dtype=np.float64) - max(float(np.median(values)), 0.0), 0)
    return above / above.max() if above.any() else above


def _heaviest(headline: Fused) -> str:
    return max(zip(headline.weights, headline.streams, strict=True), key=lambda pair: pair[0])[1]


def _latest_constraints(inputs: Inputs, headline: Fused) -> Constraints | None:
    """The constraints under which the heaviest stream of the headline last trained, as far as they are given."""
    heaviest = _heaviest(headline)
    before = [(number, key) for key in inputs.constraints for stream, number in [key] if stream in ("", heaviest)]
    return inputs.constraints[max(before)[1]] if before else None


def _latest_evidence(inputs: Inputs, headline: Fused) -> npt.NDArray[np.float32] | None:
    """Where the heaviest stream of the headline looked in its last round, ``[classes, V]``; None if not known."""
    heaviest = _heaviest(headline)
    rounds = [number for stream, number in inputs.confusions if stream == heaviest]
    return inputs.confusions[heaviest, max(rounds)].evidence if rounds else None
