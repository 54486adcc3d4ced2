"""The files of an input, whether they lie in a folder, in a ``.zip``, ``.tar`` or ``.tar.gz``, or are a single one.

Archives are read as streams: nothing is ever written under a name that an archive holds. What only a hostile
archive needs is refused with one line: names that lead out of it, links and devices, and content that is out of
all proportion to the archive's size (a "bomb"). Sizes that an archive claims are never believed.
"""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import stat
import tarfile
import tempfile
import zipfile
import zlib
from collections.abc import Callable, Collection, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import IO, BinaryIO, Protocol, cast

from components.contracts.artifact import sha256_file
from components.contracts.errors import InputError

HIGHEST_RATIO = 100
"""Unpacked bytes per packed byte; skeleton text and pickles reach about ten."""
ALLOWANCE = 1 << 24
"""Bytes that any archive may unpack to, so that the padding of a tiny one is no bomb."""
MOST_FILES = 2_000_000
LARGEST_HEADER = 1 << 20
_CHUNK = 1 << 18
_GZIP = b"\x1f\x8b"

_BROKEN = (zipfile.BadZipFile, tarfile.TarError, zlib.error, EOFError, OSError, RuntimeError, NotImplementedError)


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
        except _BROKEN as error:
            raise InputError(f"cannot be read: {_reason(error)}", at=self.label) from None
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
                    shutil.copyfileobj(stream, copy, _CHUNK)
                copy.flush()
            except _BROKEN as error:
                raise InputError(f"cannot be unpacked: {_reason(error)}", at=self.label) from None
            yield Path(copy.name)


class Files(Protocol):
    """The files of an open input. ``names`` is the order in which they can be read."""

    path: Path
    names: list[str]

    def members(self, wanted: Collection[str]) -> Iterator[Member]:
        """Yield the wanted files, in the order of ``names``."""
        ...


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


class ZipArchive:
    """The files of a ``.zip``, in the order of the names. Hidden ones are left out, here as elsewhere."""

    def __init__(self, path: Path) -> None:
        self.path = path
        with self._open() as archive:
            infos = [info for info in archive.infolist() if not info.is_dir()]
        for info in infos:
            kind = stat.S_IFMT(info.external_attr >> 16)
            if kind not in (0, stat.S_IFREG):
                raise InputError(f"{_shown(info.filename)}: a link or device; archives may hold files only", at=path)
            if info.flag_bits & 0x1:
                raise InputError(f"{_shown(info.filename)}: is encrypted", at=path)
            if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
                raise InputError(f"{_shown(info.filename)}: is packed with another method than deflate", at=path)
        self.names = sorted(_checked_names(path, [info.orig_filename for info in infos]))
        _check_ratio(path, sum(info.file_size for info in infos))

    def members(self, wanted: Collection[str]) -> Iterator[Member]:
        with self._open() as archive:
            for name in self.names:
                if name in wanted:
                    yield Member(name, f"{self.path}: {name}", lambda name=name: archive.open(name))  # type: ignore[misc]

    @contextmanager
    def _open(self) -> Iterator[zipfile.ZipFile]:
        try:
            archive = zipfile.ZipFile(self.path)
        except _BROKEN as error:
            raise InputError(f"cannot be read as .zip: {_reason(error)}", at=self.path) from None
        with archive:
            yield archive


class TarArchive:
    """The files of a ``.tar`` or ``.tar.gz``, in the archive's own order: it can only be read from front to back."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self.names = _checked_names(path, [name for name, _, _ in self._files()])

    def members(self, wanted: Collection[str]) -> Iterator[Member]:
        left = len(set(wanted) & set(self.names))
        for name, info, archive in self._files() if left else ():
            if name in wanted:
                stream = archive.extractfile(info)
                yield Member(name, f"{self.path}: {name}", lambda stream=stream: stream)  # type: ignore[misc]
                left -= 1
                if not left:
                    return

    def _files(self) -> Iterator[tuple[str, tarfile.TarInfo, tarfile.TarFile]]:
        try:
            with _Forward(self.path) as content, tarfile.open(fileobj=cast(IO[bytes], content), mode="r:") as archive:
                for info in archive:
                    archive.members = []  # type: ignore[attr-defined]  # an archive of millions keeps no list
                    if info.isdir():
                        continue
                    if not info.isreg() or info.issparse():
                        raise InputError(
                            f"{_shown(info.name)}: a link or device; archives may hold files only", at=self.path
                        )
                    yield info.name.removeprefix("./"), info, archive
        except _BROKEN as error:
            raise InputError(f"cannot be read as .tar.gz: {_reason(error)}", at=self.path) from None


class _Forward:
    """The unpacked bytes of a ``.tar`` or ``.tar.gz``, read from front to back and never beyond the bomb limit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._raw = path.open("rb")
        packed = self._raw.read(2) == _GZIP
        self._raw.seek(0)
        self._stream: BinaryIO | gzip.GzipFile = gzip.GzipFile(fileobj=self._raw) if packed else self._raw

    def __enter__(self) -> _Forward:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        self._stream.close()
        self._raw.close()

    def tell(self) -> int:
        return self._at

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= LARGEST_HEADER:
            raise InputError(f"a header that claims {size} bytes", at=self._path)
        content = self._stream.read(size)
        self._at += len(content)
        _check_ratio(self._path, self._at)
        return content

    def seek(self, position: int) -> int:
        if position < self._at:
            raise tarfile.ReadError("its members overlap")
        while position > self._at and self.read(min(position - self._at, _CHUNK)):
            pass
        return self._at


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
    if start[:4] in (b"PK\x03\x04", b"PK\x05\x06"):
        return ZipArchive(path)
    if start[:2] == _GZIP or start[257:262] == b"ustar":
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


def _checked_names(path: Path, names: list[str]) -> list[str]:
    if len(names) > MOST_FILES:
        raise InputError(f"holds {len(names)} files, at most {MOST_FILES} expected", at=path)
    for name in names:
        parts = name.split("/")
        if name.startswith("/") or ".." in parts or "\\" in name or ":" in parts[0] or not name.isprintable():
            raise InputError(f"{_shown(name)}: a name that leads out of the archive", at=path)
    if len(set(names)) < len(names):
        raise InputError("holds two files of the same name", at=path)
    return [name for name in names if not any(part.startswith((".", "__MACOSX")) for part in name.split("/"))]


def _check_ratio(path: Path, unpacked: int) -> None:
    packed = path.stat().st_size
    if unpacked > HIGHEST_RATIO * packed + ALLOWANCE:
        raise InputError(f"{packed} bytes unpack to {unpacked} or more: refused as an archive bomb", at=path)


def _opener(path: Path) -> Callable[[], AbstractContextManager[IO[bytes]]]:
    def open_path() -> IO[bytes]:
        try:
            return path.open("rb")
        except OSError as error:
            raise InputError(f"cannot be read: {error.strerror}", at=path) from None

    return open_path


def _bounded(stream: IO[bytes], most: int) -> bytes:
    """Read at most one byte more than ``most``, in pieces: a claimed size reserves no memory."""
    pieces, size = [], 0
    while size <= most and (piece := stream.read(min(_CHUNK, most + 1 - size))):
        pieces.append(piece)
        size += len(piece)
    return b"".join(pieces)


def _reason(error: BaseException) -> str:
    text = getattr(error, "strerror", None) or str(error) or type(error).__name__
    return text.splitlines()[0]


def _shown(name: str) -> str:
    return repr(name[:80])
