"""Pickles that would exhaust memory or time are refused, or read, within a fixed share of both.

All run in one process whose address space and processor time are limited by the kernel: an attack that succeeds
kills it or raises ``MemoryError``.
"""

from __future__ import annotations

import json
import os
import pickle
import struct
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pickles import config, content, dump

from components.contracts import dataset
from components.contracts.errors import InputError
from components.preprocess.core import preprocess
from components.runtime.pickled.records import Records, load_streamed
from components.runtime.pickled.unpickler import load_data

SIZE = 3 << 17
"""Bytes of an attack's file, about."""
MEMORY = 64 << 20
"""Address space that all of them may take, on top of the interpreter's."""
SECONDS = 60
"""Processor time of all of them together."""

HEAD = b"\x80\x04"
ARRAY = b"cnumpy.core.multiarray\n_reconstruct\ncnumpy\nndarray\nK\x00\x85\x8c\x01b\x87R"
DTYPE = b"cnumpy\ndtype\n\x8c%c%s\x89\x88\x87R(K\x03\x8c\x01<NNNJ\xff\xff\xff\xffJ\xff\xff\xff\xffK\x00tb"


def dtype(code: bytes) -> bytes:
    return DTYPE % (len(code), code)


def text(length: int) -> bytes:
    return b"X" + struct.pack("<I", length) + b"x" * length


def raw(length: int) -> bytes:
    return b"B" + struct.pack("<I", length) + b"x" * length


def flood(instruction: bytes, before: bytes = b"", after: bytes = b".") -> bytes:
    return HEAD + before + instruction * (SIZE // len(instruction)) + after


def numbered(instruction: bytes, before: bytes = b"", count: int = 100_000, after: bytes = b".") -> bytes:
    """Repeat an instruction with a rising four-byte number in place of %s."""
    first, last = instruction.split(b"%s")
    return HEAD + before + b"".join(first + struct.pack("<I", n) + last for n in range(count)) + after


def array(shape: bytes, content: bytes) -> bytes:
    return ARRAY + b"(K\x01" + shape + dtype(b"f8") + b"\x89" + content + b"tb"


REFUSED = {
    "flood of lists": flood(b"]"),
    "flood of dicts": flood(b"}"),
    "flood of sets": flood(b"\x8f"),
    "flood of marks": flood(b"("),
    "lists in lists": HEAD + b"]" * SIZE + b"a" * (SIZE - 1) + b".",
    "recalled text encoded again and again": flood(
        b"h\x01h\x00h\x02\x86R", text(1 << 20) + b"\x94c_codecs\nencode\n\x94\x8c\x06latin1\x94"
    ),
    "recalled list made a set again and again": flood(
        b"h\x01h\x00\x85R",
        b"](" + b"".join(b"M" + struct.pack("<H", n) for n in range(65536)) + b"e\x94cbuiltins\nset\n\x94",
    ),
    "recalled bytes made a text scalar again and again": flood(
        b"h\x02h\x01h\x00\x86R", raw(99_999) + b"\x94" + dtype(b"S99999") + b"\x94cnumpy.core.multiarray\nscalar\n\x94"
    ),
    "recalled array again and again": flood(b"h\x00", array(b"M\x00\x80\x85", raw(8 * 0x8000)) + b"\x94]\x94("),
    "recalled long tuple as a key": flood(b"h\x00Ns", b"(" + b"K\x01" * (1 << 16) + b"t\x94}"),
    "long tuple as a set item": HEAD + b"((" + b"K\x01" * SIZE + b"t\x91.",
    "text that never ends": HEAD + b"\x8d" + struct.pack("<Q", 1 << 62) + b"x.",
    "bytes beyond any file": HEAD + b"\x8e" + struct.pack("<Q", (1 << 64) - 1) + b"x.",
    "array of petabytes": HEAD + array(b"\x8a\x08" + struct.pack("<Q", 1 << 50) + b"\x85", raw(8)) + b".",
    "array of no bytes and many sides": HEAD
    + array(b"(" + (b"\x8a\x08" + struct.pack("<Q", 1 << 62)) * 3 + b"K\x00t", b"C\x00")
    + b".",
    "class name that never ends": HEAD + b"c" + b"n" * SIZE,
    "integer of a megabyte": HEAD + b"\x8b" + struct.pack("<I", 1 << 20) + b"\x01" * (1 << 20) + b".",
    "no end": HEAD + b"]" + b"K\x01a" * (SIZE // 8),
    "many memo entries asked for": numbered(b"j%s", count=200_000),
    "text of no characters": HEAD + ARRAY + b"(K\x01K\x01\x85" + dtype(b"U1") + b"\x89C\x04\xff\xff\xff\x7ftb.",
    "text of half characters": HEAD + ARRAY + b"(K\x01K\x01\x85" + dtype(b"U1") + b"\x89C\x04\x00\xd8\x00\x00tb.",
}
READ = {
    "rising set items": numbered(b"J%s", b"\x8f(", count=100_000, after=b"\x90."),
    "rising dict keys one by one": numbered(b"J%sNs", b"}"),
    "rising dict keys": numbered(b"J%sN", b"}(", after=b"u."),
    "flood of recalls": flood(b"h\x00", b"]\x94"),
    "flood of sets made from a list": flood(b"cbuiltins\nset\n](K\x01K\x02e\x85R"),
    "flood of short texts": flood(b"\x8c\x02xy\x94"),
    "flood of nothing": flood(b"N"),
    "flood of classes": flood(b"cnumpy\nndarray\n"),
    "flood of floats": flood(b"G" + b"\x40" * 8),
    "flood of integers": flood(b"M\xff\xff"),
    "flood of empty tuples": flood(b")"),
    "tuples in tuples": HEAD + b")" + b"\x85" * 200_000 + b".",
    "a list that holds itself": HEAD + b"]\x94h\x00a.",
    "a dict that holds itself": HEAD + b"}\x94\x8c\x01xh\x00s.",
    "a million laughs": HEAD
    + b"](K\x01K\x02e\x94"
    + b"".join(b"](" + b"h%c" % n * 10 + b"e\x94" for n in range(200))
    + b".",
    "flood of memo entries": HEAD + b"K\x05" + b"\x94" * SIZE + b".",
    "flood of far memo entries": numbered(b"r%s", b"K\x05"),
    "one memo entry far away": HEAD + b"K\x05r\xff\xff\xff\xffK\x01\x85j\xff\xff\xff\xff.",
}
"""Harmless in memory, hence read as the data that they are; as annotation pickles they are refused."""

LIMITED = """
import json, resource, sys
from collections.abc import Iterable
from pathlib import Path
from components.contracts.errors import InputError
from components.runtime.pickled.records import load_streamed

pages = int(Path("/proc/self/statm").read_text().split()[0])
limit = pages * resource.getpagesize() + int(sys.argv[2])
resource.setrlimit(resource.RLIMIT_AS, (limit, limit))
resource.setrlimit(resource.RLIMIT_CPU, (int(sys.argv[3]), int(sys.argv[3])))
for file in sorted(Path(sys.argv[1]).glob("*.pkl")):
    try:
        found = type(load_streamed(file, "annotations")).__name__
    except InputError as refusal:
        found = str(refusal)
    except BaseException as error:
        found = f"ESCAPED {type(error).__name__}: {error}"
    print(json.dumps([file.stem, found]), flush=True)
"""


@pytest.fixture(scope="module")
def outcomes(tmp_path_factory: pytest.TempPathFactory) -> dict[str, str]:
    """What the limited process said to each attack, be it refused or read."""
    folder = tmp_path_factory.mktemp("attacks")
    for name, attack in (REFUSED | READ).items():
        (folder / f"{name}.pkl").write_bytes(attack)
    command = [sys.executable, "-c", LIMITED, str(folder), str(MEMORY), str(SECONDS)]
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "OPENBLAS_NUM_THREADS": "1"}
    done = subprocess.run(command, env=environment, capture_output=True, text=True, check=False)
    found = dict(json.loads(line) for line in done.stdout.splitlines())
    assert done.returncode == 0, f"killed after {list(found)}: {done.stderr[-500:]}"
    return found


@pytest.mark.parametrize("name", sorted(REFUSED))
def test_an_attack_on_memory_or_time_is_refused_in_one_line(outcomes: dict[str, str], name: str) -> None:
    assert "not an acceptable pickle: " in outcomes[name] and "\n" not in outcomes[name]
    assert len(outcomes[name]) < 400


@pytest.mark.parametrize("name", sorted(READ))
def test_odd_but_harmless_pickles_cost_little(outcomes: dict[str, str], name: str) -> None:
    assert outcomes[name] in {"tuple", "list", "dict", "int", "float", "str", "set", "NoneType", "Name"}


@pytest.mark.parametrize("name", sorted(READ))
def test_as_annotations_they_are_refused(tmp_path: Path, name: str) -> None:
    (tmp_path / "in.pkl").write_bytes(READ[name])
    with pytest.raises(InputError) as refusal:
        preprocess(tmp_path / "in.pkl", config(), tmp_path / "out")
    assert "\n" not in str(refusal.value) and [file.name for file in tmp_path.iterdir()] == ["in.pkl"]


@settings(max_examples=200, deadline=None)
@given(data=st.data())
def test_a_damaged_pickle_is_packed_or_refused(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    """Whole stage: bytes flipped, dropped, doubled or cut off give a dataset or one line, never another error."""
    folder = tmp_path_factory.getbasetemp()
    damaged = bytearray(WHOLE[data.draw(st.sampled_from(sorted(WHOLE)))])
    for _ in range(data.draw(st.integers(1, 3))):
        at, change = (
            data.draw(st.integers(0, len(damaged) - 1)),
            data.draw(st.sampled_from(["flip", "cut", "drop", "double"])),
        )
        if change == "flip":
            damaged[at] = data.draw(st.integers(0, 255))
        elif change == "cut":
            del damaged[at + 1 :]
        else:
            piece = damaged[at : at + data.draw(st.integers(1, 12))]
            damaged[at : at + len(piece)] = piece * 2 if change == "double" else b""
        if not damaged:
            break
    (folder / "damaged.pkl").write_bytes(damaged)
    try:
        preprocess(folder / "damaged.pkl", config(), folder / "damaged")
    except InputError as refusal:
        assert "\n" not in str(refusal)
    else:
        dataset.open(folder / "damaged")


def _small() -> dict[str, Any]:
    value = content()
    for record in value["annotations"]:
        record["keypoint"] = record["keypoint"][:, :2]
        record["total_frames"] = np.int64(2)
    return value


WHOLE = {protocol: pickle.dumps(_small(), protocol=protocol) for protocol in (2, 4, 5)}


SHARED = "a name that many share"


def records_of(count: int) -> dict[str, Any]:
    records = [{"n": n, "shared": SHARED, "x": np.full(3, n)} for n in range(count)]
    return {"split": {"all": [SHARED]}, "annotations": records, "after": SHARED}


def assert_read(records: Iterable[Any], count: int) -> None:
    read = list(records)
    assert [record["n"] for record in read] == list(range(count))
    assert all(record["shared"] == SHARED and record["x"].tolist() == [n] * 3 for n, record in enumerate(read))


class TestRecords:
    """A list of records that is streamed is the list."""

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    @pytest.mark.parametrize("count", [0, 1, 2, 999, 1000, 1001, 2500])
    def test_records_are_those_of_the_list(self, tmp_path: Path, protocol: int, count: int) -> None:
        file = dump(tmp_path / "in.pkl", records_of(count), protocol)
        found = load_streamed(file, "annotations")
        assert isinstance(found["annotations"], Records) and found["annotations"].number == count
        for _ in range(2):
            assert_read(found["annotations"], count)
        assert found["after"] == SHARED

    @pytest.mark.parametrize("protocol", [2, 3, 4, 5])
    @pytest.mark.parametrize("count", [0, 1, 2, 999, 1000, 1001, 2500])
    def test_records_behind_what_is_needed_are_read_once(self, tmp_path: Path, protocol: int, count: int) -> None:
        found = load_streamed(dump(tmp_path / "in.pkl", records_of(count), protocol), "annotations", before=("split",))
        assert found["split"] == {"all": [SHARED]}
        if count:
            assert found["annotations"].number is None and found["annotations"].first["n"] == 0
        for _ in range(2):
            assert_read(found["annotations"], count)

    @pytest.mark.parametrize("key", ["split", "annotations"])
    def test_what_was_said_before_the_records_may_not_be_taken_back(self, tmp_path: Path, key: str) -> None:
        file, value = tmp_path / "in.pkl", records_of(3)
        # A mapping of two items with the same key, as no pickler writes it but a pickle can say it.
        content = pickle.dumps({**value, "x" * len(key): []}, 4).replace(b"x" * len(key), key.encode())
        file.write_bytes(content)
        found = load_streamed(file, "annotations", before=("split",))
        with pytest.raises(InputError, match="changes behind its records"):
            list(found["annotations"])

    def test_what_is_needed_may_stand_behind_the_records(self, tmp_path: Path) -> None:
        file = dump(tmp_path / "in.pkl", dict(reversed(records_of(7).items())))
        found = load_streamed(file, "annotations", before=("split",))
        assert found["split"] == {"all": [SHARED]} and found["annotations"].number == 7

    def test_a_damaged_end_is_refused_with_the_records(self, tmp_path: Path) -> None:
        file = dump(tmp_path / "in.pkl", records_of(2500))
        file.write_bytes(file.read_bytes()[:-20])
        found = load_streamed(file, "annotations", before=("split",))
        with pytest.raises(InputError, match="cut off"):
            list(found["annotations"])

    @pytest.mark.parametrize(
        "value",
        [
            [1, 2],
            {"annotations": (1, 2)},
            {"split": {"annotations": ["a"]}, "annotations": [{"x": 1}]},
            {"split": {"annotations": ["a"]}},
            ["annotations", [1, 2]],
            {"annotations": {"annotations": [1]}},
        ],
    )
    def test_anything_else_is_read_whole(self, tmp_path: Path, value: Any) -> None:
        file = dump(tmp_path / "in.pkl", value)
        found = load_streamed(file, "annotations")
        if isinstance(found, dict) and isinstance(found.get("annotations"), Records):
            found["annotations"] = list(found["annotations"])
        assert found == value == load_data(file)

    def test_a_record_that_holds_the_list_itself(self, tmp_path: Path) -> None:
        records: list[Any] = [{"x": 1}]
        records[0]["all"] = records
        found = load_streamed(dump(tmp_path / "in.pkl", {"annotations": records}), "annotations")["annotations"]
        assert next(iter(found))["all"] is found
