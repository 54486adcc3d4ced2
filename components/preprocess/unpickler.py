"""Reads a pickle as data: containers, numbers, text and NumPy arrays come out, and nothing is ever executed.

A pickle is a program for a small stack machine, and the one in the standard library calls whatever the
program names. Restricting the names still leaves a crafted file ways to exhaust memory (a memo index or a
length that claims gigabytes) or to overflow the C stack (the hash of a deeply nested key). This module
therefore runs the program on a machine of its own that knows only the instructions which build data, and
answers the few calls that NumPy's pickles make with ``pickled_values``. Arrays are views into the mapped file
rather than copies, so that a large file costs memory for its number of records, not for its size.
"""

from __future__ import annotations

import mmap
import pickletools
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

from components.contracts.errors import InputError
from components.preprocess.pickled_values import GLOBALS, Name, Pending, RefusedError, hashable

LONGEST_INTEGER = 16
DEEPEST_NESTING = 1000


def load_data(path: Path) -> Any:
    """Return the content of a pickle of protocol 2 to 5.

    Args:
        path: a regular file. Arrays come back read-only and backed by the file, bytes as ``memoryview``.

    Raises:
        InputError: the file cannot be read, is no pickle, is cut off or damaged, or asks for anything but
            builtin containers, numbers, text, bytes and NumPy arrays of numbers or text.
    """
    try:
        with path.open("rb") as file:
            view = memoryview(mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ))
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    machine = _Machine(view)
    try:
        return machine.run()
    except RefusedError as error:
        raise InputError(f"{path}: not an acceptable pickle: {error} (at byte {machine.at})") from None


class _Machine:
    """One run over one file. ``at`` is the position behind the last instruction or argument read."""

    def __init__(self, view: memoryview) -> None:
        self.view = view
        self.stack: list[Any] = []
        self.outer: list[list[Any]] = []
        self.memo: dict[int, Any] = {}
        self.at = 0

    def run(self) -> Any:
        """Run to the STOP instruction and return what lies on the stack."""
        view, end = self.view, len(self.view)
        if end < 2 or view[0] != _PROTO or not 2 <= view[1] <= 5:
            raise RefusedError("it does not start like a pickle of protocol 2 to 5")
        try:
            while self.at < end:
                code = view[self.at]
                self.at += 1
                if code == _STOP:
                    return self.stack.pop()
                if code not in _INSTRUCTIONS:
                    raise RefusedError(f"instruction {_instruction_name(code)} does not build plain data")
                _INSTRUCTIONS[code](self)
        except (IndexError, KeyError, TypeError, ValueError, OverflowError, struct.error) as error:
            raise RefusedError(f"damaged: {type(error).__name__}") from None
        raise RefusedError("cut off: its end is missing")

    def take(self, size: int) -> memoryview:
        """Return the next ``size`` bytes, which must be there: a length is never believed."""
        left = len(self.view) - self.at
        if size > left:
            raise RefusedError(f"cut off: {size} bytes announced, {left} left")
        self.at += size
        return self.view[self.at - size : self.at]

    def number(self, width: int) -> int:
        return int.from_bytes(self.take(width), "little")

    def line(self) -> str:
        length = bytes(self.view[self.at : self.at + 256]).index(b"\n")
        return str(self.take(length + 1)[:length], "utf-8")

    def push(self, value: Any) -> None:
        self.stack.append(value)

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

    def recall(self, index: int) -> None:
        value = self.memo[index]
        self.push(value.value if isinstance(value, Pending) and value.value is not None else value)

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
        self.push(function.build(arguments))

    def build(self) -> None:
        state, target = self.stack.pop(), self.stack.pop()
        if not isinstance(target, Pending):
            raise RefusedError("it sets the state of something that has none")
        self.push(target.complete(state))


Instruction = Callable[[_Machine], None]


def _instruction_name(code: int) -> str:
    return next((name for name, known in _CODES.items() if known == code), f"0x{code:02x}")


def _skip(size: int) -> Instruction:
    return lambda machine: machine.take(size).release()


def _constant(value: Any) -> Instruction:
    return lambda machine: machine.push(value)


def _new(kind: type) -> Instruction:
    return lambda machine: machine.push(kind())


def _unsigned(width: int) -> Instruction:
    return lambda machine: machine.push(machine.number(width))


def _signed(machine: _Machine) -> None:
    machine.push(int.from_bytes(machine.take(4), "little", signed=True))


def _long(machine: _Machine) -> None:
    size = machine.number(1)
    if size > LONGEST_INTEGER:
        raise RefusedError(f"an integer of {size} bytes, at most {LONGEST_INTEGER} expected")
    machine.push(int.from_bytes(machine.take(size), "little", signed=True))


def _float(machine: _Machine) -> None:
    machine.push(struct.unpack(">d", machine.take(8))[0])


def _text(width: int) -> Instruction:
    return lambda machine: machine.push(str(machine.take(machine.number(width)), "utf-8"))


def _bytes(width: int) -> Instruction:
    return lambda machine: machine.push(machine.take(machine.number(width)))


def _tuple(size: int) -> Instruction:
    def instruction(machine: _Machine) -> None:
        first = len(machine.stack) - size
        if first < 0:
            raise IndexError
        machine.stack[first:] = [tuple(machine.stack[first:])]

    return instruction


def _append(machine: _Machine) -> None:
    value = machine.stack.pop()
    machine.top(list).append(value)


def _append_all(machine: _Machine) -> None:
    items = machine.to_mark()
    machine.top(list).extend(items)


def _set_item(machine: _Machine) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.top(dict)[hashable(key)] = value


def _set_items(machine: _Machine) -> None:
    items = machine.to_mark()
    target = machine.top(dict)
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[hashable(key)] = value


def _add_items(machine: _Machine) -> None:
    items = machine.to_mark()
    machine.top(set).update(hashable(item) for item in items)


def _remember(index: Callable[[_Machine], int]) -> Instruction:
    def instruction(machine: _Machine) -> None:
        machine.memo[index(machine)] = machine.stack[-1]

    return instruction


def _stack_name(machine: _Machine) -> None:
    attribute, module = machine.stack.pop(), machine.stack.pop()
    machine.name(module, attribute)


_BY_NAME: dict[str, Instruction] = {
    "PROTO": _skip(1),
    "FRAME": _skip(8),  # a hint for buffered reading
    "NONE": _constant(None),
    "NEWTRUE": _constant(True),
    "NEWFALSE": _constant(False),
    "BININT": _signed,
    "BININT1": _unsigned(1),
    "BININT2": _unsigned(2),
    "LONG1": _long,
    "BINFLOAT": _float,
    "SHORT_BINUNICODE": _text(1),
    "BINUNICODE": _text(4),
    "BINUNICODE8": _text(8),
    "SHORT_BINBYTES": _bytes(1),
    "BINBYTES": _bytes(4),
    "BINBYTES8": _bytes(8),
    "BYTEARRAY8": _bytes(8),
    "MARK": _Machine.mark,
    "EMPTY_TUPLE": _constant(()),
    "TUPLE1": _tuple(1),
    "TUPLE2": _tuple(2),
    "TUPLE3": _tuple(3),
    "TUPLE": lambda machine: machine.push(tuple(machine.to_mark())),
    "EMPTY_LIST": _new(list),
    "APPEND": _append,
    "APPENDS": _append_all,
    "EMPTY_DICT": _new(dict),
    "SETITEM": _set_item,
    "SETITEMS": _set_items,
    "EMPTY_SET": _new(set),
    "ADDITEMS": _add_items,
    "FROZENSET": lambda machine: machine.push(frozenset(hashable(item) for item in machine.to_mark())),
    "BINPUT": _remember(lambda machine: machine.number(1)),
    "LONG_BINPUT": _remember(lambda machine: machine.number(4)),
    "MEMOIZE": _remember(lambda machine: len(machine.memo)),
    "BINGET": lambda machine: machine.recall(machine.number(1)),
    "LONG_BINGET": lambda machine: machine.recall(machine.number(4)),
    "GLOBAL": lambda machine: machine.name(machine.line(), machine.line()),
    "STACK_GLOBAL": _stack_name,
    "REDUCE": _Machine.call,
    "BUILD": _Machine.build,
}
_CODES = {opcode.name: ord(opcode.code) for opcode in pickletools.opcodes}
_INSTRUCTIONS = {_CODES[name]: instruction for name, instruction in _BY_NAME.items()}
_PROTO, _STOP = _CODES["PROTO"], _CODES["STOP"]
