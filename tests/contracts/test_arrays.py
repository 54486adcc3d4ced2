"""Arrays in files, read by several threads at once."""

from __future__ import annotations

import gc
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from components.contracts.arrays import read_npy, read_npz, write_npz

THREADS = 8
READS = 300


class _Garbage:
    """What runs Python, and so lets another thread in, wherever the collector happens to be called."""

    def __init__(self) -> None:
        self.itself = self

    def __del__(self) -> None:
        for _ in range(5):
            pass


@pytest.fixture
def threads_change_often() -> Iterator[None]:
    interval, thresholds = sys.getswitchinterval(), gc.get_threshold()
    sys.setswitchinterval(1e-6)
    gc.set_threshold(20, 2, 2)
    yield
    gc.set_threshold(*thresholds)
    sys.setswitchinterval(interval)


@pytest.mark.usefixtures("threads_change_often")
def test_threads_read_sound_files_and_none_is_called_damaged(tmp_path: Path) -> None:
    scores = np.arange(12.0).reshape(3, 4)
    write_npz(tmp_path / "scores.npz", {"scores": scores})
    np.save(tmp_path / "scores.npy", scores)

    def read(_: int) -> list[float]:
        _Garbage()
        return [
            float(read_npz(tmp_path / "scores.npz", ("scores",))["scores"].sum()),
            float(read_npy(tmp_path / "scores.npy").sum()),
        ]

    with ThreadPoolExecutor(THREADS) as pool:
        found = list(pool.map(read, range(THREADS * READS)))
    assert found == [[66.0, 66.0]] * (THREADS * READS)
