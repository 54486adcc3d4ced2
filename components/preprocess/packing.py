"""Samples checked and normalised, on as many processes as there are cores, in the order in which they are read."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import signal
import sys
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.config import DataConfig
from components.contracts.dataset import Skipped
from components.contracts.errors import ResourceError
from components.preprocess.adapt import adapt
from components.preprocess.gaps import fill
from components.preprocess.inspect.gap_notes import Lost
from components.preprocess.inspect.glimpse import Glimpse, glimpse
from components.preprocess.inspect.survey import is_looked_at
from components.preprocess.normalise import normalise
from components.preprocess.readers.faults import fault
from components.preprocess.readers.samples import ABSENT, Sample, Source, fingerprint

FEW = 500
"""Below so many records, other processes would take longer to start than to help."""
CHUNK = 32
"""Records that travel together."""
AHEAD = 3
"""Chunks per process that are read ahead of the one that is awaited: what bounds the memory."""
_PR_SET_PDEATHSIG = 1


@dataclass(frozen=True)
class Prepared:
    """A record as the dataset stores it, float32 ``[M, T, V, 3]``, or the reason why it cannot.

    ``width``: see ``Dataset.widths``; ``label`` is None where the record has none; ``lost`` and ``seen``: see
    ``inspect.survey``.
    """

    position: int
    sample_id: str
    label: int | None = None
    keypoints: npt.NDArray[np.float32] | None = None
    width: int = 0
    fingerprint: bytes = b""
    reason: str = ""
    lost: Lost | None = None
    seen: Glimpse | None = None


def prepared(source: Source, config: DataConfig, processes: int | None = None) -> Generator[Prepared, None, None]:
    """Yield every record of a source, in its order; the number of processes changes nothing else.

    Args:
        source: an open input; only its ``raw`` runs in this process, when there are several.
        config: how to check and normalise.
        processes: how many work beside this one; 1 is this one alone. None means one per core, and this one alone
            for few records or where a process cannot be forked (outside of Linux).

    Raises:
        ResourceError: a process was killed.
    """
    if processes is None:
        many = sys.platform == "linux" and source.expected >= FEW
        processes = len(os.sched_getaffinity(0)) if many else 1
    if processes == 1:
        expected = source.expected
        return (_prepare(source, config, expected, raw) for raw in source.raw())
    return _spread(source, config, processes)


def _spread(source: Source, config: DataConfig, processes: int) -> Generator[Prepared, None, None]:
    # Forked, a worker has the open source and its reader as they are; neither could be pickled.
    context = multiprocessing.get_context("fork")
    pool = ProcessPoolExecutor(processes, context, _begin, (source, config, source.expected, os.getpid()))
    awaited: deque[Future[list[Prepared]]] = deque()
    try:
        for chunk in _chunks(source.raw()):
            awaited.append(pool.submit(_prepare_chunk, chunk))
            if len(awaited) > AHEAD * processes:
                yield from awaited.popleft().result()
        while awaited:
            yield from awaited.popleft().result()
    except BrokenProcessPool:
        raise ResourceError("a process that packs samples was killed: is there enough memory?") from None
    finally:
        pool.shutdown(cancel_futures=True)


def _chunks(records: Iterable[Any]) -> Iterator[list[Any]]:
    chunk: list[Any] = []
    for record in records:
        chunk.append(record)
        if len(chunk) == CHUNK:
            yield chunk
            chunk = []
    if chunk:
        yield chunk


_shared: tuple[Source, DataConfig, int]


def _begin(source: Source, config: DataConfig, expected: int, parent: int) -> None:
    """Prepare a worker: it ends with its parent, whatever ends that, and leaves Ctrl-C to it."""
    global _shared
    _shared = source, config, expected
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
    if os.getppid() != parent:
        os._exit(1)


def _prepare_chunk(chunk: list[Any]) -> list[Prepared]:
    return [_prepare(*_shared, raw) for raw in chunk]


def _prepare(source: Source, config: DataConfig, expected: int, raw: Any) -> Prepared:
    record = source.finish(raw)
    if isinstance(record, Skipped):
        return Prepared(record.position, record.sample_id, reason=record.reason)
    mended = fill(adapt(record, config), config.fill_gaps)
    sample = mended.sample
    reason = mended.reason or fault(sample, config)
    if reason:
        return Prepared(record.position, record.sample_id, sample.label, reason=reason)
    keypoints = normalise(sample, config)
    if not np.isfinite(keypoints).all():
        reason = "keypoint: values too large to normalise"
        return Prepared(record.position, record.sample_id, sample.label, reason=reason)
    return Prepared(
        record.position,
        record.sample_id,
        sample.label,
        keypoints,
        _width(sample, config),
        fingerprint(np.asarray(record.keypoints)),
        lost=_lost(sample, keypoints, mended.filled),
        seen=glimpse(sample) if is_looked_at(record.position, expected) else None,
    )


def _lost(sample: Sample, stored: npt.NDArray[np.float32], filled: int) -> Lost:
    points = sample.keypoints
    frames, empty = points.shape[1], 0
    if not (np.abs(points[0, :, 0, 0]) > ABSENT).all():  # one joint's x tells enough of most samples
        empty = frames - int((np.abs(points) > ABSENT).any(axis=(0, 2, 3)).sum())
    return Lost(sample.label, frames, empty, frames - stored.shape[1], filled)


def _width(sample: Sample, config: DataConfig) -> int:
    """Return the image's width if the stored x counts pixels, so that training can mirror it; otherwise 0."""
    pixels = config.dimensions == "2d+score" and config.normalisation == "none"
    return sample.image[1] if pixels and sample.image else 0
