"""What a kind of storage offers the stages, whatever it is."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path
from typing import Protocol

Meter = Callable[[str, int], AbstractContextManager[Callable[[int], object]]]
"""Shows a transfer: takes its title and size in MB, yields what takes the MB done so far."""


@contextmanager
def unseen(title: str, total: int) -> Iterator[Callable[[int], object]]:
    """Be the meter that shows nothing."""
    yield lambda done: None


class Store(Protocol):
    """One kind of place that holds artifacts (directories) and input files."""

    def exists(self, uri: str) -> bool:
        """Tell whether a file or directory is there."""
        ...

    def check(self, uri: str) -> None:
        """Raise the ``InputError`` now that publishing at ``uri`` would end with after hours of work."""
        ...

    def fetch(self, uri: str, into: Path) -> Path:
        """Return a local path with the content of ``uri``; stores that are not local copy it below ``into``."""
        ...

    def publish(self, source: Path, uri: str) -> None:
        """Put a finished local file or directory at ``uri``, visible whole or not at all."""
        ...

    def remove(self, uri: str) -> None:
        """Take away the artifact at ``uri``, if there is one: readers see all of it or nothing."""
        ...
