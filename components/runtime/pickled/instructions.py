"""The instructions of a pickle that build data: what each does, how wide its argument is, and what it costs."""

from __future__ import annotations

import pickletools
import struct
from collections.abc import Callable
from typing import Any

from components.runtime.pickled.stack import Stack
from components.runtime.pickled.values import ENTRY, RefusedError, hashable

LONGEST_INTEGER = 16
Instruction = Callable[[Stack, Any], None]


def _plain(method: Callable[[Stack], None]) -> Instruction:
    return lambda machine, argument: method(machine)


def _constant(value: Any) -> Instruction:
    return lambda machine, argument: machine.stack.append(value)


def _new(kind: type) -> Instruction:
    return lambda machine, argument: machine.stack.append(kind())


def _ignore(machine: Stack, argument: Any) -> None:
    """A hint, such as for buffered reading."""


def _signed(machine: Stack, number: int) -> None:
    machine.push(number - (1 << 32) if number >> 31 else number)


def _long(machine: Stack, digits: memoryview) -> None:
    if len(digits) > LONGEST_INTEGER:
        raise RefusedError(f"an integer of {len(digits)} bytes, at most {LONGEST_INTEGER} expected")
    machine.push(int.from_bytes(digits, "little", signed=True))


def _float(machine: Stack, bits: int) -> None:
    machine.push(struct.unpack("<d", bits.to_bytes(8, "big"))[0])


def _text(machine: Stack, content: memoryview) -> None:
    machine.stack.append(machine.text(content))


def _python2(machine: Stack, content: memoryview) -> None:
    """Push what Python 2 calls ``str``: ASCII as text, as ids and keys are, and all else as the bytes of an array."""
    machine.push(machine.text(content) if bytes(content).isascii() else content)


def _tuple(size: int) -> Instruction:
    def instruction(machine: Stack, argument: Any) -> None:
        first = len(machine.stack) - size
        if first < 0:
            raise IndexError
        machine.stack[first:] = [tuple(machine.stack[first:])]

    return instruction


def _set_item(machine: Stack) -> None:
    value, key = machine.stack.pop(), machine.stack.pop()
    machine.top(dict)[hashable(key)] = value


def _set_items(machine: Stack) -> None:
    items = machine.to_mark()
    machine.built += ENTRY * len(items)
    target = machine.top(dict)
    for key, value in zip(items[::2], items[1::2], strict=True):
        target[hashable(key)] = value


def _add_items(machine: Stack) -> None:
    items = machine.to_mark()
    machine.built += ENTRY * len(items)
    machine.top(set).update(hashable(item) for item in items)


def _frozenset(machine: Stack) -> None:
    items = machine.to_mark()
    machine.built += ENTRY * len(items)
    machine.push(frozenset(hashable(item) for item in items))


def _stack_name(machine: Stack) -> None:
    attribute, module = machine.stack.pop(), machine.stack.pop()
    machine.name(module, attribute)


_BY_NAME: dict[str, tuple[Instruction, int]] = {
    "PROTO": (_ignore, 1),
    "FRAME": (_ignore, 8),
    "NONE": (_constant(None), 0),
    "NEWTRUE": (_constant(True), 0),
    "NEWFALSE": (_constant(False), 0),
    "BININT": (_signed, 4),
    "BININT1": (Stack.push, 1),
    "BININT2": (Stack.push, 2),
    "LONG1": (_long, -1),
    "BINFLOAT": (_float, 8),
    "SHORT_BINUNICODE": (_text, -1),
    "BINUNICODE": (_text, -4),
    "BINUNICODE8": (_text, -8),
    "SHORT_BINSTRING": (_python2, -1),
    "BINSTRING": (_python2, -4),
    "SHORT_BINBYTES": (Stack.push, -1),
    "BINBYTES": (Stack.push, -4),
    "BINBYTES8": (Stack.push, -8),
    "BYTEARRAY8": (Stack.push, -8),
    "MARK": (_plain(Stack.mark), 0),
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
    "BINPUT": (Stack.remember, 1),
    "LONG_BINPUT": (Stack.remember, 4),
    "MEMOIZE": (_plain(lambda machine: machine.remember(machine.memoised)), 0),
    "BINGET": (Stack.recall, 1),
    "LONG_BINGET": (Stack.recall, 4),
    "GLOBAL": (_plain(lambda machine: machine.name(machine.line(), machine.line())), 0),
    "STACK_GLOBAL": (_plain(_stack_name), 0),
    "REDUCE": (_plain(Stack.call), 0),
    "BUILD": (_plain(Stack.build), 0),
}
"""Instruction → what it does, and how wide its argument is, see ``Machine._argument``."""
CODES = {opcode.name: ord(opcode.code) for opcode in pickletools.opcodes}


def _refuse(code: int) -> Instruction:
    name = next((name for name, known in CODES.items() if known == code), f"0x{code:02x}")

    def instruction(machine: Stack, argument: Any) -> None:
        raise RefusedError(f"instruction {name} does not build plain data")

    return instruction


WIDTHS = {CODES[name]: width for name, (_, width) in _BY_NAME.items()}
INSTRUCTIONS = [(_refuse(code), 0) for code in range(256)]
for _name, _entry in _BY_NAME.items():
    INSTRUCTIONS[CODES[_name]] = _entry

COSTS = [8] * 256
"""Bytes that each instruction adds to what is built, by its code; text, bytes and arrays also add their length."""
for _name, _cost in {
    "FRAME": 0,
    "BININT": 32,
    "BININT2": 32,
    "LONG1": 48,
    "BINFLOAT": 32,
    **dict.fromkeys(("SHORT_BINUNICODE", "BINUNICODE", "BINUNICODE8", "TUPLE", "TUPLE1", "TUPLE2", "TUPLE3"), 64),
    **dict.fromkeys(("EMPTY_LIST", "EMPTY_DICT", "SETITEM", "GLOBAL", "STACK_GLOBAL"), 64),
    **dict.fromkeys(("SHORT_BINBYTES", "BINBYTES", "BINBYTES8", "BYTEARRAY8", "SHORT_BINSTRING", "BINSTRING"), 184),
    **dict.fromkeys(("EMPTY_SET", "FROZENSET"), 216),
    "REDUCE": 128,
    "BUILD": 128,
}.items():
    COSTS[CODES[_name]] = _cost
