"""Artifacts that nobody should send, each whole by its manifest: what is wrong lies inside of its files."""

from __future__ import annotations

import io
import json
import struct
import zipfile
from base64 import b64encode
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import numpy as np

from components.contracts.artifact import MANIFEST, digest_of, sha256_file

COUNTS = 50 * np.eye(10, dtype=np.int64)


def npz(path: Path, members: Mapping[str, bytes], compression: int = zipfile.ZIP_DEFLATED) -> None:
    """Write a zip of these members."""
    with zipfile.ZipFile(path, "w", compression) as archive:
        for name, content in members.items():
            archive.writestr(name, content)


def npy(array: Any, *, pickled: bool = False) -> bytes:
    """Return an array as NumPy writes it."""
    buffer = io.BytesIO()
    np.lib.format.write_array(buffer, np.asarray(array), allow_pickle=pickled)
    return buffer.getvalue()


def header_only(shape: tuple[int, ...], dtype: str = "<i8") -> bytes:
    """Return a header that promises more than there is."""
    buffer = io.BytesIO()
    np.lib.format.write_array_header_1_0(buffer, {"descr": dtype, "fortran_order": False, "shape": shape})
    return buffer.getvalue()


def counts(train: Any, validation: Any = COUNTS) -> Callable[[Path], None]:
    """Write counts of any kind in the place of real ones."""

    def write(folder: Path) -> None:
        npz(folder / "confusion.npz", {"train.npy": npy(train), "validation.npy": npy(validation)})

    return write


def members(compression: int = zipfile.ZIP_DEFLATED, **content: bytes) -> Callable[[Path], None]:
    """Write a zip of any members in the place of the counts."""
    return lambda folder: npz(folder / "confusion.npz", {f"{n}.npy": c for n, c in content.items()}, compression)


def content(name: str, data: bytes) -> Callable[[Path], None]:
    """Write any bytes in the place of a file."""
    return lambda folder: (folder / name).write_bytes(data) and None  # type: ignore[func-returns-value]


def encrypted(folder: Path) -> None:
    """Set the mark of encryption at both places where a member's name stands."""
    counts(COUNTS)(folder)
    data = bytearray((folder / "confusion.npz").read_bytes())
    for mark, offset in ((b"PK\3\4", 6), (b"PK\1\2", 8)):
        at = data.find(mark)
        while at >= 0:
            data[at + offset] |= 1
            at = data.find(mark, at + 1)
    (folder / "confusion.npz").write_bytes(data)


def great_array(folder: Path) -> None:
    """Add an array of 400 MB of zeros, some hundred kilobytes when packed."""
    counts(COUNTS)(folder)
    with (
        zipfile.ZipFile(folder / "confusion.npz", "a", zipfile.ZIP_DEFLATED, compresslevel=1) as archive,
        archive.open("third.npy", "w") as member,
    ):
        member.write(header_only((50_000_000,)))
        for _ in range(400):
            member.write(bytes(1_000_000))


def great_directory(folder: Path) -> None:
    """Write a zip whose directory has more entries than a memory should hold."""
    entry = b"PK\1\2" + bytes(24) + struct.pack("<HHH", 1, 0, 0) + bytes(12) + b"x"
    many = entry * 100_000
    end = struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 65535, 65535, len(many), 0, 0)
    (folder / "confusion.npz").write_bytes(many + end)


def manifest(**changes: Any) -> Callable[[Path], None]:
    """Change fields of the manifest."""

    def write(folder: Path) -> None:
        document = json.loads((folder / MANIFEST).read_text())
        (folder / MANIFEST).write_text(json.dumps({**document, **changes}))

    return write


def resealed(folder: Path) -> None:
    """Make the manifest fit the files, so that only what is in them is wrong."""
    document = json.loads((folder / MANIFEST).read_text())
    for name in document["files"] if isinstance(document["files"], dict) else ():
        if len(name) < 100 and (folder / name).is_file() and (folder / name).resolve().parent == folder.resolve():
            size = (folder / name).stat().st_size
            document["files"][name] = {"bytes": size, "sha256": sha256_file(folder / name)}
    document.pop("sha256", None)
    document["sha256"] = digest_of(document)
    (folder / MANIFEST).write_text(json.dumps(document))


def files(folder: Path) -> dict[str, dict[str, str]]:
    """Return an artifact as it travels."""
    return {"files": {file.name: b64encode(file.read_bytes()).decode() for file in folder.iterdir()}}


def named(path: str) -> dict[str, Any]:
    """Return the record of a file that lies elsewhere."""
    return {path: {"bytes": 8, "sha256": "0" * 64}}


CONFUSIONS: dict[str, Callable[[Path], None]] = {
    "not a number": counts(np.full((10, 10), np.nan)),
    "floats": counts(COUNTS.astype(float)),
    "complex": counts(COUNTS.astype(complex)),
    "bool": counts(COUNTS.astype(bool)),
    "text": counts(COUNTS.astype(str)),
    "dates": counts(COUNTS.astype("M8[s]")),
    "records": counts(np.zeros((10, 10), dtype=[("a", "<i8")])),
    "overflowing": counts(np.full((10, 10), 2**63 - 1)),
    "unsigned overflowing": counts(np.full((10, 10), 2**64 - 1, dtype=np.uint64)),
    "negative": counts(-COUNTS),
    "a number": counts(np.int64(3)),
    "three axes": counts(np.zeros((10, 10, 10), dtype=np.int64)),
    "empty": counts(np.zeros((0, 0), dtype=np.int64)),
    "pickled": members(train=npy(np.array([None]), pickled=True), validation=npy(COUNTS)),
    "a cut header": members(train=b"\x93NUMPY\1\0", validation=npy(COUNTS)),
    "a header of a million million": members(train=header_only((10**6, 10**6)), validation=npy(COUNTS)),
    "a header that overflows": members(train=header_only((2**40, 2**40)), validation=npy(COUNTS)),
    "a negative header": members(train=header_only((-10, -10)), validation=npy(COUNTS)),
    "a short array": members(train=npy(COUNTS)[:-8], validation=npy(COUNTS)),
    "a long array": members(train=npy(COUNTS) + b"more", validation=npy(COUNTS)),
    "objects": members(train=header_only((10, 10), "|O"), validation=npy(COUNTS)),
    "lzma": members(zipfile.ZIP_LZMA, train=npy(COUNTS), validation=npy(COUNTS)),
    "bzip2": members(zipfile.ZIP_BZIP2, train=npy(COUNTS), validation=npy(COUNTS)),
    "encrypted": encrypted,
    "a great directory": great_directory,
    "no array of this name": members(other=npy(COUNTS)),
    "npy for npz": content("confusion.npz", npy(COUNTS)),
    "no zip": content("confusion.npz", b"PK\3\4"),
    "nothing": content("confusion.npz", b""),
    "a version of many digits": manifest(version=f"1.{'9' * 5000}"),
    "a version of other digits": manifest(version="1.\u0663\u00b2"),
    "a round that is text": manifest(about={"stream": "j", "round": "one"}),
    "a round that is infinite": manifest(about={"stream": "j", "round": 1e400}),
    "about nothing": manifest(about={}),
    "a stream that is a list": manifest(about={"stream": ["j"], "round": 1}),
    "a configuration that is a list": manifest(config={"data": []}),
    "a manifest that is a list": content(MANIFEST, b"[]"),
    "a manifest of brackets": content(MANIFEST, b"[" * 200_000),
    "half a character": content(MANIFEST, b'{"artifact": "\\ud800"}'),
    "the machine's passwords": manifest(files=named("/etc/passwd")),
    "the machine's memory": manifest(files=named("/proc/self/pagemap")),
    "a file above": manifest(files=named("../x")),
    "a long name": manifest(files=named("x" * 5000)),
    "a name with a zero": manifest(files=named("a\0b")),
    "a size of many digits": manifest(files={"x": {"bytes": 10**4000, "sha256": "0" * 64}}),
}
