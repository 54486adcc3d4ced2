"""A pickled list of records, read anew in each iteration instead of being held in memory.

Most annotation pickles were written with protocol 2, which stores the bytes of an array as text: to have such a
file in memory takes twice the size of its arrays. One record at a time takes none of it.
"""

from __future__ import annotations

import mmap
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Any

from components.runtime.pickled.machine import Machine
from components.runtime.pickled.unpickler import load_data, mapped, recalled_entries, refusals, release
from components.runtime.pickled.values import RefusedError, Unread, hashable

LONG_TEXT = 4096


def load_streamed(path: Path, key: str, before: Collection[str] = ()) -> Any:
    """Return the content of a pickle, a list below ``key`` of its outermost dict as ``Records``.

    The whole file is read, and refused if need be, before this returns. Where there is no such list, or the
    pickle builds it in an unusual order, everything is in memory, as with ``load_data``, which also says what raises.

    ``before`` names keys that suffice to go on: where they stand before the list, as PYSKL writes them, nothing
    else is in the result, and what follows is read, and refused if need be, with the records themselves.
    """
    mapping = mapped(path)
    with refusals(path):
        recalled = recalled_entries(mapping)
        content = _begun(Records(path, mapping, key, recalled), before) if before else None
        if content is not None:
            return content
        records = Records(path, mapping, key, recalled)
        machine = _Survey(records)
        records.number = 0
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


def _begun(records: Records, before: Collection[str]) -> dict[Any, Any] | None:
    """Run to the first records; return what stands before them if that is what ``before`` wants."""
    machine = _RecordMachine(records)
    if machine.advance():
        return None
    known = machine.known()
    if known is None or not all(key in known for key in before):
        return None
    records.first = machine.batch[-1]
    records.begin(machine, known)
    return {**known, records.key: records}


class Records:
    """A pickled list that is read anew in each iteration and never held: at most 1,000 records at a time.

    ``number``: how many there are, None if they were not counted; ``first``: the first of them, to see what kind
    they are (if they were counted, long texts in it are ``Unread``).
    """

    def __init__(self, path: Path, mapping: mmap.mmap, key: str, recalled: frozenset[int]) -> None:
        self.key = key
        self.view = memoryview(mapping)
        self.recalled = recalled
        self.number: int | None = None
        self.first: Any = None
        self._path = path
        self._mapping = mapping
        self._begun: _RecordMachine | None = None
        self._shown: dict[Any, Any] = {}

    def begin(self, machine: _RecordMachine, shown: dict[Any, Any]) -> None:
        """Let the first iteration go on with a machine that has the first records; ``shown``: what it had before."""
        self._begun, self._shown = machine, shown

    def __iter__(self) -> Iterator[Any]:
        shown = {**(self._shown if self._begun else {}), self.key: self}
        machine, self._begun = self._begun or _RecordMachine(self), None
        with refusals(self._path):
            done = False if machine.batch else machine.advance()
            while True:
                batch, machine.batch = machine.batch, []
                while batch:
                    yield batch.pop()
                release(self._mapping, machine.at)
                if done:
                    break
                done = machine.advance()
            if type(machine.result) is not dict or any(machine.result.get(key) is not shown[key] for key in shown):
                raise RefusedError(f"it changes behind its records what it said before them ({', '.join(shown)})")


class _RecordMachine(Machine):
    """Collects the records in ``batch``, and pauses, whenever some are appended to the list that is streamed."""

    def __init__(self, records: Records) -> None:
        super().__init__(records.view, records.recalled)
        self.records = records
        self.depth: int | None = None
        self.batch: list[Any] = []

    def new_list(self) -> None:
        if self.depth is not None or not self._at_key():
            super().new_list()
        else:
            self.depth = len(self.outer)
            self.push(self.records)

    def known(self) -> dict[Any, Any] | None:
        """Return the outermost dict as it is while the first records are appended, or None if that is not sure."""
        items = self.stack if self.outer else self.stack[1:]
        base = self.outer[0][0] if self.outer else self.stack[0]
        if len(self.outer) > 1 or type(base) is not dict or len(items) % 2 or items[-1] is not self.records:
            return None
        before = items[:-2]
        return {**base, **{hashable(key): value for key, value in zip(before[::2], before[1::2], strict=True)}}

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
