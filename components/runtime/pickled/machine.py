"""The stack machine that runs a pickle: it knows only the instructions which build data, and counts what they build.

Why it is there, and how a file gets to it: see ``unpickler``.
"""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from typing import Any

import numpy as np

from components.runtime.pickled.values import ENTRY, GLOBALS, Name, Pending, RefusedError, hashable, size_of

LONGEST_INTEGER = 16
DEEPEST_NESTING = 1000
ALLOWANCE = 16 << 20
"""Bytes that any pickle may build; on top come ``GROWTH`` bytes for each byte of the file."""
GROWTH = 8
LONGEST_LINE = 256


class Machine:
    """One run over one file. ``at`` is the position behind the last instruction or argument read.

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

    def advance(self) -> bool:
        """Run to the next pause or to the STOP instruction; return whether it was the latter."""
        try:
            return self._advance()
        except RefusedError as error:
            raise RefusedError(f"{error} (at byte {self.at})") from None
        except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
            raise RefusedError(f"damaged: {type(error).__name__} (at byte {self.at})") from None

    def _advance(self) -> bool:
        view, end = self.view, len(self.view)
        most = ALLOWANCE + GROWTH * end
        self.paused = False
        while not self.paused:
            if self.at >= end:
                raise RefusedError("cut off: its end is missing")
            code = view[self.at]
            self.built += _COSTS[code]
            if self.built > most:
                raise RefusedError(f"it builds more than {most} bytes of objects from a file of {end}")
            self.at += 1
            if code == _STOP:
                self.result = self.stack.pop()
                return True
            instruction, width = _INSTRUCTIONS[code]
            if width == 0:
                instruction(self, None)
            elif width == 1 and self.at < end:  # most arguments are one byte, the number of a memo entry
                self.at += 1
                instruction(self, view[self.at - 1])
            else:
                instruction(self, self._argument(width))
        return False

    def _argument(self, width: int) -> Any:
        """Read an unsigned number of ``width`` bytes or, if negative, what follows a length of that many bytes."""
        view, at = self.view, self.at
        self.at = end = at + abs(width)
        if end > len(view):
            raise RefusedError("cut off: its end is missing")
        number = view[at] if width in (1, -1) else int.from_bytes(view[at:end], "little")
        if width > 0:
            return number
        left = len(view) - end
        if number > left:
            raise RefusedError(f"cut off: {number} bytes announced, {left} left")
        self.at += number
        return view[end : self.at]

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


Instruction = Callable[[Machine, Any], None]


def _plain(method: Callable[[Machine], None]) -> Instruction:
    return lambda machine, argument: method(machine)


def _constant(value: Any) -> Instruction:
    return lambda machine, argument: machine.stack.append(value)


def _new(kind: type) -> Instruction:
    return lambda machine, argument: machine.stack.append(kind())


def _ignore(machine: Machine, argument: Any) -> None:
    """A hint, such as for buffered reading."""


def _signed(machine: Machine, number: int) -> None:
    machine.push(number - (1 << 32) if number >> 31 else number)


def _long(machine: Machine, digits: memoryview) -> None:
    if len(digits) > LONGEST_INTEGER:
        raise RefusedError(f"an integer of {len(digits)} bytes, at most {LONGEST_INTEGER} expected")
    machine.push(int.from_bytes(digits, "little", signed=True))


def _float(machine: Machine, bits: int) -> None:
    machine.push(struct.unpack("<d", bits.to_bytes(8, "big"))[0])


def _text(machine: Machine, content: memoryview) -> None:
    machine.stack.append(machine.text(content))


def _tuple(size: int) -> Instruction:
    def instruction(machine: Machine, argument: Any) -> None:
        first = len(machine.stack) - size
        if first < 0:
            raise IndexError
        machine.stack[first:] = [tuple(machine.stack[first:])]

    return instruction


def _set_item(machine: Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.top(dict)[hashable(key)] = value


def _set_items(machine: Machine) -> None:
    items = machine.to_mark()
    machine.built += ENTRY * len(items)
    target = machine.top(dict)
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[hashable(key)] = value


def _add_items(machine: Machine) -> None:
    items = machine.to_mark()
    machine.built += ENTRY * len(items)
    machine.top(set).update(hashable(item) for item in items)


def _frozenset(machine: Machine) -> None:
    items = machine.to_mark()
    machine.built += ENTRY * len(items)
    machine.push(frozenset(hashable(item) for item in items))


def _stack_name(machine: Machine) -> None:
    attribute, module = machine.stack.pop(), machine.stack.pop()
    machine.name(module, attribute)


_BY_NAME: dict[str, tuple[Instruction, int]] = {
    "PROTO": (_ignore, 1),
    "FRAME": (_ignore, 8),
    "NONE": (_constant(None), 0),
    "NEWTRUE": (_constant(True), 0),
    "NEWFALSE": (_constant(False), 0),
    "BININT": (_signed, 4),
    "BININT1": (Machine.push, 1),
    "BININT2": (Machine.push, 2),
    "LONG1": (_long, -1),
    "BINFLOAT": (_float, 8),
    "SHORT_BINUNICODE": (_text, -1),
    "BINUNICODE": (_text, -4),
    "BINUNICODE8": (_text, -8),
    "SHORT_BINBYTES": (Machine.push, -1),
    "BINBYTES": (Machine.push, -4),
    "BINBYTES8": (Machine.push, -8),
    "BYTEARRAY8": (Machine.push, -8),
    "MARK": (_plain(Machine.mark), 0),
    "EMPTY_TUPLE": (_constant(()), 0),
    "TUPLE1": (_tuple(1), 0),
    "TUPLE2": (_tuple(2), 0),
    "TUPLE3": (_tuple(3), 0),
    "TUPLE": (_plain(lambda machine: machine.push(tuple(machine.to_mark()))), 0),
    "EMPTY_LIST": (_plain(lambda machine: machine.new_list()), 0),
    "APPEND": (_plain(lambda machine: machine.extend([machine.stack.pop()])), 0),
    "APPENDS": (_plain(lambda machine: machine.extend(machine.to_mark())), 0),
    "EMPTY_DICT": (_new(dict), 0),
    "SETITEM": (_plain(_set_item), 0),
    "SETITEMS": (_plain(_set_items), 0),
    "EMPTY_SET": (_new(set), 0),
    "ADDITEMS": (_plain(_add_items), 0),
    "FROZENSET": (_plain(_frozenset), 0),
    "BINPUT": (Machine.remember, 1),
    "LONG_BINPUT": (Machine.remember, 4),
    "MEMOIZE": (_plain(lambda machine: machine.remember(machine.memoised)), 0),
    "BINGET": (Machine.recall, 1),
    "LONG_BINGET": (Machine.recall, 4),
    "GLOBAL": (_plain(lambda machine: machine.name(machine.line(), machine.line())), 0),
    "STACK_GLOBAL": (_plain(_stack_name), 0),
    "REDUCE": (_plain(Machine.call), 0),
    "BUILD": (_plain(Machine.build), 0),
}
"""Instruction → what it does, and how wide its argument is, see ``Machine._argument``."""
CODES = {opcode.name: ord(opcode.code) for opcode in pickletools.opcodes}
_STOP = CODES["STOP"]


def _refuse(code: int) -> Instruction:
    name = next((name for name, known in CODES.items() if known == code), f"0x{code:02x}")

    def instruction(machine: Machine, argument: Any) -> None:
        raise RefusedError(f"instruction {name} does not build plain data")

    return instruction


WIDTHS = {CODES[name]: width for name, (_, width) in _BY_NAME.items()}
_INSTRUCTIONS = [(_refuse(code), 0) for code in range(256)]
for _name, _entry in _BY_NAME.items():
    _INSTRUCTIONS[CODES[_name]] = _entry

_COSTS = [8] * 256
"""Bytes that each instruction adds to what is built, by its code; text, bytes and arrays also add their length."""
for _name, _cost in {
    "FRAME": 0,
    "BININT": 32,
    "BININT2": 32,
    "LONG1": 48,
    "BINFLOAT": 32,
    **dict.fromkeys(("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"), 64),
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_DICT", "SETITEM", "GLOBAL", "STACK_GLOBAL"), 64),
    **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8"), 184),
    **dict.fromkeys(("EMPTY_SET", "FROZENSET"), 216),
    "REDUCE": 128,
    "BUILD": 128,
}.items():
    _COSTS[CODES[_name]] = _cost
