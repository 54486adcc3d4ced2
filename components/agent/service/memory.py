"""The service's memory of answers: what was paid for is not lost while the process lives, whatever its store does."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from components.contracts.errors import SkeletonAgentError
from components.runtime.store import Claim, Documents

T = TypeVar("T")


class Memory:
    """Documents that hold what could not be written until it can be. All jobs share one.

    ``failures`` counts what has failed: a round in which it grew has left questions unasked.
    """

    def __init__(self, documents: Documents) -> None:
        self._documents = documents
        self._held: dict[str, bytes] = {}
        self._lock = threading.Lock()
        self.place = documents.place
        self.poll_s = documents.poll_s
        self.failures = 0

    def prepare(self) -> None:
        """Check the place, which was made when the service started: it may be unmounted now."""
        self._trying(self._documents.check)

    check = prepare

    def flush(self) -> None:
        """Write what is held."""
        for name, content in list(self._held.items()):
            self.write(name, content)

    def read(self, name: str) -> bytes | None:
        held = self._held.get(name)
        return held if held is not None else self._trying(lambda: self._documents.read(name))

    def write(self, name: str, content: bytes) -> None:
        with self._lock:
            self._held[name] = content
        self._trying(lambda: self._documents.write(name, content))
        with self._lock:
            self._held.pop(name, None)

    def append(self, name: str, line: str) -> None:
        self._documents.append(name, line)

    def claim(self, name: str) -> Claim | None:
        return self._trying(lambda: self._documents.claim(name))

    def _trying(self, action: Callable[[], T]) -> T:
        try:
            return action()
        except SkeletonAgentError:
            with self._lock:
                self.failures += 1
            raise
