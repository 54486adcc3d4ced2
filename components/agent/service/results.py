"""What the service keeps in its store: results, and the memory of answers.

<store>/rounds/<job>/constraints    a job's result, an artifact
<store>/llm/                        the memory of answers, see ``components.agent.llm.cache``
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from components.agent.providers import LOGGER
from components.agent.service.messages import Files, pack
from components.contracts import constraints
from components.contracts.errors import DamagedError
from components.runtime.store import documents_at, is_remote, store_for


class Results:
    """The results below ``place``, a folder or ``s3://bucket/prefix``.

    Raises:
        SkeletonAgentError: every method, if the place fails.
    """

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/")
        self._store = store_for(self.place)
        self._documents = documents_at(self.place)

    def prepare(self) -> None:
        """Make the place, and see whether it can be written."""
        self._documents.prepare()

    def check(self) -> None:
        """Write a byte."""
        self._documents.check()

    def shown(self, job: str) -> str:
        """Return what clients are told of where a result lies: its URI; below a folder of this machine its name."""
        return self._uri(job) if is_remote(self.place) else f"rounds/{job}/constraints"

    def find(self, job: str) -> dict[str, Any] | None:
        """Return what a result says of itself, such as its cost; None if there is none, or it is damaged."""
        if not self._store.exists(self._uri(job)):
            return None
        try:
            with self._fetched(job) as artifact:
                return constraints.verify(artifact).about
        except DamagedError as error:
            LOGGER.warning("job %s is made again: %s", job[:12], error)
            return None

    def publish(self, job: str, artifact: Path) -> None:
        """Store a result."""
        self._documents.check()  # whose folder is made once, and not here
        self._store.publish(artifact, self._uri(job))

    def read(self, job: str) -> Files:
        """Return a result."""
        with self._fetched(job) as artifact:
            return pack(artifact)

    def _uri(self, job: str) -> str:
        return f"{self.place}/rounds/{job}/constraints"

    @contextmanager
    def _fetched(self, job: str) -> Iterator[Path]:
        with TemporaryDirectory(prefix="skeletonagent-") as folder:
            yield self._store.fetch(self._uri(job), Path(folder))
