"""Plain paths of this machine: artifacts, and the small documents that processes share."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from components.contracts.artifact import MANIFEST, staged
from components.contracts.errors import InputError, ResourceError, SkeletonAgentError
from components.runtime.store.interface import Claim


class LocalStore:
    """Plain paths: fetching hands out the path itself, publishing copies and renames into place."""

    def exists(self, uri: str) -> bool:
        return Path(uri).exists()

    def check(self, uri: str) -> None:
        """Do nothing: stages write local artifacts in place, and ``staged`` checks the path first."""

    def fetch(self, uri: str, into: Path) -> Path:
        path = Path(uri)
        if not path.exists():
            raise InputError("no such file or directory", at=uri)
        return path

    def publish(self, source: Path, uri: str) -> None:
        target = Path(uri)
        if source.resolve() == target.resolve():
            return
        if source.is_dir():
            with staged(target) as scratch:
                shutil.copytree(source, scratch, dirs_exist_ok=True)
        else:
            part = target.with_name(f".{target.name}.part")
            try:
                target.parent.mkdir(parents=True, exist_ok=True)
                shutil.copyfile(source, part)
                part.replace(target)
            except OSError as error:
                with suppress(OSError):
                    part.unlink(missing_ok=True)
                raise write_failure(error, uri) from None

    def remove(self, uri: str) -> None:
        (Path(uri) / MANIFEST).unlink(missing_ok=True)
        shutil.rmtree(uri, ignore_errors=True)


class LocalDocuments:
    """Documents in a folder. Claims are locks of the kernel (``flock``): exact, and freed when a process dies.

    That holds between machines too where the file system passes these locks on, as NFS 4 and CephFS do.
    """

    poll_s = 0.1

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._known: os.stat_result | None = None
        self.place = str(folder)

    def prepare(self) -> None:
        with self._telling():
            self._folder.mkdir(parents=True, exist_ok=True)
            self._known = self._folder.stat()
        self.check()

    def check(self) -> None:
        with self._telling():
            descriptor, probe = tempfile.mkstemp(dir=self._file("check").parent, prefix=".", suffix=".part")
            try:
                os.write(descriptor, b"\n")
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
                Path(probe).unlink(missing_ok=True)

    def read(self, name: str) -> bytes | None:
        with self._telling():
            try:
                return (self._folder / name).read_bytes()
            except FileNotFoundError:
                self._file(name)  # raises where all of it is gone
                return None

    def write(self, name: str, content: bytes) -> None:
        with self._telling():
            file = self._file(name)
            descriptor, part = tempfile.mkstemp(dir=file.parent, prefix=".", suffix=".part")
            try:
                with os.fdopen(descriptor, "wb") as stream:
                    stream.write(content)
                    stream.flush()
                    os.fsync(stream.fileno())
                Path(part).replace(file)
            except BaseException:
                Path(part).unlink(missing_ok=True)
                raise

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
        if self._known and not os.path.samestat(self._folder.stat(), self._known):
            raise OSError(errno.ESTALE, "another folder is there now; was it unmounted?")
        file = self._folder / name
        for parent in reversed(Path(name).parents[:-1]):
            (self._folder / parent).mkdir(exist_ok=True)
        return file

    @contextmanager
    def _telling(self) -> Iterator[None]:
        try:
            yield
        except OSError as error:
            raise write_failure(error, self.place) from None


def write_failure(error: OSError, at: str) -> SkeletonAgentError:
    """Say what an operation on a folder failed with: this machine lacks something, or the path is wrong."""
    wrong = error.errno in (errno.EEXIST, errno.ENOTDIR, errno.EISDIR, errno.ENAMETOOLONG)
    return (InputError if wrong else ResourceError)(f"{error.strerror or error}", at=at)


class _Lock:
    def __init__(self, descriptor: int, file: Path) -> None:
        self._descriptor = descriptor
        self._file = file

    def release(self) -> None:
        with suppress(OSError):  # the file is nothing without its lock
            self._file.unlink()
        os.close(self._descriptor)


def _same_file(descriptor: int, file: Path) -> bool:
    try:
        return os.path.samestat(os.fstat(descriptor), file.stat())
    except FileNotFoundError:
        return False
