"""Reads a pickle as data: containers, numbers, text and NumPy arrays come out, and nothing is ever executed.

A pickle is a program for a small stack machine, and the one in the standard library calls whatever the
program names. Restricting the names still leaves a crafted file ways to exhaust memory (a memo index or a
length that claims gigabytes) or to overflow the C stack (the hash of a deeply nested key). The program
therefore runs on a machine of our own, ``machine``, that knows only the instructions which build data, and
answers the few calls that NumPy's pickles make with ``values``. What it builds is counted and must stay
in proportion to the file, so that neither a flood of instructions nor one large value recalled a million times
fills the memory.

A pickle of protocol 3 or later holds its arrays as they are: they come back as views into the mapped file. A long
list of records need not be in memory at all, see ``records``.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.contracts.errors import InputError
from components.runtime.pickled.instructions import CODES, WIDTHS
from components.runtime.pickled.machine import ALLOWANCE, GROWTH, Machine
from components.runtime.pickled.stack import LONGEST_LINE
from components.runtime.pickled.values import RefusedError

_RELEASE = 16 << 20
_MEMO_ENTRY = 128
_RECALLS = {CODES["BINGET"], CODES["LONG_BINGET"]}
_GLOBAL = CODES["GLOBAL"]


def load_data(path: Path) -> Any:
    """Return the content of a pickle of protocol 2 to 5.

    Args:
        path: a regular file. Arrays come back read-only and backed by the file, bytes as ``memoryview``.

    Raises:
        InputError: the file cannot be read, is no pickle, is cut off or damaged, or asks for anything but
            builtin containers, numbers, text, bytes and NumPy arrays of numbers or text.
    """
    mapping = mapped(path)
    with refusals(path):
        machine = Machine(memoryview(mapping), recalled_entries(mapping))
        machine.advance()
    return machine.result


def mapped(path: Path) -> mmap.mmap:
    try:
        with path.open("rb") as file:
            return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except (OSError, ValueError) as error:
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}", at=path) from None


def release(mapping: mmap.mmap, end: int) -> None:
    """Tell the system that a file's pages up to ``end`` may leave the memory; who looks at them reads them again."""
    if hasattr(mmap, "MADV_DONTNEED"):
        mapping.madvise(mmap.MADV_DONTNEED, 0, end)


@contextmanager
def refusals(path: Path) -> Iterator[None]:
    try:
        yield
    except RefusedError as error:
        raise InputError(f"not an acceptable pickle: {error}", at=path) from None


def recalled_entries(mapping: mmap.mmap) -> frozenset[int]:
    """Return the numbers of the memo entries that a pickle asks for, without building anything.

    Stops silently at the first thing that is wrong: the machine, which follows, says what it is.
    """
    view, end, at, next_release = memoryview(mapping), len(mapping), 0, _RELEASE
    if end < 2 or view[0] != CODES["PROTO"] or not 2 <= view[1] <= 5:
        raise RefusedError("it does not start like a pickle of protocol 2 to 5")
    found: set[int] = set()
    while at < end and (code := view[at]) in WIDTHS:
        width = WIDTHS[code]
        at += 1
        if code in _RECALLS:
            found.add(int.from_bytes(view[at : at + width], "little"))
            if len(found) * _MEMO_ENTRY > ALLOWANCE + GROWTH * end:
                raise RefusedError("it asks for too many memo entries")
        elif code == _GLOBAL:
            for _ in range(2):
                at += bytes(view[at : at + LONGEST_LINE]).find(b"\n") + 1
        elif width < 0:
            at += int.from_bytes(view[at : at - width], "little")
        at += abs(width)
        if at > next_release:
            release(mapping, min(at, end))
            next_release = at + _RELEASE
    return frozenset(found)
