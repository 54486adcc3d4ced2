"""A pickle is read as data: what is data arrives unchanged, whatever else it asks for is refused unexecuted."""

from __future__ import annotations

import collections
import datetime
import os
import pickle
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from components.contracts.errors import InputError
from components.runtime.pickled.unpickler import load_data


def same(found: Any, expected: Any) -> bool:
    """Deep equality; bytes may come as memoryview, an OrderedDict as dict."""
    if isinstance(expected, np.ndarray):
        alike = isinstance(found, np.ndarray) and (found.dtype, found.shape) == (expected.dtype, expected.shape)
        return alike and found.tobytes() == expected.tobytes()
    if isinstance(expected, bytes | bytearray):
        return bytes(found) == bytes(expected)
    if isinstance(expected, dict):
        return list(found) == list(expected) and all(same(found[key], expected[key]) for key in expected)
    if isinstance(expected, list | tuple):
        return type(found) is type(expected) and len(found) == len(expected) and all(map(same, found, expected))
    return type(found) is type(expected) and (found == expected or found != found)


DTYPES = st.sampled_from(["<f2", "<f4", ">f4", "<f8", "<i4", ">i8", "u1", "?", "<U3", "S4"])
ARRAYS = DTYPES.flatmap(
    lambda dtype: hnp.arrays(dtype, hnp.array_shapes(min_dims=0, max_dims=4, min_side=0, max_side=4))
)
NUMBERS = st.integers(-(2**80), 2**80) | st.floats() | st.booleans() | st.none()
KEYS = st.text(max_size=8) | st.integers(-5, 300)
VALUES = st.recursive(
    NUMBERS | st.text() | st.binary() | ARRAYS | ARRAYS.map(np.transpose),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEYS, inner, max_size=4) | st.tuples(inner, inner),
    max_leaves=12,
)


@settings(max_examples=150, deadline=None)
@given(value=VALUES, protocol=st.sampled_from([2, 3, 4, 5]))
def test_data_arrives_unchanged(tmp_path_factory: pytest.TempPathFactory, value: Any, protocol: int) -> None:
    file = tmp_path_factory.getbasetemp() / "value.pkl"
    file.write_bytes(pickle.dumps(value, protocol=protocol))
    assert same(load_data(file), value)


@pytest.mark.parametrize("protocol", [2, 3, 4, 5])
def test_scalars_sets_and_shared_objects_arrive(tmp_path: Path, protocol: int) -> None:
    array = np.arange(24, dtype=np.float32).reshape(2, 3, 4).transpose(1, 2, 0)
    value = {
        "scalars": [np.float32(1.5), np.int64(-4), np.bool_(True), np.str_("text")],
        "ordered": collections.OrderedDict(b=1, a=2),
        "sets": [{1, 2}, frozenset({"x"}), {("pair", 1)}],
        "shared": [array, array],
    }
    (tmp_path / "value.pkl").write_bytes(pickle.dumps(value, protocol=protocol))
    found = load_data(tmp_path / "value.pkl")
    assert same(found, value)
    assert found["shared"][0] is found["shared"][1]


@pytest.mark.parametrize("protocol", [2, 4, 5])
def test_object_arrays_are_lists(tmp_path: Path, protocol: int) -> None:
    ragged = np.empty(2, dtype=object)
    ragged[:] = [np.arange(3), "text"]
    value = {"ids": np.array(["a", "bc"], dtype=object), "square": np.array([["a", 1], [None, 2.5]], dtype=object)}
    (tmp_path / "value.pkl").write_bytes(pickle.dumps({**value, "ragged": ragged}, protocol=protocol))
    found = load_data(tmp_path / "value.pkl")
    assert found["ids"] == ["a", "bc"] and found["square"] == [["a", 1], [None, 2.5]]
    assert found["ragged"][0].tolist() == [0, 1, 2] and found["ragged"][1] == "text"


def test_module_names_of_older_numpy_are_known(tmp_path: Path) -> None:
    array = np.arange(6, dtype=np.float16).reshape(2, 3)
    content = pickle.dumps(array, protocol=2).replace(b"numpy._core.", b"numpy.core.")
    (tmp_path / "old.pkl").write_bytes(content)
    assert same(load_data(tmp_path / "old.pkl"), array)


def test_arrays_are_read_only_views_of_the_file(tmp_path: Path) -> None:
    (tmp_path / "value.pkl").write_bytes(pickle.dumps(np.ones(1000), protocol=4))
    array = load_data(tmp_path / "value.pkl")
    assert not array.flags.owndata
    with pytest.raises(ValueError):
        array[0] = 2


class _Calls:
    """Pickles to a call of ``function`` with ``arguments``."""

    def __init__(self, function: Callable[..., Any], *arguments: Any) -> None:
        self._reduced = (function, arguments)

    def __reduce__(self) -> Any:
        return self._reduced


def _global(module: str, name: str) -> bytes:
    return b"c" + module.encode() + b"\n" + name.encode() + b"\n"


def _text(value: str) -> bytes:
    return b"\x8c" + bytes([len(value)]) + value.encode()


RECONSTRUCT = _global("numpy.core.multiarray", "_reconstruct")
NDARRAY = _global("numpy", "ndarray")
FLOAT64 = (
    _global("numpy", "dtype")
    + _text("f8")
    + b"\x89\x88\x87R(K\x03"
    + _text("<")
    + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
)
EMPTY_ARRAY = RECONSTRUCT + NDARRAY + b"K\x00\x85" + _text("b") + b"\x87R"


OBJECTS = (
    _global("numpy", "dtype")
    + _text("O8")
    + b"\x89\x88\x87R(K\x03"
    + _text("|")
    + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK?tb"
)


def _objects(shape: bytes, number: int) -> bytes:
    """An object array of ``number`` times None, with the shape that some instructions build."""
    return EMPTY_ARRAY + b"(K\x01" + shape + OBJECTS + b"\x89](" + b"N" * number + b"etb"


def test_object_arrays_build_no_more_than_their_file_may(tmp_path: Path) -> None:
    file = tmp_path / "x.pkl"
    file.write_bytes(b"\x80\x04" + _objects(b"J\xff\xff\xff\x7fK\x00\x86", 0) + b".")
    assert load_data(file) == []
    cases = {
        _objects(b"(" + b"K\x01" * 7 + b"t", 1): "an array of objects with 7 axes",
        _objects(b"K\x03\x85", 2): "damaged: an array of objects",
    }
    row = b"](" + b"N" * 100_000 + b"e\x94"  # the same list, as the content of one array after the other
    again = EMPTY_ARRAY + b"(K\x01K\x01J\xa0\x86\x01\x00\x86" + OBJECTS + b"\x89h\x00tb"
    cases[b"](" + row + again * 400 + b"e"] = "it builds more than"
    for content, reason in cases.items():
        file.write_bytes(b"\x80\x04" + content + b".")
        with pytest.raises(InputError, match=reason):
            load_data(file)


def _attacks(canary: Path) -> dict[str, bytes]:
    touch = f"touch {canary}"
    opened = f"open({str(canary)!r}, 'w')"
    path = _text(touch)
    return {
        "os.system by REDUCE": pickle.dumps(_Calls(os.system, touch)),
        "os.system by protocol 0": pickle.dumps(_Calls(os.system, touch), protocol=0),
        "builtins.eval": pickle.dumps({"split": _Calls(eval, opened)}),
        "builtins.exec": pickle.dumps([_Calls(exec, opened)]),
        "getattr": b"\x80\x04" + _global("builtins", "getattr") + b".",
        "nested global": b"\x80\x04" + _text("numpy") + _text("os.system") + b"\x93" + path + b"\x85R.",
        "global below an allowed one": b"\x80\x04"
        + _text("collections")
        + _text("OrderedDict.__reduce__.__globals__")
        + b"\x93.",
        "global by STACK_GLOBAL of objects": b"\x80\x04]]\x93" + path + b"\x85R.",
        "INST": b"\x80\x02(S'" + touch.encode() + b"'\nios\nsystem\n.",
        "OBJ": b"\x80\x02(" + _global("os", "system") + path + b"o.",
        "NEWOBJ": b"\x80\x02" + _global("os", "system") + path + b"\x85\x81.",
        "extension registry": b"\x80\x02\x82\x01)R.",
        "persistent id": b"\x80\x02" + path + b"Q.",
        "BUILD on an allowed function": b"\x80\x04" + NDARRAY + b"}" + _text("__call__") + path + b"sb.",
        "BUILD on a dict": b"\x80\x04}}" + _text("__class__") + path + b"sb.",
        "REDUCE of text": b"\x80\x04" + path + b")R.",
        "ndarray called": b"\x80\x04" + NDARRAY + b"K\x02\x85\x85R.",
        "_reconstruct of another class": b"\x80\x04"
        + RECONSTRUCT
        + _global("numpy", "dtype")
        + b"K\x00\x85"
        + _text("b")
        + b"\x87R.",
        "bytes of a number": b"\x80\x04" + _global("builtins", "bytes") + b"J\xff\xff\xff\x7f\x85R.",
        "another codec": b"\x80\x04" + _global("_codecs", "encode") + path + _text("zip") + b"\x86R.",
        "a class of the standard library": pickle.dumps(datetime.date(2020, 1, 1)),
        "a class of numpy": pickle.dumps(np.random.default_rng(0)),
        "object array": pickle.dumps(np.array([_Calls(os.system, touch)], dtype=object)),
        "object scalar": b"\x80\x04"
        + _global("numpy.core.multiarray", "scalar")
        + _global("numpy", "dtype")
        + _text("O8")
        + b"\x89\x88\x87R"
        + path
        + b"\x86R.",
        "object array of bytes": pickle.dumps(np.zeros(2, dtype="f8"), protocol=2).replace(
            b"X\x02\x00\x00\x00f8", b"X\x02\x00\x00\x00O8"
        ),
        "structured array": pickle.dumps(np.zeros(2, dtype=[("a", "f4")])),
        "array subclass": pickle.dumps(np.ma.masked_array([1.0])),
        "out-of-band buffer": b"\x80\x05\x97.",
    }


ATTACK_NAMES = sorted(_attacks(Path("x")))


@pytest.mark.parametrize("attack", ATTACK_NAMES)
def test_attacks_are_refused_and_nothing_runs(tmp_path: Path, attack: str) -> None:
    canary, file = tmp_path / "canary", tmp_path / "hostile.pkl"
    file.write_bytes(_attacks(canary)[attack])
    with pytest.raises(InputError) as refusal:
        load_data(file)
    assert str(refusal.value).startswith(str(file)) and "\n" not in str(refusal.value)
    assert not canary.exists()


@pytest.mark.parametrize("attack", ["os.system by REDUCE", "builtins.eval", "builtins.exec", "INST", "OBJ"])
def test_the_canary_sings_for_the_standard_library(tmp_path: Path, attack: str) -> None:
    canary = tmp_path / "canary"
    pickle.loads(_attacks(canary)[attack])  # noqa: S301 - shows that the attacks above are real
    assert canary.exists()


def test_the_refusal_names_what_was_asked_for(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(pickle.dumps(_Calls(os.system, "true")))
    with pytest.raises(InputError, match=r"asks for '(posix|nt)\.system'"):
        load_data(tmp_path / "x.pkl")


def _long(value: int) -> bytes:
    return struct.pack("<Q", value)


DAMAGED = {
    "empty file": (b"", "empty"),
    "text": (b"frame_dir,label\n", "does not start like a pickle"),
    "protocol 0": (pickle.dumps([1], protocol=0), "does not start like a pickle"),
    "unknown protocol": (b"\x80\x09].", "does not start like a pickle"),
    "nothing but a header": (b"\x80\x04", "cut off"),
    "text of 2**40 bytes": (b"\x80\x04\x8d" + _long(2**40) + b"x.", "1099511627776 bytes announced, 2 left"),
    "bytes of 2**63 bytes": (b"\x80\x04\x8e" + _long(2**63) + b"x.", "announced"),
    "bytearray of 2**50 bytes": (b"\x80\x05\x96" + _long(2**50) + b"x.", "announced"),
    "integer of 200 bytes": (b"\x80\x04\x8a\xc8" + b"\x01" * 200 + b".", "integer of 200 bytes"),
    "integer of 2**30 bytes": (b"\x80\x04\x8b\x00\x00\x00\x40.", "LONG4"),
    "marks without end": (b"\x80\x04" + b"(" * 100_000 + b".", "nested more than"),
    "stack underflow": (b"\x80\x04\x87.", "damaged"),
    "append to nothing": (b"\x80\x04K\x01a.", "damaged"),
    "append to a number": (b"\x80\x04K\x01K\x01a.", "found int, expected list"),
    "items of a list": (b"\x80\x04](K\x01K\x02u.", "found list, expected dict"),
    "key without value": (b"\x80\x04}(K\x01u.", "damaged"),
    "mark missing": (b"\x80\x04]e.", "damaged"),
    "stack of an outer mark": (b"\x80\x04K\x01(\x85.", "damaged"),
    "nothing to return": (b"\x80\x04.", "damaged"),
    "unknown memo entry": (b"\x80\x04h\x07.", "damaged"),
    "key that cannot be hashed": (b"\x80\x04}]K\x01s.", "key of type list"),
    "text that is not UTF-8": (b"\x80\x04\x8c\x01\xff.", "damaged"),
    "array with too few bytes": (
        b"\x80\x04" + EMPTY_ARRAY + b"(K\x01K\x02\x85" + FLOAT64 + b"\x89C\x08" + b"x" * 8 + b"tb.",
        "16 bytes has 8",
    ),
    "array with a negative side": (
        b"\x80\x04" + EMPTY_ARRAY + b"(K\x01J\xff\xff\xff\xff\x85" + FLOAT64 + b"\x89C\x08" + b"x" * 8 + b"tb.",
        "shape",
    ),
    "array of 2**62 elements": (
        b"\x80\x04"
        + EMPTY_ARRAY
        + b"(K\x01\x8a\x08"
        + _long(2**62)
        + b"\x85"
        + FLOAT64
        + b"\x89C\x08"
        + b"x" * 8
        + b"tb.",
        "has 8",
    ),
    "array without dtype": (
        b"\x80\x04" + EMPTY_ARRAY + b"(K\x01K\x01\x85N\x89C\x08" + b"x" * 8 + b"tb.",
        "without bytes or dtype",
    ),
}


@pytest.mark.parametrize("name", sorted(DAMAGED))
def test_damage_is_one_line(tmp_path: Path, name: str) -> None:
    content, expected = DAMAGED[name]
    (tmp_path / "damaged.pkl").write_bytes(content)
    with pytest.raises(InputError) as refusal:
        load_data(tmp_path / "damaged.pkl")
    assert expected in str(refusal.value) and "\n" not in str(refusal.value)


def test_a_huge_memo_index_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "x.pkl").write_bytes(b"\x80\x04K\x05r\xff\xff\xff\xffK\x01\x85j\xff\xff\xff\xff.")
    assert load_data(tmp_path / "x.pkl") == 5


def test_deep_nesting_neither_recurses_nor_hashes(tmp_path: Path) -> None:
    nested = b"\x80\x04)" + b"\x85" * 200_000
    (tmp_path / "deep.pkl").write_bytes(nested + b".")
    assert type(load_data(tmp_path / "deep.pkl")) is tuple
    (tmp_path / "key.pkl").write_bytes(b"\x80\x04}" + nested[2:] + b"K\x01s.")
    with pytest.raises(InputError, match="key of type tuple"):
        load_data(tmp_path / "key.pkl")


def test_every_truncation_is_refused(tmp_path: Path) -> None:
    value = {"split": {"train": ["a"]}, "annotations": [{"keypoint": np.ones((1, 2, 3)), "label": np.int64(1)}]}
    whole, file = pickle.dumps(value, protocol=4), tmp_path / "cut.pkl"
    for length in range(len(whole)):
        file.write_bytes(whole[:length])
        with pytest.raises(InputError):
            load_data(file)


@settings(max_examples=300, deadline=None)
@given(data=st.data())
def test_damaged_bytes_never_escape_as_another_error(
    tmp_path_factory: pytest.TempPathFactory, data: st.DataObject
) -> None:
    value = {"split": {"a": ["x"]}, "annotations": [{"keypoint": np.ones((1, 2, 2)), "label": np.int64(1)}, {1}, "é"]}
    content = bytearray(pickle.dumps(value, protocol=data.draw(st.sampled_from([2, 4, 5]))))
    for position in data.draw(st.lists(st.integers(0, len(content) - 1), min_size=1, max_size=4)):
        content[position] = data.draw(st.integers(0, 255))
    file = tmp_path_factory.getbasetemp() / "flipped.pkl"
    file.write_bytes(bytes(content))
    try:
        load_data(file)
    except InputError as refusal:
        assert "\n" not in str(refusal)


def test_a_directory_is_refused(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be read"):
        load_data(tmp_path)


def test_real_files_read_as_the_standard_library_reads_them(data_dir: Path) -> None:
    for file in sorted(data_dir.glob("*.pkl")):
        with file.open("rb") as stream:
            expected = pickle.load(stream)  # noqa: S301 - known files, to compare with
        assert same(load_data(file), expected)


def test_strings_and_arrays_of_python_2_are_read(tmp_path: Path) -> None:
    """``cPickle.dump({"id": array([1.5, 2]), "small": array([1, 2], "i1")}, file, 2)`` of Python 2."""

    def array(dtype: bytes, order: bytes, content: bytes) -> bytes:
        made = (
            b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85U\x01b\x87R(K\x01K\x02\x85cnumpy\ndtype\n"
        )
        state = (
            b"U\x02" + dtype + b"K\x00K\x01\x87R(K\x03U\x01" + order + b"NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"
        )
        return made + state + b"\x89U" + bytes([len(content)]) + content + b"tb"

    values = struct.pack("<2d", 1.5, 2)
    content = b"\x80\x02}(U\x02id" + array(b"f8", b"<", values) + b"T\x05\x00\x00\x00small"
    (tmp_path / "old.pkl").write_bytes(content + array(b"i1", b"|", b"\x01\x02") + b"u.")
    found = load_data(tmp_path / "old.pkl")
    assert found["id"].tolist() == [1.5, 2] and found["small"].tolist() == [1, 2]
