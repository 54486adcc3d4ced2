"""The few calls that pickled NumPy arrays make, answered without NumPy's own unpickling code.

Whatever a pickle calls must stand in ``GLOBALS``; each entry checks its arguments and builds one plain value.
NumPy pickles an array in two steps, a call and then a state, hence ``Pending``. Object arrays become (nested) lists:
what they hold was built by the same machine, and is as plain as what a list holds. Structured arrays and dates are
refused: they hold nothing that a skeleton needs.
"""

from __future__ import annotations

import math
import re
from abc import ABC, abstractmethod
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, Literal

import numpy as np

_DTYPE = re.compile(r"b1|[iu][1248]|f[248]|[SU][1-9]\d{0,4}|O[48]?")
_BYTE_ORDERS: dict[Any, Literal["<", ">", "|"]] = {"<": "<", ">": ">", "|": "|"}
_LONGEST_KEY = 16
_LAST_CHARACTER, _SURROGATES = 0x10FFFF, (0xD800, 0xDFFF)
ENTRY = 64
"""Bytes that an entry of a mapping or set takes, about."""
_POINTER = 8
_ATOMS = (str, int, float, type(None), np.generic)

Arguments = tuple[Any, ...]


class RefusedError(Exception):
    """The pickle is damaged or asks for more than data; the message says what."""


@dataclass(frozen=True)
class Name:
    """A function or class that a pickle may name, and what a call of it builds."""

    name: str
    build: Callable[[Arguments], Any]


class Pending(ABC):
    """An object between its creation and its state; ``value`` is set by ``complete``."""

    value: Any = None

    @abstractmethod
    def complete(self, state: Any) -> Any:
        """Take the state and return the finished object."""


class PendingDtype(Pending):
    """A dtype whose byte order is still to come."""

    def __init__(self, code: str) -> None:
        self._code = code

    def complete(self, state: Any) -> np.dtype[Any]:
        if type(state) is not tuple or len(state) < 5 or state[1] not in _BYTE_ORDERS or any(state[2:5]):
            raise RefusedError("damaged: the state of a dtype")
        dtype: np.dtype[Any] = np.dtype(self._code).newbyteorder(_BYTE_ORDERS[state[1]])
        self.value = dtype
        return dtype


class PendingArray(Pending):
    """An array whose shape, dtype and content are still to come."""

    def complete(self, state: Any) -> Any:
        if type(state) is not tuple or len(state) != 5 or type(state[3]) is not bool:
            raise RefusedError("damaged: the state of an array")
        _, shape, dtype, fortran, content = state
        order = "F" if fortran else "C"
        if type(content) is Unread:
            self.value = content
        elif type(content) is list:
            self.value = _objects(content, dtype, shape, order)
        else:
            self.value = _array(content, dtype, shape, order)
        return self.value


class Unread:
    """Stands for a long text inside a record, and for the array made of it, where records are only counted."""


def hashable(value: Any) -> Any:
    """Pass keys that hash at once, text, numbers or one short tuple of such; refuse all others."""
    flat = value if type(value) is tuple else (value,)
    if len(flat) > _LONGEST_KEY:
        raise RefusedError(f"a mapping or set holds a key of {len(flat)} elements")
    if not all(isinstance(item, _ATOMS) for item in flat):
        raise RefusedError(f"a mapping or set holds a key of type {type(value).__name__}")
    return value


def size_of(value: Any) -> int:
    """Return the bytes that a value built by a call holds or, as a view, shows."""
    if isinstance(value, np.ndarray | np.generic):
        return value.nbytes
    if isinstance(value, list):
        return sum(ENTRY + (_POINTER * len(item) if isinstance(item, list) else 0) for item in value)
    return len(value) * (ENTRY if isinstance(value, set | frozenset) else 1) if hasattr(value, "__len__") else 0


def _array(content: Any, dtype: Any, shape: Any, order: str) -> np.ndarray[Any, Any]:
    if isinstance(content, str) and content.isascii():
        content = content.encode("ascii")  # Python 2 has no bytes: an array of small numbers looks like text
    if not isinstance(content, bytes | memoryview) or not isinstance(dtype, np.dtype) or dtype.hasobject:
        raise RefusedError("damaged: an array without bytes or dtype")
    _check_shape(shape)
    if math.prod(shape) * dtype.itemsize != len(content):
        raise RefusedError(f"damaged: an array of {math.prod(shape) * dtype.itemsize} bytes has {len(content)}")
    if not len(content):
        return np.empty(shape, dtype)
    array = np.frombuffer(content, dtype).reshape(shape, order="F" if order == "F" else "C")
    if dtype.kind == "U":
        _check_text(array)
    return array


def _objects(items: list[Any], dtype: Any, shape: Any, order: str) -> list[Any]:
    """Return the items of an object array of one or two axes as a list, of lists if there are two."""
    _check_shape(shape)
    if not isinstance(dtype, np.dtype) or dtype.kind != "O" or math.prod(shape) != len(items):
        raise RefusedError("damaged: an array of objects")
    if not 1 <= len(shape) <= 2:
        raise RefusedError(f"an array of objects with {len(shape)} axes, one or two expected")
    if not items:
        return []  # a shape of no items may claim any number of lists
    array = np.empty(len(items), dtype=object)
    for place, item in enumerate(items):
        array[place] = item
    nested: list[Any] = array.reshape(shape, order="F" if order == "F" else "C").tolist()
    return nested


def _check_shape(shape: Any) -> None:
    if type(shape) is not tuple or len(shape) > 8 or not all(type(size) is int and size >= 0 for size in shape):
        raise RefusedError("damaged: the shape of an array")


def _check_text(array: np.ndarray[Any, Any]) -> None:
    """Refuse text with numbers that are no characters: it would fail later, wherever it is looked at."""
    codes = np.frombuffer(array.tobytes(), np.dtype(np.uint32).newbyteorder(array.dtype.byteorder))
    if (codes > _LAST_CHARACTER).any() or ((codes >= _SURROGATES[0]) & (codes <= _SURROGATES[1])).any():
        raise RefusedError("damaged: an array of text holds something that is no character")


def _dtype(arguments: Arguments) -> PendingDtype:
    code = arguments[0]
    if type(code) is not str or not _DTYPE.fullmatch(code):
        raise RefusedError(f"an array of dtype {str(code)[:20]!r}; numbers and text are read")
    return PendingDtype(code)


def _reconstruct(arguments: Arguments) -> PendingArray:
    if arguments[0] is not _NDARRAY:
        raise RefusedError("it asks for an array of another class than numpy.ndarray")
    return PendingArray()


def _scalar(arguments: Arguments) -> Any:
    dtype, content = arguments
    return content if type(content) is Unread else _array(content, dtype, (1,), "C")[0]


def _frombuffer(arguments: Arguments) -> np.ndarray[Any, Any]:
    content, dtype, shape, order, *axes = arguments
    if order != "K":
        return _array(content, dtype, shape, order)
    (memory_to_axis,) = axes
    return _array(content, dtype, shape, "C").transpose(memory_to_axis)


def _encode(arguments: Arguments) -> bytes | Unread:
    text, encoding = arguments
    if type(text) is Unread:
        return text
    if type(text) is not str or encoding not in ("latin1", "latin-1"):
        raise RefusedError("damaged: bytes in an unknown encoding")
    return text.encode("latin-1")


def _empty_bytes(arguments: Arguments) -> bytes:
    if arguments:
        raise RefusedError("it makes bytes from something else than their content")
    return b""


def _empty_dict(arguments: Arguments) -> dict[Any, Any]:
    if arguments:
        raise RefusedError("it makes a mapping from something else than its items")
    return {}


def _set(kind: type) -> Callable[[Arguments], Any]:
    def build(arguments: Arguments) -> Any:
        (items,) = arguments
        if type(items) is not list:
            raise RefusedError("it makes a set from something else than a list")
        return kind(hashable(item) for item in items)

    return build


def _not_callable(arguments: Arguments) -> Any:
    raise RefusedError("it calls the class numpy.ndarray")


_NDARRAY = Name("numpy.ndarray", _not_callable)

GLOBALS: dict[tuple[str, str], Name] = {
    ("numpy", "ndarray"): _NDARRAY,
    ("numpy", "dtype"): Name("numpy.dtype", _dtype),
    ("_codecs", "encode"): Name("_codecs.encode", _encode),
    ("collections", "OrderedDict"): Name("collections.OrderedDict", _empty_dict),
    **{
        (f"numpy.{core}.{module}", name): Name(name, build)
        for core in ("core", "_core")
        for module, name, build in (
            ("multiarray", "_reconstruct", _reconstruct),
            ("multiarray", "scalar", _scalar),
            ("numeric", "_frombuffer", _frombuffer),
        )
    },
    **{
        (module, name): Name(name, build)
        for module in ("builtins", "__builtin__")
        for name, build in (("bytes", _empty_bytes), ("set", _set(set)), ("frozenset", _set(frozenset)))
    },
}
"""(module, attribute) → what a call of it builds; nothing else can be named."""
