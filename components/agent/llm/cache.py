"""The memory of an endpoint: every answer that was paid for, by the content of its question, and a log.

    <place>/answers/ab/ab12….json   the request and the turn that answered it
    <place>/requests.jsonl          one line per request, sent or found here, in the order of their ends
    <place>/claims/                 in a folder: the questions that are being asked

The place is a folder, or an ``s3://bucket/prefix``, where every line of the log is an object of its own.

Neither belongs into an artifact: the log holds times, and what is remembered outlives any run. An identical
question is free for ever, an unusable answer to it included, since it was charged too; another value of the
parameter ``seed`` is another question.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from components.agent.llm.turn import Turn
from components.agent.providers import LOGGER
from components.contracts.artifact import digest_of
from components.contracts.errors import SkeletonAgentError
from components.runtime.store.interface import Claim, Documents
from components.runtime.store.local import LocalDocuments

VARIABLE = "SKELETONAGENT_LLM_CACHE"
LOG = "requests.jsonl"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str
    request: dict[str, Any]
    turn: Turn


class AnswerCache:
    """Remembers turns in ``place``; without one it finds nothing and keeps nothing.

    Processes may share a folder: an entry appears whole or not at all, and whoever claims a question first is the
    one to ask it. ``failure`` says why the place cannot be used any more, if it cannot: what is asked then would be
    paid for and forgotten.

    Raises:
        SkeletonAgentError: the place cannot be made or written.
    """

    def __init__(self, place: Documents | Path | None, url: str) -> None:
        self._documents = LocalDocuments(place) if isinstance(place, Path) else place
        self._url = url
        self.failure = ""
        if self._documents is not None:
            try:
                self._documents.prepare()
            except SkeletonAgentError as error:
                raise type(error)(f"the LLM cache cannot be written: {error.what}", at=error.at) from None

    @property
    def poll_s(self) -> float:
        """How often to look for an answer that another process waits for."""
        return self._documents.poll_s if self._documents else 0.0

    def find(self, request: Mapping[str, Any]) -> Turn | None:
        """Return the turn that answered this request before; a damaged entry counts as none."""
        if self._documents is None:
            return None
        name = self._name(request)
        try:
            content = self._documents.read(name)
        except SkeletonAgentError as error:
            self._fail("the memory of answers cannot be read", error)
            return None
        if content is None:
            return None
        try:
            entry = _Entry.model_validate_json(content)
        except ValidationError:
            entry = None
        if entry is None or entry.request != request or entry.url != self._url:
            LOGGER.warning("%s/%s: damaged; the question is asked again", self._documents.place, name)
            return None
        return entry.turn

    def claim(self, request: Mapping[str, Any]) -> Claim | None:
        """Return the right to ask this question; None while somebody else asks it."""
        if self._documents is None:
            return _FREE
        try:
            return self._documents.claim(self._key(request))
        except SkeletonAgentError as error:
            self._fail("a question could not be claimed", error)
            return _FREE

    def keep(self, request: Mapping[str, Any], turn: Turn) -> None:
        """Remember the turn that answered a request."""
        if self._documents is None:
            return
        entry = _Entry(url=self._url, request=dict(request), turn=turn)
        try:
            self._documents.write(self._name(request), (entry.model_dump_json(indent=1) + "\n").encode())
        except SkeletonAgentError as error:
            # A full disk must not cost the round an answer that has been paid for.
            self._fail("an answer could not be remembered", error)

    def record(self, request: Mapping[str, Any], **fields: Any) -> None:
        """Append a line to the log."""
        if self._documents is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        about = {"time": now, "endpoint": self._url, "model": request["model"], "request_hash": digest_of(request)}
        line = json.dumps({**about, "answer": self._key(request), **fields}, ensure_ascii=False)
        try:
            self._documents.append(LOG, line)
        except SkeletonAgentError as error:
            LOGGER.warning("a request could not be logged: %s", error)

    def _fail(self, what: str, error: SkeletonAgentError) -> None:
        self.failure = f"{what}: {error.what}"
        LOGGER.warning("%s; nothing more is asked: %s", what, error)

    def _key(self, request: Mapping[str, Any]) -> str:
        # The endpoint is part of the question: servers call different models by the same name.
        return digest_of({"url": self._url, "request": request})

    def _name(self, request: Mapping[str, Any]) -> str:
        key = self._key(request)
        return f"answers/{key[:2]}/{key}.json"


class _Free:
    """The claim of a question that nobody else can ask."""

    def release(self) -> None:
        """Do nothing."""


_FREE = _Free()
