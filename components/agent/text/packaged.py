"""Files of installed packages that are read as data, without running the package's code."""

from __future__ import annotations

from importlib.util import find_spec
from pathlib import Path

from components.contracts.errors import InputError


def package_file(package: str, name: str, distribution: str) -> Path:
    """Return the path of a file of a top-level package; ``InputError`` says what to install if it is not there."""
    spec = find_spec(package)  # locates a top-level package without importing it
    folders = spec.submodule_search_locations if spec else None
    for folder in folders or ():
        file = Path(folder) / name
        if file.is_file():
            return file
    raise InputError(f"text encoder: {name} of package {distribution} not found: install the package")
