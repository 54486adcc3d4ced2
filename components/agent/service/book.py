"""The jobs of the service as they lie in its store. Whatever a replica knows about a job, every other can read.

    <store>/rounds/<id>/request.json    the request, its artifacts inline
    <store>/rounds/<id>/status.json     how it fares
    <store>/rounds/<id>/cancel          there if somebody wants it cancelled
    <store>/rounds/<id>/constraints     the result, an artifact
    <store>/open/<id>                   there until the job has ended
    <store>/llm/                        the memory of answers, see ``components.agent.llm.cache``

A job is known by the content of its request, so that it makes no difference which replica writes first.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from components.agent.providers import LOGGER
from components.agent.service.messages import ENDED, Files, RoundRequest, RoundStatus, pack
from components.contracts import constraints
from components.contracts.errors import InputError
from components.contracts.overrides import describe
from components.runtime.store import Claim, Documents, documents_at, store_for

M = TypeVar("M", bound=BaseModel)


class DamagedError(InputError):
    """The store works, but what lies there cannot be made out."""


class Book:
    """The jobs below ``store``, a folder or ``s3://bucket/prefix``. Methods raise ``InputError`` if it fails."""

    def __init__(self, store: str) -> None:
        self._store = store.rstrip("/")
        self._documents = documents_at(self._store)
        self.memory: Documents = documents_at(f"{self._store}/llm")

    def check(self) -> None:
        """Raise ``InputError`` unless the store can be used."""
        self._documents.check()

    @property
    def poll_s(self) -> float:
        """How often to look for jobs."""
        return 5 * self._documents.poll_s

    def submit(self, status: RoundStatus, request: RoundRequest) -> RoundStatus:
        """Enter a job, unless it is there; one that failed or was cancelled begins anew."""
        known = self.status(status.id)
        if known and known.state not in ("failed", "cancelled"):
            return known
        self._documents.remove(f"rounds/{status.id}/cancel")
        self._documents.write(f"rounds/{status.id}/request.json", request.model_dump_json().encode())
        self.write(status)
        self._documents.write(f"open/{status.id}", b"")  # last: what is open is whole
        return status

    def status(self, job: str) -> RoundStatus | None:
        """Return how a job fares; None if there is none, or it cannot be made out: whoever wants it asks again."""
        try:
            return self._read(f"rounds/{job}/status.json", RoundStatus)
        except DamagedError as error:
            LOGGER.warning("%s", error)
            return None

    def request(self, job: str) -> RoundRequest:
        """Return what a job is to do; ``DamagedError`` if that is lost."""
        request = self._read(f"rounds/{job}/request.json", RoundRequest)
        if request is None:
            raise DamagedError(f"{self._store}/rounds/{job}: request.json is missing")
        return request

    def write(self, status: RoundStatus) -> None:
        """Set how a job fares. One that has ended is open no longer, unless it was asked for again meanwhile."""
        self._documents.write(f"rounds/{status.id}/status.json", status.model_dump_json().encode())
        if status.state in ENDED:
            self._documents.remove(f"open/{status.id}")
            now = self.status(status.id)
            if now and now.state not in ENDED:
                self._documents.write(f"open/{status.id}", b"")

    def open_jobs(self) -> list[str]:
        """Return the jobs that have not ended."""
        return self._documents.names("open")

    def claim(self, job: str) -> Claim | None:
        """Return the right to work on a job; None while another replica has it."""
        return self._documents.claim(f"job-{job}")

    def cancel(self, job: str) -> None:
        """Ask whoever works on a job to stop."""
        self._documents.write(f"rounds/{job}/cancel", b"")

    def is_cancelled(self, job: str) -> bool:
        """Tell whether somebody asked to stop a job."""
        return self._documents.read(f"rounds/{job}/cancel") is not None

    def place_of(self, job: str) -> str:
        """Return the URI of a job's result."""
        return f"{self._store}/rounds/{job}/constraints"

    def has_result(self, job: str) -> bool:
        """Tell whether a job's result is there, whole."""
        return store_for(self._store).exists(self.place_of(job))

    def publish(self, job: str, artifact: Path) -> None:
        """Store a job's result."""
        store_for(self._store).publish(artifact, self.place_of(job))

    def result(self, job: str) -> Files:
        """Return a job's result."""
        with self._fetched(job) as artifact:
            return pack(artifact)

    def about(self, job: str) -> dict[str, Any]:
        """Return what a job's result says of itself, such as its cost."""
        with self._fetched(job) as artifact:
            return constraints.verify(artifact).about

    def _read(self, name: str, kind: type[M]) -> M | None:
        content = self._documents.read(name)
        try:
            return kind.model_validate_json(content) if content is not None else None
        except ValidationError as error:
            raise DamagedError(describe(f"{self._store}/{name}: damaged", error)) from None

    @contextmanager
    def _fetched(self, job: str) -> Iterator[Path]:
        with TemporaryDirectory(prefix="skeletonagent-") as folder:
            yield store_for(self._store).fetch(self.place_of(job), Path(folder))
