"""One file of an input, wherever it lies: in a folder, or in an archive."""

from __future__ import annotations

import shutil
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Protocol

from components.contracts.errors import InputError

CHUNK = 1 << 18
"""Bytes read at once."""
BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError)
"""What reading a damaged file or archive raises."""


@dataclass(frozen=True)
class Member:
    """One file of an input: its name relative to the input (with ``/``) and what error messages call it.

    Members of an archive can be read only until the next one is asked for.
    """

    name: str
    label: str
    stream: Callable[[], AbstractContextManager[IO[bytes]]]
    path: Path | None = None

    def read(self, most: int) -> bytes:
        """Return the content; ``InputError`` if it is longer than ``most`` bytes or cannot be read."""
        try:
            with self.stream() as stream:
                content = _bounded(stream, most)
        except BROKEN as error:
            raise InputError(f"cannot be read: {reason_of(error)}", at=self.label) from None
        if len(content) > most:
            raise InputError(f"longer than {most} bytes", at=self.label)
        return content

    @contextmanager
    def local(self) -> Iterator[Path]:
        """Yield a path with the content: the file itself, or a temporary copy of an archive's member."""
        if self.path is not None:
            yield self.path
            return
        with tempfile.NamedTemporaryFile(prefix="skeletonagent-") as copy:
            try:
                with self.stream() as stream:
                    shutil.copyfileobj(stream, copy, CHUNK)
                copy.flush()
            except BROKEN as error:
                raise InputError(f"cannot be unpacked: {reason_of(error)}", at=self.label) from None
            yield Path(copy.name)


class Files(Protocol):
    """The files of an open input. ``names`` is the order in which they can be read."""

    path: Path
    names: list[str]

    def members(self, wanted: Collection[str]) -> Iterator[Member]:
        """Yield the wanted files, in the order of ``names``."""
        ...


def _bounded(stream: IO[bytes], most: int) -> bytes:
    """Read at most one byte more than ``most``, in pieces: a claimed size reserves no memory."""
    pieces, size = [], 0
    while size <= most and (piece := stream.read(min(CHUNK, most + 1 - size))):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def reason_of(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0]
