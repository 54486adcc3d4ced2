"""NumPy archives with reproducible bytes, never pickled."""

from __future__ import annotations

import io
import math
import os
import struct
import threading
import zipfile
import zlib
from collections.abc import Mapping
from pathlib import Path
from typing import IO, Any

import numpy as np
import numpy.typing as npt

from components.contracts.documents import reason_of
from components.contracts.errors import DamagedError, InputError

_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip entries carry a time; a constant one keeps the bytes reproducible

MOST_BYTES = 16 << 30
"""Of one array, unless its reader knows better."""
_LARGE = 4 << 30
_END_SEARCH = (1 << 16) + 22  # where the record of a zip's end may begin, counted from the end
_LONGEST_DIRECTORY = 1 << 20
_UNREADABLE = (
    OSError,
    ValueError,
    EOFError,
    NotImplementedError,
    OverflowError,
    RuntimeError,
    SyntaxError,
    TypeError,
    struct.error,
    zipfile.BadZipFile,
    zlib.error,
)
"""What the readers of zip and of NumPy's format raise for what they cannot read."""

_READING = threading.Lock()
"""One array at a time: NumPy parses its header with ``ast``, whose depth CPython (seen with 3.11) counts for all
threads together: sound files are refused now and then (``SystemError: AST constructor recursion depth mismatch``)."""

Array = npt.NDArray[Any]


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write a compressed ``.npz`` whose bytes depend on the arrays alone (``np.savez`` stamps the time)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(arrays):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), buffer.getvalue(), zipfile.ZIP_DEFLATED)


def read_npz(
    path: Path, required: tuple[str, ...], *, beginning: tuple[str, ...] = (), most_bytes: int = MOST_BYTES
) -> dict[str, Array]:
    """Read the ``required`` arrays of an ``.npz``, those whose names begin so, and no others.

    Sizes are those of the headers, looked at before anything is unpacked.

    Raises:
        DamagedError: it is not such a file, lacks an array, has one that is longer than its header says, or in a form
            that NumPy does not write (encrypted, LZMA), or larger than ``most_bytes``.
    """
    try:
        _check_directory(path)
        with zipfile.ZipFile(path) as archive:
            names = {name.removesuffix(".npy") for name in archive.namelist() if name.endswith(".npy")}
            missing = [name for name in required if name not in names]
            if missing:
                found = ", ".join(sorted(names)[:20]) or "none"
                raise DamagedError(f"arrays missing: {', '.join(missing)}; found {found}", at=path)
            wanted = dict.fromkeys(
                [*required, *sorted(name for name in names if beginning and name.startswith(beginning))]
            )
            return {name: _read_member(path, archive, name, most_bytes) for name in wanted}
    except _UNREADABLE as error:
        raise DamagedError(f"cannot be read as .npz: {reason_of(error)}", at=path) from None


def read_npy(path: Path, *, most_bytes: int = MOST_BYTES) -> Array:
    """Read a ``.npy`` file; ``DamagedError`` if it is none, or as long as its header does not say."""
    try:
        with _READING, path.open("rb") as stream:
            size = os.fstat(stream.fileno()).st_size
            return _read_array(stream, size, path.name, path, most_bytes)
    except _UNREADABLE as error:
        raise DamagedError(f"cannot be read as .npy: {reason_of(error)}", at=path) from None


def _check_directory(path: Path) -> None:
    """Refuse a directory of a zip that alone would fill the memory: ``ZipFile`` reads all of it at once."""
    with path.open("rb") as stream:
        size = stream.seek(0, os.SEEK_END)
        stream.seek(max(0, size - _END_SEARCH))
        tail = stream.read()
    at = tail.rfind(b"PK\5\6")
    if at < 0 or len(tail) < at + 16:
        raise zipfile.BadZipFile("File is not a zip file")
    (length,) = struct.unpack("<L", tail[at + 12 : at + 16])
    # A second record of the end, for archives of more than 4 GB, has a length of its own.
    if length > _LONGEST_DIRECTORY or (b"PK\6\7" in tail and size < _LARGE):
        raise zipfile.BadZipFile(f"its directory has {length} bytes, which no such file needs")


def _read_member(path: Path, archive: zipfile.ZipFile, name: str, most_bytes: int) -> Array:
    member = archive.getinfo(f"{name}.npy")
    if member.flag_bits & 1 or member.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise DamagedError(f"{name}: encrypted or packed in another way than NumPy's", at=path)
    with _READING, archive.open(member) as stream:
        return _read_array(stream, member.file_size, name, path, most_bytes)


def _read_array(stream: IO[bytes], size: int, name: str, path: Path, most_bytes: int) -> Array:
    version = np.lib.format.read_magic(stream)
    if version not in ((1, 0), (2, 0)):
        raise DamagedError(f"{name}: version {version} of NumPy's format", at=path)
    read_header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    shape, _, dtype = read_header(stream)
    expected = math.prod(shape) * dtype.itemsize
    if dtype.hasobject or min(shape, default=0) < 0:
        raise DamagedError(f"{name}: {dtype} of shape {shape}, which is no plain array", at=path)
    if expected > most_bytes:
        raise DamagedError(f"{name}: {expected} bytes by its header, at most {most_bytes} expected", at=path)
    if stream.tell() + expected != size:
        raise DamagedError(f"{name}: {size - stream.tell()} bytes found, {expected} expected by its header", at=path)
    stream.seek(0)
    array: Array = np.lib.format.read_array(stream, allow_pickle=False)
    return array


def expect_shape(path: Path, name: str, array: Array, shape: tuple[int | None, ...]) -> None:
    """Raise ``InputError`` unless ``array`` has this shape; ``None`` stands for any length."""
    fits = array.ndim == len(shape) and all(want in (None, have) for have, want in zip(array.shape, shape, strict=True))
    if not fits:
        wanted = "×".join("any" if size is None else str(size) for size in shape)
        found = "×".join(str(size) for size in array.shape) or "scalar"
        raise InputError(f"{name}: shape {found} found, {wanted} expected", at=path)
