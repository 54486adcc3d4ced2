"""What a pickle works on: a stack, marks and memo entries, and a count of what was built."""

from __future__ import annotations

from typing import Any

import numpy as np

from components.runtime.pickled.values import GLOBALS, Name, Pending, RefusedError, size_of

DEEPEST_NESTING = 1000
LONGEST_LINE = 256


class Stack:
    """The state of one run over one file. ``at`` is the position behind the last instruction or argument read.

    Only the memo entries of ``recalled`` are kept: picklers number every object, and few are ever asked for.
    """

    def __init__(self, view: memoryview, recalled: frozenset[int]) -> None:
        self.view = view
        self.recalled = recalled
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.memoised = 0
        self.at = 0
        self.built = 0
        self.paused = False
        self.result: Any = None

    def line(self) -> str:
        found = bytes(self.view[self.at : self.at + LONGEST_LINE]).index(b"\n")
        self.at += found + 1
        return str(self.view[self.at - found - 1 : self.at - 1], "utf-8")

    def push(self, value: Any) -> None:
        self.stack.append(value)

    def text(self, content: memoryview) -> Any:
        return str(content, "utf-8")

    def new_list(self) -> None:
        self.stack.append([])

    def extend(self, items: list[Any]) -> None:
        self.top(list).extend(items)

    def mark(self) -> None:
        if len(self.outer) >= DEEPEST_NESTING:
            raise RefusedError(f"nested more than {DEEPEST_NESTING} levels deep")
        self.outer.append(self.stack)
        self.stack = []

    def to_mark(self) -> list[Any]:
        """Remove and return what lies above the last mark."""
        items, self.stack = self.stack, self.outer.pop()
        return items

    def top(self, kind: type) -> Any:
        if type(self.stack[-1]) is not kind:
            raise RefusedError(f"damaged: found {type(self.stack[-1]).__name__}, expected {kind.__name__}")
        return self.stack[-1]

    def remember(self, index: int) -> None:
        if index >= self.memoised:
            self.memoised = index + 1
        if index in self.recalled:
            self.memo[index] = self.stack[-1]

    def recall(self, index: int) -> None:
        value = self.memo[index]
        if isinstance(value, Pending) and value.value is not None:
            value = value.value
        if isinstance(value, np.ndarray):
            self.built += value.nbytes  # what it names again, it packs again
        self.push(value)

    def name(self, module: Any, attribute: Any) -> None:
        known = GLOBALS.get((module, attribute)) if type(module) is type(attribute) is str else None
        if known is None:
            raise RefusedError(
                f"it asks for {f'{module}.{attribute}'[:80]!r}; only plain data and NumPy arrays are read"
            )
        self.push(known)

    def call(self) -> None:
        arguments, function = self.stack.pop(), self.stack.pop()
        if type(function) is not Name or type(arguments) is not tuple:
            raise RefusedError("it calls something that is not a function")
        self._keep(function.build(arguments))

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack.pop()
        if not isinstance(target, Pending):
            raise RefusedError("it sets the state of something that has none")
        self._keep(target.complete(state))

    def _keep(self, value: Any) -> None:
        self.built += size_of(value)
        self.push(value)
