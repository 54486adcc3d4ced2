"""Late fusion: the weighted mean of the streams' class probabilities, sample by sample."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from components.contracts.accuracy import correct
from components.contracts.config import EvaluateConfig, EvaluateStage
from components.contracts.errors import InputError
from components.contracts.scores import Scores
from components.contracts.skeleton import STREAMS
from components.evaluate.alignment import align

PUBLISHED: dict[str, dict[str, float]] = {
    "published 2-stream": {"j": 1, "b": 1},
    "published 4-stream": {"j": 2, "b": 2, "jm": 1, "bm": 1},
    "published 6-stream": {"j": 2, "b": 2, "k": 2, "jm": 1, "bm": 1, "km": 1},
}
"""The ensembles that the reference reports (its tools/ensemble.py; QUIRKS 32)."""

_LEARNING_STEPS = 500
_SMALLEST = 1e-12
_ROWS = 256
"""Samples that are fused at once, so that what is computed in between stays in the processor's cache."""


@dataclass(frozen=True)
class Fused:
    """Labels int64 ``[N]`` and fused probabilities float64 ``[N, classes]``, in the order of sorted sample ids."""

    streams: tuple[str, ...]
    weights: tuple[float, ...]
    labels: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]

    @property
    def correct(self) -> npt.NDArray[np.bool_]:
        """Whether each sample was recognised, ``[N]``."""
        return correct(self.probabilities, self.labels)


def fuse(scores: Sequence[Scores], weights: Mapping[str, float], *, aligned: bool = False) -> Fused:
    """Return the weighted mean of probabilities over the streams that have a positive weight.

    Args:
        scores: at most one per stream, in any order; samples in any order.
        weights: stream → weight; only their ratios matter.
        aligned: whether ``align`` returned these scores, so that it need not compare 20,000 ids again.

    Raises:
        InputError: no stream has a positive weight, a stream stands twice, or the samples differ
            (see ``align``).
    """
    chosen = sorted((one for one in scores if weights.get(one.stream, 0) > 0), key=lambda s: STREAMS.index(s.stream))
    streams = tuple(one.stream for one in chosen)
    if not chosen:
        given = ", ".join(one.stream for one in scores) or "none"
        raise InputError(f"evaluate.weights: no stream with scores (found {given}) has a positive weight")
    if len(set(streams)) != len(streams):
        raise InputError(f"ensemble: a stream stands twice in {', '.join(streams)}")
    ordered = chosen if aligned else align(chosen)
    total = float(sum(weights[stream] for stream in streams))
    # Summed in the fixed order of STREAMS, so that the order of the inputs cannot change a bit of the result.
    fused = np.zeros(ordered[0].probabilities.shape)
    for start in range(0, len(fused), _ROWS):
        rows = slice(start, start + _ROWS)
        for one in ordered:
            fused[rows] += np.multiply(one.probabilities[rows], weights[one.stream] / total, dtype=np.float64)
    return Fused(streams, tuple(float(weights[stream]) for stream in streams), ordered[0].labels, fused)


def learnt_weights(held_out: Sequence[Scores]) -> dict[str, float]:
    """Return the weights, summing to 1, under which the labels of held-out samples are most likely.

    The fused probability of a label is a mixture of the streams', so expectation-maximisation of the mixture's
    proportions climbs to the one maximum (Dempster, Laird, Rubin 1977, §4.3).

    Args:
        held_out: scores of samples that neither the networks nor the test split know, one per stream.
    """
    aligned = align(sorted(held_out, key=lambda one: STREAMS.index(one.stream)))
    labels = aligned[0].labels
    own = np.stack([one.probabilities[np.arange(len(labels)), labels] for one in aligned]).astype(np.float64)
    own = np.maximum(own, _SMALLEST)
    weights = np.full(len(own), 1 / len(own))
    for _ in range(_LEARNING_STEPS):
        shares = weights[:, None] * own
        weights = (shares / shares.sum(axis=0)).mean(axis=1)
    return {one.stream: round(float(weight), 4) for one, weight in zip(aligned, weights, strict=True)}


def proportional(one: Mapping[str, float], other: Mapping[str, float]) -> bool:
    """Whether two sets of weights make the same ensemble."""
    if one.keys() != other.keys():
        return False
    first, second = sum(one.values()), sum(other.values())
    return all(abs(one[stream] / first - other[stream] / second) < 1e-9 for stream in one)


def only_streams(stage: EvaluateStage, streams: Sequence[str]) -> EvaluateStage:
    """Give every stream but these weight 0, and weight 1 to one of these that has none."""
    unknown = set(streams) - set(STREAMS)
    if unknown:
        raise InputError(f"--streams: found {sorted(unknown)[0]!r}, expected some of {', '.join(STREAMS)}")
    known: dict[str, float] = {str(stream): weight for stream, weight in stage.evaluate.weights.items()}
    weights = {stream: (known.get(stream) or 1.0) if stream in streams else 0.0 for stream in STREAMS}
    return stage.model_copy(update={"evaluate": EvaluateConfig.model_validate({"weights": weights})})
