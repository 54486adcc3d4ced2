"""What every input format offers: a ``Source`` that yields a ``Sample`` for every record.

A format is one module that makes a ``Source`` (``pyskl``, ``kinetics``, ``ntu``, ``uav``); ``readers`` chooses it.
"""

from __future__ import annotations

import hashlib
from abc import ABC, abstractmethod
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.dataset import Skipped

ABSENT = 1e-8
"""A person is absent from a frame in which no coordinate exceeds this (metres or pixels)."""


@dataclass(frozen=True)
class Sample:
    """One sample as the input holds it, not yet checked or normalised.

    keypoints: ``[M, T, V, C]``, C = 3 (x, y, z in metres) or 2 (x, y in pixels);
    scores: ``[M, T, V]`` with C = 2, otherwise None; image: (height, width) in pixels if known.
    """

    position: int
    sample_id: str
    label: int
    keypoints: npt.NDArray[Any]
    scores: npt.NDArray[Any] | None = None
    image: tuple[int, int] | None = None


class Source(ABC):
    """An open input. Iterating yields every record once, in the reader's order: a sample, or why there is none.

    ``raw`` and ``finish`` are the two halves of that: what only one process can do, and what any of several can.
    """

    format: str
    """The format's name, as in the configuration."""
    splits: Mapping[str, Sequence[str]]
    """Split name → sample ids, as the input has them."""
    subjects: Mapping[str, str] = {}
    """Sample id → who is seen, as far as the input says it."""
    classes: Sequence[str] = ()
    """Names of the classes in the order of the labels, if the input has any."""

    @property
    @abstractmethod
    def expected(self) -> int:
        """The number of records, as far as it can be told before they are read."""

    @abstractmethod
    def raw(self) -> Iterator[Any]:
        """Yield what is read of each record, in a form that can be pickled."""

    @abstractmethod
    def finish(self, raw: Any) -> Sample | Skipped:
        """Make a record of what ``raw`` yielded, without looking at the input again."""

    def __iter__(self) -> Iterator[Sample | Skipped]:
        return map(self.finish, self.raw())


def fingerprint(keypoints: npt.NDArray[Any]) -> bytes:
    """Return a digest of coordinates: equal ones are the same bytes in the same shape."""
    content = np.ascontiguousarray(keypoints)
    digest = hashlib.sha256(f"{content.dtype.str}{content.shape}".encode())
    digest.update(content.data)
    return digest.digest()
