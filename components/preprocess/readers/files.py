"""The files of an input, whether they lie in a folder, in an archive, or are a single one."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager
from pathlib import Path
from typing import IO

from components.contracts.artifact import sha256_file
from components.contracts.errors import InputError
from components.preprocess.readers.archives import GZIP, TarArchive, ZipArchive
from components.preprocess.readers.members import Files, Member


class Folder:
    """A folder with everything below it, links followed, in the order of the names."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names = sorted(_walk(path))

    def members(self, wanted: Collection[str]) -> Iterator[Member]:
        for name in self.names:
            if name in wanted:
                file = self.path / name
                yield Member(name, str(file), _opener(file), file)


class SingleFile:
    """One file that is no archive."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names = [path.name]

    def members(self, wanted: Collection[str]) -> Iterator[Member]:
        if self.path.name in wanted:
            yield Member(self.path.name, str(self.path), _opener(self.path), self.path)


def open_files(path: Path) -> Files:
    """Open a folder, an archive or a single file.

    Raises:
        InputError: nothing is there, it cannot be read, or an archive holds what only a hostile one does.
    """
    if path.is_dir():
        return Folder(path)
    if not path.is_file():
        raise InputError(f"{'not a file or folder' if path.exists() else 'no such file'}", at=path)
    with _opener(path)() as stream:
        start = stream.read(263)
    if path.suffix.lower() == ".npz":
        return SingleFile(path)  # a .zip, but of one input's arrays
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return ZipArchive(path)
    if start[:2] == GZIP or start[257:262] == b"ustar":
        return TarArchive(path)
    return SingleFile(path)


def digest(path: Path) -> str:
    """Return the SHA-256 (hex) of a file, or of the names and SHA-256 of all files of a folder."""
    if path.is_file():
        return _sha256(path)
    total = hashlib.sha256()
    for name in Folder(path).names:
        total.update(f"{_sha256(path / name)} {name}\n".encode(errors="surrogateescape"))
    return total.hexdigest()


def _sha256(path: Path) -> str:
    try:
        return sha256_file(path)
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror}", at=path) from None


def _walk(path: Path) -> Iterator[str]:
    def refuse(error: OSError) -> None:
        raise InputError(f"cannot be read: {error.strerror}", at=error.filename) from None

    seen = set()
    for folder, folders, files in os.walk(path, followlinks=True, onerror=refuse):
        real = os.path.realpath(folder)
        if real in seen:
            folders.clear()
            continue
        seen.add(real)
        folders[:] = sorted(name for name in folders if not name.startswith("."))
        relative = Path(folder).relative_to(path)
        yield from ((relative / name).as_posix() for name in files if not name.startswith("."))


def _opener(path: Path) -> Callable[[], AbstractContextManager[IO[bytes]]]:
    def open_path() -> IO[bytes]:
        try:
            return path.open("rb")
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", at=path) from None

    return open_path
