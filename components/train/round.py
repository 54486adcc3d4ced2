"""One round of training as a value: everything that decides its result but the code and the machine."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Generic, TypeVar

from components.contracts.config import TrainStage

Place = TypeVar("Place", Path, str)
"""Where an artifact is: a path of this machine or, for other processes and nodes, a path or URI as text."""


@dataclass(frozen=True)
class Round(Generic[Place]):
    """What a round is made from.

    Attributes:
        stage: configuration, the same for all rounds of a stream.
        stream: one of j, b, k, jm, bm, km.
        number: 1-based.
        dataset: ``dataset`` artifact.
        constraints: ``constraints`` artifact that guides this round.
        previous: ``checkpoint`` of the round before, from which a later round goes on; None exactly in round 1.
    """

    stage: TrainStage
    stream: str
    number: int
    dataset: Place
    constraints: Place
    previous: Place | None = None
