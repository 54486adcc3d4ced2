"""Where artifacts live, behind one small interface: a URI is fetched to a local path, a path published to a URI.

Stages work on local paths only (``core.py`` never sees a URI); their command lines translate with
``store_for``. Object storage joins here as one more ``Store``.
"""

from __future__ import annotations

import shutil
from pathlib import Path
from typing import Protocol
from urllib.parse import urlsplit

from components.contracts.artifact import staged
from components.contracts.errors import InputError


class Store(Protocol):
    """One kind of place that holds artifacts (directories) and input files."""

    def exists(self, uri: str) -> bool:
        """Tell whether a file or directory is there."""
        ...

    def fetch(self, uri: str, into: Path) -> Path:
        """Return a local path with the content of ``uri``; stores that are not local copy it below ``into``."""
        ...

    def publish(self, source: Path, uri: str) -> None:
        """Put a finished local file or directory at ``uri``, visible whole or not at all."""
        ...


class LocalStore:
    """Plain paths: fetching hands out the path itself, publishing copies and renames into place."""

    def exists(self, uri: str) -> bool:
        return Path(uri).exists()

    def fetch(self, uri: str, into: Path) -> Path:
        path = Path(uri)
        if not path.exists():
            raise InputError(f"{uri}: no such file or directory")
        return path

    def publish(self, source: Path, uri: str) -> None:
        target = Path(uri)
        if source.resolve() == target.resolve():
            return
        if source.is_dir():
            with staged(target) as scratch:
                shutil.copytree(source, scratch, dirs_exist_ok=True)
        else:
            target.parent.mkdir(parents=True, exist_ok=True)
            part = target.with_name(f".{target.name}.part")
            shutil.copyfile(source, part)
            part.replace(target)


def store_for(uri: str) -> Store:
    """Return the store that a URI belongs to; ``InputError`` for a scheme that no store serves."""
    scheme = urlsplit(uri).scheme
    if scheme == "":
        return LocalStore()
    raise InputError(f"{uri}: scheme {scheme!r} is not supported; expected a local path")
