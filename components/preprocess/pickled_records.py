"""A pickled list of records, read anew in each iteration instead of being held in memory.

Most annotation pickles were written with protocol 2, which stores the bytes of an array as text: to have such a
file in memory takes twice the size of its arrays. One record at a time takes none of it.
"""

from __future__ import annotations

import mmap
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from components.preprocess.pickled_values import Unread
from components.preprocess.unpickler import Machine, load_data, mapped, recalled_entries, refusals, release

LONG_TEXT = 4096


def load_streamed(path: Path, key: str) -> Any:
    """Return the content of a pickle, a list below ``key`` of its outermost dict as ``Records``.

    The whole file is read, and refused if need be, before this returns. Where there is no such list, or the
    pickle builds it in an unusual order, everything is in memory, as with ``load_data``, which also says what raises.
    """
    mapping = mapped(path)
    with refusals(path):
        records = Records(path, mapping, key, recalled_entries(mapping))
        machine = _Survey(memoryview(mapping), records)
        while not machine.advance():
            if not records.number and machine.batch:
                records.first = machine.batch[-1]
            records.number += len(machine.batch)
            machine.batch.clear()
            release(mapping, machine.at)
    if type(machine.result) is dict and machine.result.get(key) is records:
        return machine.result
    del machine, records
    return load_data(path)


class Records:
    """A pickled list that is read anew in each iteration and never held: at most 1,000 records at a time.

    ``first`` is its first record, to see what kind they are; long texts in it are ``Unread``.
    """

    def __init__(self, path: Path, mapping: mmap.mmap, key: str, recalled: frozenset[int]) -> None:
        self.key = key
        self.recalled = recalled
        self.number = 0
        self.first: Any = None
        self._path = path
        self._mapping = mapping

    def __len__(self) -> int:
        return self.number

    def __iter__(self) -> Iterator[Any]:
        with refusals(self._path):
            machine, done = _RecordMachine(memoryview(self._mapping), self), False
            while not done:
                done = machine.advance()
                batch, machine.batch = machine.batch, []
                while batch:
                    yield batch.pop()
                release(self._mapping, machine.at)


class _RecordMachine(Machine):
    """Collects the records in ``batch``, and pauses, whenever some are appended to the list that is streamed."""

    def __init__(self, view: memoryview, records: Records) -> None:
        super().__init__(view, records.recalled)
        self.records = records
        self.depth: int | None = None
        self.batch: list[Any] = []

    def new_list(self) -> None:
        if self.depth is not None or not self._at_key():
            super().new_list()
        else:
            self.depth = len(self.outer)
            self.push(self.records)

    def _at_key(self) -> bool:
        """Whether the next value is, as far as can be seen, the value of the key in the outermost dict."""
        stack, outer = self.stack, self.outer
        if not stack or type(stack[-1]) is not str or stack[-1] != self.records.key:
            return False
        inside = stack if not outer else outer[0]
        return len(outer) <= 1 and len(inside) == (1 if outer else 2) and type(inside[0]) is dict

    def extend(self, items: list[Any]) -> None:
        if self.stack[-1] is not self.records:
            super().extend(items)
        else:
            self.batch = items[::-1]
            self.paused = True


class _Survey(_RecordMachine):
    """Runs over the records to see that they can be read and to count them; long texts, that is arrays, can wait."""

    def text(self, content: memoryview) -> Any:
        inside = self.depth is not None and len(self.outer) > self.depth
        return Unread() if inside and len(content) > LONG_TEXT else super().text(content)
