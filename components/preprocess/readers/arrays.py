"""NumPy files, read without pickle, and the shapes in which people keep skeletons."""

from __future__ import annotations

import io
import tempfile
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np

from components.contracts.errors import InputError
from components.contracts.skeleton import layout_names, load_layout
from components.preprocess.readers.archives import ALLOWANCE, HIGHEST_RATIO
from components.preprocess.readers.clip import Array, ClipFaultError, Expected
from components.runtime.pickled.unpickler import load_data

MOST_PERSONS = 10


def read_npy(content: bytes) -> Any:
    """Return the content of a ``.npy``; an array of objects comes as a list, read by our own unpickler.

    Raises:
        ClipFaultError: damaged, or more than data.
    """
    stream = io.BytesIO(content)
    try:
        version = np.lib.format.read_magic(stream)
        header = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
        _, _, dtype = header(stream)
        if not dtype.hasobject:
            return np.load(io.BytesIO(content), allow_pickle=False)
    except (ValueError, EOFError, OSError) as error:
        raise ClipFaultError(
            f"cannot be read as NumPy array: {str(error).splitlines()[0] if str(error) else 'empty'}"
        ) from None
    with tempfile.NamedTemporaryFile(prefix="skeletonagent-") as copy:
        copy.write(stream.read())
        copy.flush()
        try:
            return load_data(Path(copy.name))
        except InputError as error:
            raise ClipFaultError(f"array of objects: {error.what}") from None


def read_npz(content: bytes) -> dict[str, Any]:
    """Return the arrays of a ``.npz`` by name; see ``read_npy``."""
    try:
        with zipfile.ZipFile(io.BytesIO(content)) as archive:
            unpacked = sum(info.file_size for info in archive.infolist())  # more than that is never unpacked
            if unpacked > HIGHEST_RATIO * len(content) + ALLOWANCE:
                raise ClipFaultError(f"{len(content)} bytes unpack to {unpacked}: refused as an archive bomb")
            members = {info.filename.removesuffix(".npy"): archive.read(info) for info in archive.infolist()}
    except (zipfile.BadZipFile, NotImplementedError, RuntimeError, OSError, EOFError, ValueError, zlib.error) as error:
        raise ClipFaultError(f"cannot be read as .npz: {error}") from None
    return {name: read_npy(member) for name, member in members.items()}


def persons_first(values: Array, expected: Expected) -> Array:
    """Return one clip as ``[M, T, V, C]``.

    Accepted: ``[T, V, C]``, ``[M, T, V, C]``, ``[T, M, V, C]`` (more than ten frames, at most ten persons),
    ``[C, T, V]`` and ``[C, T, V, M]`` with one or two persons as ST-GCN keeps them, and flat rows ``[T, M·V·C]``.

    Raises:
        ClipFaultError: another shape.
    """
    found = "×".join(map(str, values.shape)) or "scalar"
    if values.ndim == 2:
        return _from_rows(values, expected)
    if values.ndim == 3:
        return (np.moveaxis(values, 0, -1) if _channels_first(values.shape, expected) else values)[None]
    if values.ndim == 4:
        if _channels_first(values.shape[:3], expected) and (
            values.shape[3] == 1 or (values.shape[3] == 2 and values.shape[0] == 3 and expected.depth is not False)
        ):
            return np.transpose(values, (3, 1, 2, 0))
        turned = values.shape[0] > MOST_PERSONS >= values.shape[1]
        return np.swapaxes(values, 0, 1) if turned else values
    raise ClipFaultError(f"found shape {found}, expected frames×joints×channels or persons×frames×joints×channels")


def _channels_first(shape: tuple[int, ...], expected: Expected) -> bool:
    joints = expected.joints or 0
    return shape[0] in (2, 3) and (shape[2] == joints or (not joints and shape[2] > 4)) and shape[2] > 4


def _from_rows(values: Array, expected: Expected) -> Array:
    """Part rows ``[T, M·V·C]``: two persons at most, the number of joints as expected, or of a known layout."""
    width = values.shape[1]
    channels = (3, 4, 2) if expected.depth is not False else (3, 2, 4)
    known = [expected.joints] if expected.joints else sorted({len(load_layout(name).joints) for name in layout_names()})
    for persons in (1, 2):
        for number in channels:
            for joints in known:
                if joints * number * persons == width:
                    return np.swapaxes(values.reshape(len(values), persons, joints, number), 0, 1)
    wanted = f"{expected.joints} joints" if expected.joints else "joints of a known layout"
    raise ClipFaultError(f"found {width} numbers per frame, expected 2, 3 or 4 for each of {wanted}")
