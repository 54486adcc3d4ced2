"""The text format of the Kinect recordings of NTU RGB+D (``.skeleton``) and of UAV-Human (``.txt``).

Per file the number of frames; per frame the number of bodies; per body a line that starts with its tracking id,
the number of joints, and one line per joint that starts with x, y and z (Shahroudy et al. 2016; the data sets'
own readers).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.dataset import Skipped
from components.contracts.errors import InputError
from components.preprocess.readers.members import Files
from components.preprocess.readers.samples import Sample, Source

LARGEST_FILE = 1 << 27
"""Bytes; the longest recording of NTU RGB+D 120 is below a tenth of it."""
MOST_BODIES = 20


class TextFaultError(Exception):
    """A recording that is damaged or holds nothing; the message says what and where."""


@dataclass(frozen=True)
class Recording:
    """All bodies of all frames, in the file's order; frames without a body are not counted.

    joints: float32 ``[B, V, 3]``; frame, place: int64 ``[B]`` (which frame, which body of that frame);
    body: tracking id per entry.
    """

    joints: npt.NDArray[np.float32]
    frame: npt.NDArray[np.int64]
    place: npt.NDArray[np.int64]
    body: list[str]

    @property
    def frames(self) -> int:
        return int(self.frame[-1]) + 1


def parse(content: bytes, joints: int) -> Recording:
    """Read one recording of bodies with ``joints`` joints; ``TextFaultError`` names the line that is wrong."""
    lines = _Lines(content)
    rows: list[list[str]] = []
    entries: list[tuple[int, int]] = []
    bodies: list[str] = []
    frame = 0
    for _ in range(lines.count("frames")):
        found = lines.count("bodies", MOST_BODIES)
        for place in range(found):
            bodies.append(lines.identity())
            number = lines.count("joints")
            if number != joints:
                raise TextFaultError(f"line {lines.at}: found {number} joints, expected {joints}")
            rows.extend(lines.coordinates(joints))
            entries.append((frame, place))
        frame += bool(found)
    lines.expect_end()
    if not entries:
        raise TextFaultError("no body in any frame")
    columns = np.asarray(entries, dtype=np.int64)
    return Recording(_numbers(rows).reshape(-1, joints, 3), columns[:, 0], columns[:, 1], bodies)


class _Lines:
    """The lines of a recording, taken one after another. ``at`` is the number of the last one taken, from 1."""

    def __init__(self, content: bytes) -> None:
        try:
            self._lines = content.decode("ascii").splitlines()
        except UnicodeDecodeError as error:
            raise TextFaultError(f"byte {error.start}: not text") from None
        self.at = 0

    def take(self) -> str:
        if self.at >= len(self._lines):
            raise TextFaultError(f"cut off after line {self.at}")
        self.at += 1
        return self._lines[self.at - 1]

    def count(self, what: str, most: int | None = None) -> int:
        text = self.take().strip()
        if not text.isdigit() or len(text) > 9:
            raise TextFaultError(f"line {self.at}: found {text[:20]!r}, expected the number of {what}")
        if most is not None and int(text) > most:
            raise TextFaultError(f"line {self.at}: found {text} {what}, at most {most} expected")
        return int(text)

    def identity(self) -> str:
        fields = self.take().split(None, 1)
        if not fields:
            raise TextFaultError(f"line {self.at}: empty, expected a body's tracking id")
        return fields[0]

    def coordinates(self, joints: int) -> list[list[str]]:
        rows = [line.split(None, 3)[:3] for line in self._lines[self.at : self.at + joints]]
        for number, row in enumerate(rows, start=self.at + 1):
            if len(row) < 3:
                raise TextFaultError(f"line {number}: found {len(row)} numbers, expected at least x, y and z")
        self.at += len(rows)
        if len(rows) < joints:
            raise TextFaultError(f"cut off after line {self.at}")
        return rows

    def expect_end(self) -> None:
        for number, line in enumerate(self._lines[self.at :], start=self.at + 1):
            if line.strip():
                raise TextFaultError(f"line {number}: more text after the last frame")


def _numbers(rows: list[list[str]]) -> npt.NDArray[np.float32]:
    try:
        with np.errstate(over="ignore"):  # what is infinite is refused with all other values that are not finite
            return np.asarray(rows, dtype=np.float32)
    except ValueError as error:
        raise TextFaultError(f"coordinates: {error}") from None


Reader = Callable[[int, str, bytes], Sample | Skipped]


class Recordings(Source):
    """A source of one text file per sample.

    ``read`` turns position, sample id (the name without folder and suffix) and content into a sample; it may
    raise ``TextFaultError``. ``refused`` maps ids to the reason why their file is not even opened.
    """

    def __init__(
        self,
        kind: str,
        files: Files,
        names: Sequence[str],
        read: Reader,
        splits: Mapping[str, Sequence[str]],
        refused: Mapping[str, str],
    ) -> None:
        self.format = kind
        self._files = files
        self._names = names
        self._read = read
        self._refused = refused
        self.splits = splits

    @property
    def expected(self) -> int:
        return len(self._names)

    def raw(self) -> Iterator[tuple[int, str, bytes] | Skipped]:
        """Yield position, sample id and content of each file, or why it cannot be read."""
        for position, member in enumerate(self._files.members(set(self._names))):
            sample_id = stem(member.name)
            reason = self._refused.get(sample_id)
            if reason is None:
                try:
                    yield position, sample_id, member.read(LARGEST_FILE)
                    continue
                except InputError as error:
                    reason = str(error).removeprefix(f"{member.label}: ")
            yield Skipped(position=position, sample_id=sample_id, reason=reason)

    def finish(self, raw: tuple[int, str, bytes] | Skipped) -> Sample | Skipped:
        if isinstance(raw, Skipped):
            return raw
        try:
            return self._read(*raw)
        except TextFaultError as error:
            return Skipped(position=raw[0], sample_id=raw[1], reason=str(error))


def stem(name: str) -> str:
    """Return a file's name without folder and suffix: the sample id."""
    return PurePosixPath(name).stem


def split_by(ids: Mapping[str, Any], train: Callable[[Any], bool], name: str) -> dict[str, list[str]]:
    """Return the splits ``<name>_train`` and ``<name>_val`` of ids, decided by the fields of each."""
    return {
        f"{name}_train": [sample_id for sample_id, fields in ids.items() if train(fields)],
        f"{name}_val": [sample_id for sample_id, fields in ids.items() if not train(fields)],
    }
