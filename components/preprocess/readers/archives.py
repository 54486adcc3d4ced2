"""Archives, ``.zip``, ``.tar`` and ``.tar.gz``, read as streams: nothing is written under a name that one holds.

What only a hostile archive needs is refused with one line: names that lead out of it, links and devices, and content
that is out of all proportion to the archive's size (a "bomb"). Sizes that an archive claims are never believed.
"""

from __future__ import annotations

import gzip
import stat
import tarfile
import zipfile
from collections.abc import Collection, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, BinaryIO, cast

from components.contracts.errors import InputError
from components.preprocess.readers.members import BROKEN, CHUNK, Member, reason_of

HIGHEST_RATIO = 100
"""Unpacked bytes per packed byte; skeleton text and pickles reach about ten."""
ALLOWANCE = 1 << 24
"""Bytes that any archive may unpack to, so that the padding of a tiny one is no bomb."""
MOST_FILES = 2_000_000
LARGEST_HEADER = 1 << 20
GZIP = b"\x1f\x8b"


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
        except BROKEN as error:
            raise InputError(f"cannot be read as .zip: {reason_of(error)}", at=self.path) from None
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
        except BROKEN as error:
            raise InputError(f"cannot be read as .tar.gz: {reason_of(error)}", at=self.path) from None


class _Forward:
    """The unpacked bytes of a ``.tar`` or ``.tar.gz``, read from front to back and never beyond the bomb limit."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._at = 0
        self._raw = path.open("rb")
        packed = self._raw.read(2) == GZIP
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
        while position > self._at and self.read(min(position - self._at, CHUNK)):
            pass
        return self._at


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


def _shown(name: str) -> str:
    return repr(name[:80])
