"""Directories that appear whole and replace each other whole, whatever is killed when.

A writer works in a scratch directory ``.<name>.<random>.tmp`` beside its target and holds a lock on it: one whose
lock is free belongs to a dead writer, and the next one removes it. The finished directory and the old one exchange
their names in one step (``renameat2``, Linux). Where system or file system cannot do that, the old one is moved away
into ``.<name>.<random>.old`` first; a writer killed at that moment is seen by ``recover``, which moves it back.
"""

from __future__ import annotations

import ctypes
import errno
import fcntl
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

_AT_FDCWD = -100
_RENAME_EXCHANGE = 2
_NOT_OFFERED = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM, errno.ENOENT)
_OCCUPIED = (errno.ENOTEMPTY, errno.EEXIST)


@contextmanager
def scratch_beside(path: Path) -> Iterator[Path]:
    """Yield a new directory beside ``path`` and remove it in the end; what dead writers of ``path`` left goes too."""
    _remove_abandoned(path)
    scratch, lock = _locked_scratch(path)
    try:
        yield scratch
    finally:
        os.close(lock)
        shutil.rmtree(scratch, ignore_errors=True)


def replace(source: Path, target: Path) -> None:
    """Move a directory to ``target``; what stood there is removed, or left at ``source``."""
    moved: list[Path] = []
    while not _renamed(source, target):
        if exchange(source, target):
            break
        moved.append(Path(tempfile.mkdtemp(prefix=f".{target.name}.", suffix=".old", dir=target.parent)))
        with suppress(FileNotFoundError):  # somebody else moved it first
            target.rename(moved[-1] / target.name)
    for old in moved:
        shutil.rmtree(old, ignore_errors=True)


def exchange(first: Path, second: Path) -> bool:
    """Let two directories exchange their names in one step; False where that is not offered."""
    renameat2 = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if renameat2 is None:
        return False
    renameat2.argtypes = (ctypes.c_int, ctypes.c_char_p, ctypes.c_int, ctypes.c_char_p, ctypes.c_uint)
    if renameat2(_AT_FDCWD, os.fsencode(first), _AT_FDCWD, os.fsencode(second), _RENAME_EXCHANGE) == 0:
        return True
    number = ctypes.get_errno()
    if number in _NOT_OFFERED:
        return False
    raise OSError(number, os.strerror(number), str(second))


def recover(path: Path) -> None:
    """Move a directory back that a writer, killed between two renames, left without its name."""
    if path.exists():
        return
    for old in _beside(path, "old"):
        try:
            (old / path.name).rename(path)
        except OSError:  # nothing in it, or somebody else was faster
            continue
        shutil.rmtree(old, ignore_errors=True)
        return


def _renamed(source: Path, target: Path) -> bool:
    try:
        source.rename(target)
    except OSError as error:
        if error.errno in _OCCUPIED:
            return False
        raise
    return True


def _locked_scratch(path: Path) -> tuple[Path, int]:
    while True:
        scratch = Path(tempfile.mkdtemp(prefix=f".{path.name}.", suffix=".tmp", dir=path.parent))
        try:
            lock = os.open(scratch, os.O_RDONLY)
        except FileNotFoundError:  # taken for abandoned before it could be locked
            continue
        if _lock(lock) is not False and scratch.exists():
            return scratch, lock
        os.close(lock)


def _lock(descriptor: int) -> bool | None:
    """Lock an open directory until it is closed; False if another process has it, None without locks here."""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    except OSError:
        return None
    return True


def _remove_abandoned(path: Path) -> None:
    recover(path)
    for left in (*_beside(path, "tmp"), *(_beside(path, "old") if path.exists() else ())):
        try:
            descriptor = os.open(left, os.O_RDONLY)
        except OSError:
            continue
        try:
            if _lock(descriptor):
                shutil.rmtree(left, ignore_errors=True)
        finally:
            os.close(descriptor)


def _beside(path: Path, suffix: str) -> list[Path]:
    """Return the hidden directories of this suffix that belong to ``path``, the newest first."""
    name = re.compile(rf"\.{re.escape(path.name)}\.[a-z0-9_]{{8}}\.{suffix}")
    try:
        found = [entry for entry in path.parent.iterdir() if name.fullmatch(entry.name)]
        return sorted(found, key=lambda entry: entry.stat().st_mtime_ns, reverse=True)
    except OSError:
        return []
