"""NumPy archives with reproducible bytes, never pickled."""

from __future__ import annotations

import io
import zipfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.errors import InputError

_EPOCH = (1980, 1, 1, 0, 0, 0)  # zip entries carry a time; a constant one keeps the bytes reproducible

Array = npt.NDArray[Any]


def write_npz(path: Path, arrays: Mapping[str, Array]) -> None:
    """Write a compressed ``.npz`` whose bytes depend on the arrays alone (``np.savez`` stamps the time)."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=6) as archive:
        for name in sorted(arrays):
            buffer = io.BytesIO()
            np.lib.format.write_array(buffer, np.ascontiguousarray(arrays[name]), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy", _EPOCH), buffer.getvalue(), zipfile.ZIP_DEFLATED)


def read_npz(path: Path, required: tuple[str, ...]) -> dict[str, Array]:
    """Read every array of an ``.npz``; ``InputError`` if it is damaged or lacks a required array."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (OSError, ValueError, zipfile.BadZipFile, EOFError) as error:
        raise InputError(f"cannot be read as .npz: {error}", at=path) from None
    missing = [name for name in required if name not in arrays]
    if missing:
        raise InputError(f"arrays missing: {', '.join(missing)}; found {', '.join(sorted(arrays)) or 'none'}", at=path)
    return arrays


def expect_shape(path: Path, name: str, array: Array, shape: tuple[int | None, ...]) -> None:
    """Raise ``InputError`` unless ``array`` has this shape; ``None`` stands for any length."""
    fits = array.ndim == len(shape) and all(want in (None, have) for have, want in zip(array.shape, shape, strict=True))
    if not fits:
        wanted = "×".join("any" if size is None else str(size) for size in shape)
        found = "×".join(str(size) for size in array.shape) or "scalar"
        raise InputError(f"{name}: shape {found} found, {wanted} expected", at=path)
