"""Small documents that several processes share: read, written whole or not at all, listed, and claimed.

The agent's memory of answers and the jobs of its service lie in such documents: in a folder, or below an
``s3://bucket/prefix``. A claim is the exclusive right to do something, such as to ask one question; what it
guarantees depends on the place, see ``LocalDocuments`` and ``documents_s3``.
"""

from __future__ import annotations

import fcntl
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from components.contracts.errors import InputError


class Claim(Protocol):
    """An exclusive right. It ends by ``release``, and soon after the process that has it dies."""

    def held(self) -> bool:
        """Tell whether it still stands, as far as is known here."""
        ...

    def release(self) -> None:
        """Give it back."""
        ...


class Documents(Protocol):
    """Documents by name, such as ``answers/ab/ab12.json``. Every method raises ``InputError`` if the place fails.

    ``place`` is the folder or URI; ``poll_s`` is how often one may ask for news without being a burden.
    """

    place: str
    poll_s: float

    def check(self) -> None:
        """Raise ``InputError`` unless documents can be read and, as far as can be told, written."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return a document; None if there is none."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a document; readers see the old one or the new one, whole."""
        ...

    def remove(self, name: str) -> None:
        """Remove a document if it is there."""
        ...

    def names(self, folder: str) -> list[str]:
        """Return the last parts of the names directly below ``folder``, sorted."""
        ...

    def append(self, name: str, line: str) -> None:
        """Add a line to a log; lines of concurrent writers do not mix."""
        ...

    def claim(self, name: str) -> Claim | None:
        """Return the exclusive right called ``name``; None while another has it."""
        ...


def documents_at(place: str) -> Documents:
    """Return the documents in a folder or below ``s3://bucket/prefix``.

    Raises:
        InputError: another kind of URI, or the environment lacks what the object store needs.
    """
    scheme = urlsplit(place).scheme
    if scheme == "":
        return LocalDocuments(Path(place))
    if scheme in ("s3", "minio"):
        from components.contracts.store.documents_s3 import S3Documents  # only who uses S3 pays for the import

        return S3Documents(place)
    raise InputError(f"{place}: scheme {scheme!r} is not supported; expected a local path or s3://bucket/prefix")


class LocalDocuments:
    """Documents in a folder. Claims are locks of the kernel (``flock``): exact, and freed when a process dies.

    That holds between machines too where the file system passes these locks on, as NFS 4 and CephFS do.
    """

    poll_s = 0.1

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self.place = str(folder)

    def check(self) -> None:
        """Make the folder, and see whether it can be written."""
        with self._telling():
            self._folder.mkdir(parents=True, exist_ok=True)
            descriptor, probe = tempfile.mkstemp(dir=self._folder, suffix=".part")
            os.close(descriptor)
            Path(probe).unlink()

    def read(self, name: str) -> bytes | None:
        with self._telling():
            try:
                return (self._folder / name).read_bytes()
            except FileNotFoundError:
                return None

    def write(self, name: str, content: bytes) -> None:
        with self._telling():
            file = self._file(name)
            descriptor, part = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".part")
            with os.fdopen(descriptor, "wb") as stream:
                stream.write(content)
                stream.flush()
                os.fsync(stream.fileno())
            Path(part).replace(file)

    def remove(self, name: str) -> None:
        with self._telling():
            (self._folder / name).unlink(missing_ok=True)

    def names(self, folder: str) -> list[str]:
        with self._telling():
            try:
                return sorted(entry.name for entry in (self._folder / folder).iterdir() if entry.name[0] != ".")
            except FileNotFoundError:
                return []

    def append(self, name: str, line: str) -> None:
        with self._telling():
            descriptor = os.open(self._file(name), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, f"{line}\n".encode())
            finally:
                os.close(descriptor)

    def claim(self, name: str) -> Claim | None:
        with self._telling():
            file = self._file(f"claims/{name}")
            descriptor = os.open(file, os.O_RDWR | os.O_CREAT, 0o644)
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
                # Who had it before removed the file after we had opened it: the lock is on nothing then.
                if _same_file(descriptor, file):
                    return _Lock(descriptor, file)
            except BlockingIOError:
                pass
            os.close(descriptor)
            return None

    def _file(self, name: str) -> Path:
        """Return where a document lies and make the folders on the way, but never the root: it may be unmounted."""
        file = self._folder / name
        for parent in reversed(Path(name).parents[:-1]):
            (self._folder / parent).mkdir(exist_ok=True)
        return file

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise InputError(f"{self.place}: {error.strerror}") from None


class _Lock:
    def __init__(self, descriptor: int, file: Path) -> None:
        self._descriptor = descriptor
        self._file = file

    def held(self) -> bool:
        return True

    def release(self) -> None:
        with suppress(OSError):  # the file is nothing without its lock
            self._file.unlink()
        os.close(self._descriptor)


def _same_file(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
