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


class Claim(Protocol):
    """An exclusive right. It ends by ``release``, or with the process that has it."""

    def release(self) -> None:
        """Give it back."""
        ...


class Documents(Protocol):
    """Documents by name, such as ``answers/ab/ab12.json``, in a folder or below ``s3://bucket/prefix``.

    ``place`` is the folder or URI; ``poll_s`` is how often one may ask for a claim again without being a burden.

    Raises:
        InputError: every method, if the place is wrong: no such bucket, no access.
        UnavailableError, ResourceError: every method, if the place fails.
    """

    place: str
    poll_s: float

    def prepare(self) -> None:
        """Make the place if it is not there, and check it."""
        ...

    def check(self) -> None:
        """Write a byte and raise unless that succeeds; a place that is gone is not made anew."""
        ...

    def read(self, name: str) -> bytes | None:
        """Return a document; None if there is none."""
        ...

    def write(self, name: str, content: bytes) -> None:
        """Write a document; readers see the old one or the new one, whole."""
        ...

    def append(self, name: str, line: str) -> None:
        """Add a line to a log; lines of concurrent writers do not mix."""
        ...

    def claim(self, name: str) -> Claim | None:
        """Return the exclusive right called ``name``; None while another has it.

        It excludes other threads of this process and, in a folder, other processes.
        """
        ...
