"""The ``dataset`` artifact: every sample of a skeleton file, packed once and memory-mapped ever after.

``keypoints.npy`` holds all persons and frames one after another, ``[F, V, C]``. Sample s with M persons and
T frames occupies ``M·T`` consecutive rows from ``first[s]``, person by person. ``index.npz`` says where,
``skipped.jsonl`` lists what was rejected and why; together they name every sample of the input exactly once.
"""

from __future__ import annotations

import json
from array import array
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path
from types import TracebackType
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel

from components.contracts.arrays import expect_shape, read_npz, write_npz
from components.contracts.artifact import WRITE_FAILURES, Artifact, Manifest, Schema, seal, staged
from components.contracts.artifact import verify as verify_artifact
from components.contracts.config import DataConfig
from components.contracts.errors import InputError, ResourceError
from components.contracts.skeleton import Layout, load_layout

SCHEMA = Schema("dataset", 1, 2)
_INDEX = ("sample_ids", "labels", "persons", "first", "frames")
_COLUMNS = (*_INDEX[1:], "widths", "empty", "filled")
_SPLIT = "split."
CHANNELS = 3


class Skipped(BaseModel):
    """A rejected sample: its position in the input, its id as far as known, and the reason."""

    position: int
    sample_id: str
    reason: str


@dataclass(frozen=True)
class Dataset(Artifact):
    """An open dataset. ``keypoints`` is memory-mapped and read-only.

    keypoints: float32 or float16 ``[F, V, 3]``; sample_ids: str ``[N]``; labels: int64 ``[N]``;
    persons: int64 ``[N]`` (M per sample); first, frames: int64 ``[N]`` (first row, T);
    widths: int64 ``[N]``, the x of the image's right edge where x counts pixels from the left, otherwise 0:
    a joint's mirror image stands at widths − x; empty, filled: int64 ``[N]``, how many frames of the input show nobody
    and how many positions of joints were interpolated; splits: name → int64 sample numbers, in the input's order.
    """

    path: Path
    config: DataConfig
    layout: Layout
    keypoints: npt.NDArray[Any]
    sample_ids: npt.NDArray[np.str_]
    labels: npt.NDArray[np.int64]
    persons: npt.NDArray[np.int64]
    first: npt.NDArray[np.int64]
    frames: npt.NDArray[np.int64]
    widths: npt.NDArray[np.int64]
    empty: npt.NDArray[np.int64]
    filled: npt.NDArray[np.int64]
    splits: dict[str, npt.NDArray[np.int64]]
    skipped: list[Skipped]

    def __len__(self) -> int:
        return len(self.sample_ids)

    def sample(self, number: int) -> npt.NDArray[Any]:
        """Return one sample as ``[M, T, V, 3]`` (a view into the file)."""
        persons, frames, first = int(self.persons[number]), int(self.frames[number]), int(self.first[number])
        rows = self.keypoints[first : first + persons * frames]
        return rows.reshape(persons, frames, *rows.shape[1:])

    def split(self, name: str) -> npt.NDArray[np.int64]:
        """Return the sample numbers of a split; ``InputError`` lists the known ones if there is none."""
        if name not in self.splits:
            raise InputError(f"split: found {name!r}, expected one of {', '.join(sorted(self.splits))}", at=self.path)
        if not len(self.splits[name]):
            raise InputError(f"split {name!r} holds no packed sample; see skipped.jsonl", at=self.path)
        return self.splits[name]


@dataclass
class Writer:
    """Streams samples into a dataset: memory stays flat, nothing is visible before ``close``.

    Use as a context manager; leaving it normally finishes the artifact at ``path``, leaving it by an
    exception removes everything. ``notes`` are further entries of the manifest's ``about``.
    """

    path: Path
    config: DataConfig
    made_from: Mapping[str, str]
    dtype: npt.DTypeLike = np.float32
    notes: dict[str, Any] = field(default_factory=dict)
    _ids: list[str] = field(default_factory=list)
    _rows: array[int] = field(default_factory=lambda: array("q"))
    _skipped: list[Skipped] = field(default_factory=list)
    _frames_written: int = 0

    def __enter__(self) -> Writer:
        self._staging = staged(self.path)
        self._directory = self._staging.__enter__()
        self._joints = len(load_layout(self.config.layout).joints)
        try:
            with _writing(self.path):
                self._raw = (self._directory / "keypoints.npy").open("wb")
                self._write_header()
        except BaseException as failure:
            self._discard(failure)
            raise
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        if error is not None:
            self._discard(error)
            return
        try:
            with _writing(self.path):
                self._finish()
        except BaseException as failure:
            self._discard(failure)
            raise
        with _writing(self.path):
            self._staging.__exit__(None, None, None)

    def _discard(self, failure: BaseException) -> None:
        with suppress(OSError, AttributeError):  # what is still buffered need not fit
            self._raw.close()
        self._staging.__exit__(type(failure), failure, failure.__traceback__)

    def append(
        self,
        sample_id: str,
        label: int,
        keypoints: npt.NDArray[Any],
        width: int = 0,
        *,
        empty: int = 0,
        filled: int = 0,
    ) -> None:
        """Add one sample: ``keypoints`` is ``[M, T, V, 3]``, finite, M and T at least 1; the rest: see ``Dataset``."""
        persons, frames, joints, channels = keypoints.shape
        if (joints, channels) != (self._joints, CHANNELS) or persons < 1 or frames < 1:
            raise ValueError(f"{sample_id}: shape {keypoints.shape} does not fit layout {self.config.skeleton.name}")
        with _writing(self.path):
            self._raw.write(np.ascontiguousarray(keypoints, dtype=self.dtype).data)
        self._ids.append(sample_id)
        self._rows.extend((label, persons, self._frames_written, frames, width, empty, filled))
        self._frames_written += persons * frames

    def skip(self, position: int, sample_id: str, reason: str) -> None:
        """Record a rejected sample."""
        self._skipped.append(Skipped(position=position, sample_id=sample_id, reason=reason))

    def splits(self, splits: Mapping[str, Sequence[str]]) -> None:
        """Set the splits by sample id. Ids that are not packed are left out (they stand in ``skipped``)."""
        numbers = {sample_id: number for number, sample_id in enumerate(self._ids)}
        self._splits = {
            name: np.asarray([numbers[i] for i in ids if i in numbers], dtype=np.int64) for name, ids in splits.items()
        }

    def _write_header(self) -> None:
        # A fixed-size header is rewritten with the true row count at the end.
        header = {
            "descr": np.lib.format.dtype_to_descr(np.dtype(self.dtype)),
            "fortran_order": False,
            "shape": (self._frames_written, self._joints, CHANNELS),
        }
        self._raw.seek(0)
        self._raw.write(_npy_header(header))

    def _finish(self) -> None:
        self._write_header()
        self._raw.close()
        columns = np.frombuffer(self._rows, dtype=np.int64).reshape(-1, len(_COLUMNS))
        index = dict(zip(_COLUMNS, columns.T, strict=True))
        splits = {f"{_SPLIT}{name}": numbers for name, numbers in self._splits.items()}
        ids = np.asarray(self._ids, dtype=np.str_) if self._ids else np.empty(0, dtype="<U1")
        write_npz(self._directory / "index.npz", {"sample_ids": ids, **index, **splits})
        _write_jsonl(self._directory / "skipped.jsonl", self._skipped)
        about = {
            **self.notes,
            "samples": len(self._ids),
            "skipped": len(self._skipped),
            "frames": int(columns[:, 3].sum()),
            "splits": {name: len(numbers) for name, numbers in sorted(self._splits.items())},
        }
        config = self.config.model_dump(mode="json")
        seal(self._directory, SCHEMA, made_from=self.made_from, config=config, about=about)


@contextmanager
def _writing(path: Path) -> Iterator[None]:
    """Make a full disk or a missing permission one clear line."""
    try:
        yield
    except OSError as error:
        kind = ResourceError if error.errno in WRITE_FAILURES else InputError
        raise kind(f"cannot be written: {error.strerror or error}", at=path) from None


def _npy_header(header: dict[str, Any]) -> bytes:
    """Return a version-1.0 .npy header padded to 128 bytes, whatever the number of rows."""
    text = repr(header).encode("latin1")
    size = 128 - 10
    return b"\x93NUMPY\x01\x00" + size.to_bytes(2, "little") + text.ljust(size - 1) + b"\n"


def _write_jsonl(path: Path, records: Iterable[BaseModel]) -> None:
    lines = (json.dumps(record.model_dump(mode="json"), ensure_ascii=False, sort_keys=True) for record in records)
    path.write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


def open(path: Path) -> Dataset:
    """Verify a dataset and open it, keypoints memory-mapped.

    Raises:
        InputError: not a dataset, a newer major version, or damaged.
    """
    manifest = verify(path)
    index = read_npz(path / "index.npz", _INDEX, beginning=("",))  # all of them
    skipped = (path / "skipped.jsonl").read_text(encoding="utf-8").splitlines()
    config = DataConfig.model_validate(manifest.config)
    return Dataset(
        path=path,
        config=config,
        layout=load_layout(config.layout),
        keypoints=_open_keypoints(path / "keypoints.npy"),
        **{name: index[name] for name in _INDEX},
        # Since versions 1.1 and 1.2.
        **{name: index.get(name, np.zeros_like(index["labels"])) for name in ("widths", "empty", "filled")},
        splits={name.removeprefix(_SPLIT): array for name, array in index.items() if name.startswith(_SPLIT)},
        skipped=[Skipped.model_validate_json(line) for line in skipped],
        manifest=manifest,
    )


def _open_keypoints(file: Path) -> npt.NDArray[Any]:
    try:
        keypoints: npt.NDArray[Any] = np.load(file, mmap_mode="r", allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read as .npy: {error}", at=file) from None
    expect_shape(file, "keypoints", keypoints, (None, None, CHANNELS))
    return keypoints


def verify(path: Path) -> Manifest:
    """Check every file of a dataset against its manifest; see ``artifact.verify`` for the errors."""
    return verify_artifact(path, SCHEMA)
