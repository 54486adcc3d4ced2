"""Writes inputs of the size of the field's data sets: ``python tests/benchmarks/generate.py --help``.

Coordinates are a random walk around a standing body, lengths and persons are distributed as in the data sets. The
files are those of a real pickler, record by record, so that one of any size can be made in little memory.
"""

from __future__ import annotations

import pickle
from collections.abc import Iterator
from pathlib import Path
from typing import Any, BinaryIO, ClassVar

import numpy as np
import typer

NTU60_SAMPLES = 56_578
CLASSES = 60
JOINTS = 25
TWO_PERSONS_FROM_CLASS = 49
"""The last 11 of the 60 actions are interactions of two."""

_BATCH = 1000
"""Records that a pickler appends at once."""

Protocol = typer.Option(2, min=2, max=5, help="Pickle protocol; PYSKL's own files have 2.")


class RecordPickler(pickle._Pickler):  # type: ignore[name-defined]  # the documented one cannot be fed by a generator
    """A pickler that takes an iterator for a list and forgets its records batch by batch.

    Memo numbers go on as in a pickle made at once.
    """

    dispatch: ClassVar[dict[type, Any]] = dict(pickle._Pickler.dispatch)  # type: ignore[attr-defined]

    def __init__(self, file: BinaryIO, protocol: int) -> None:
        super().__init__(file, protocol)
        self._numbered = 0

    def memoize(self, value: Any) -> None:
        self.write(self.put(self._numbered))
        if not isinstance(value, dict | list | np.ndarray | bytes):
            self.memo[id(value)] = self._numbered, value
        self._numbered += 1

    def save_stream(self, records: Iterator[Any]) -> None:
        self.write(pickle.EMPTY_LIST)
        self.memoize([])
        self._batch_appends(self._forgetting(records))

    def _forgetting(self, records: Iterator[Any]) -> Iterator[Any]:
        lasting = dict(self.memo)
        for number, record in enumerate(records):
            if number % _BATCH == 0:
                self.memo.clear()
                self.memo.update(lasting)
            yield record


class _Stream:
    """What stands for the list of records in the outer dict."""

    def __init__(self, records: Iterator[Any]) -> None:
        self.records = records


RecordPickler.dispatch[_Stream] = lambda pickler, stream: pickler.save_stream(stream.records)


def write(path: Path, splits: dict[str, list[str]], records: Iterator[dict[str, Any]], protocol: int) -> None:
    """Write an annotation pickle with the given splits and records."""
    with path.open("wb") as file:
        RecordPickler(file, protocol).dump({"split": splits, "annotations": _Stream(records)})


def ntu_ids(samples: int) -> list[str]:
    """Return names like those of NTU RGB+D: setup, camera, performer, repetition, action."""
    numbers = range(samples)
    return [
        f"S{n % 17 + 1:03d}C{n % 3 + 1:03d}P{n % 40 + 1:03d}R{n // 60 % 2 + 1:03d}A{n % CLASSES + 1:03d}-{n}"
        for n in numbers
    ]


def ntu_records(samples: int, seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield annotations as in PYSKL's ``ntu60_3danno.pkl``: float16 ``[M, T, 25, 3]``, about 84 frames."""
    generator = np.random.default_rng(seed)
    for number, name in enumerate(ntu_ids(samples)):
        label = number % CLASSES
        persons = 2 if label >= TWO_PERSONS_FROM_CLASS else 1
        frames = int(np.clip(generator.lognormal(4.35, 0.38), 32, 300))
        steps = generator.standard_normal((persons, frames, JOINTS, 3), dtype=np.float32)
        keypoints = steps * np.float32(0.02) + _BODY
        if number % 10 == 0:  # tracking lost for some frames
            keypoints[:, : frames // 20] = 0
        yield {
            "frame_dir": name,
            "label": label,
            "keypoint": keypoints.astype(np.float16),
            "total_frames": frames,
        }


_BODY = np.random.default_rng(1).uniform(-0.8, 0.8, (JOINTS, 3)).astype(np.float32) + np.array([0, 0, 3], np.float32)


def write_ntu(path: Path, samples: int, protocol: int = 2) -> None:
    """Write ``samples`` samples in the form of NTU RGB+D 60: two of three go to ``xsub_train``."""
    ids = ntu_ids(samples)
    splits = {"xsub_train": [i for n, i in enumerate(ids) if n % 3], "xsub_val": ids[::3]}
    write(path, splits, ntu_records(samples), protocol)


def write_kinetics(path: Path, samples: int, protocol: int = 2) -> None:
    """Write ``samples`` samples in the form of a 2D data set with scores: 17 joints, about 250 frames, two persons."""
    ids = [f"clip{number:06d}" for number in range(samples)]
    splits = {"train": [i for n, i in enumerate(ids) if n % 10], "val": ids[::10]}
    write(path, splits, kinetics_records(ids), protocol)


def kinetics_records(ids: list[str], seed: int = 0) -> Iterator[dict[str, Any]]:
    """Yield annotations with pixels and scores in float16."""
    generator = np.random.default_rng(seed)
    for number, name in enumerate(ids):
        persons, frames = int(generator.integers(1, 3)), int(generator.integers(150, 300))
        scores = generator.uniform(0.3, 1, (persons, frames, 17)).astype(np.float16)
        steps = generator.standard_normal((persons, frames, 17, 2), dtype=np.float32)
        yield {
            "frame_dir": name,
            "label": number % 400,
            "img_shape": (256, 340),
            "original_shape": (256, 340),
            "total_frames": frames,
            "keypoint": (steps * 3 + np.float32(120)).astype(np.float16),
            "keypoint_score": scores,
        }


def main(
    path: Path,
    samples: int = typer.Option(NTU60_SAMPLES, help="Number of samples; NTU RGB+D 60 has 56,578."),
    form: str = typer.Option("ntu", help="ntu (3D, 25 joints) or kinetics (2D with scores, 17 joints)."),
    protocol: int = Protocol,
) -> None:
    """Write an annotation pickle of the size of a real data set to PATH."""
    {"ntu": write_ntu, "kinetics": write_kinetics}[form](path, samples, protocol)
    print(f"{path}: {samples} samples, {path.stat().st_size / 1e6:.0f} MB")


if __name__ == "__main__":
    typer.run(main)
