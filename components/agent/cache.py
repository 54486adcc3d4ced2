"""The memory of an endpoint: every answer that was paid for, by the content of its question, and a log.

    <folder>/answers/ab/ab12….json   the request and the turn that answered it
    <folder>/requests.jsonl          one line per request, sent or found here, in the order of their ends

Neither belongs into an artifact: the log holds times, and what is remembered outlives any run. An identical
question is free for ever, an unusable answer to it included, since it was charged too; another value of the
parameter ``seed`` is another question.
"""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, ValidationError

from components.agent.providers import LOGGER
from components.agent.turn import Turn
from components.contracts.artifact import digest_of
from components.contracts.errors import InputError

VARIABLE = "SKELETONAGENT_LLM_CACHE"
LOG = "requests.jsonl"


class _Entry(BaseModel):
    model_config = ConfigDict(extra="forbid")

    url: str
    request: dict[str, Any]
    turn: Turn


class AnswerCache:
    """Remembers turns below ``folder``; without one it finds nothing and keeps nothing.

    Processes may share a folder: an entry appears whole or not at all, and equal questions have equal entries.

    Raises:
        InputError: the folder cannot be made or written.
    """

    def __init__(self, folder: Path | None, url: str) -> None:
        self._folder = folder
        self._url = url
        if folder is not None:
            try:
                (folder / "answers").mkdir(parents=True, exist_ok=True)
                (folder / LOG).open("a").close()
            except OSError as error:
                raise InputError(f"{folder}: the LLM cache cannot be written: {error.strerror}") from None

    def find(self, request: Mapping[str, Any]) -> Turn | None:
        """Return the turn that answered this request before; a damaged entry counts as none."""
        file = self._file(request)
        if file is None or not file.is_file():
            return None
        try:
            entry = _Entry.model_validate_json(file.read_bytes())
        except (OSError, ValidationError):
            entry = None
        if entry is None or entry.request != request or entry.url != self._url:
            LOGGER.warning("%s: damaged; the question is asked again", file)
            return None
        return entry.turn

    def keep(self, request: Mapping[str, Any], turn: Turn) -> None:
        """Remember the turn that answered a request."""
        file = self._file(request)
        if file is None:
            return
        entry = _Entry(url=self._url, request=dict(request), turn=turn)
        try:
            file.parent.mkdir(exist_ok=True)
            descriptor, part = tempfile.mkstemp(dir=file.parent, suffix=".part")
            with os.fdopen(descriptor, "w", encoding="utf-8") as stream:
                stream.write(entry.model_dump_json(indent=1) + "\n")
                stream.flush()
                os.fsync(stream.fileno())
            Path(part).replace(file)
        except OSError as error:
            # A full disk must not cost the round an answer that has been paid for.
            LOGGER.warning("%s: an answer could not be remembered: %s", self._folder, error.strerror)

    def record(self, request: Mapping[str, Any], **fields: Any) -> None:
        """Append a line to the log; lines of concurrent processes do not mix."""
        if self._folder is None:
            return
        now = datetime.now(UTC).isoformat(timespec="milliseconds")
        about = {"time": now, "endpoint": self._url, "model": request["model"], "request_hash": digest_of(request)}
        line = json.dumps({**about, "answer": self._key(request), **fields}, ensure_ascii=False) + "\n"
        try:
            descriptor = os.open(self._folder / LOG, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
            try:
                os.write(descriptor, line.encode())
            finally:
                os.close(descriptor)
        except OSError as error:
            LOGGER.warning("%s: cannot be written: %s", self._folder / LOG, error.strerror)

    def _key(self, request: Mapping[str, Any]) -> str:
        # The endpoint is part of the question: servers call different models by the same name.
        return digest_of({"url": self._url, "request": request})

    def _file(self, request: Mapping[str, Any]) -> Path | None:
        if self._folder is None:
            return None
        key = self._key(request)
        return self._folder / "answers" / key[:2] / f"{key}.json"


def folder_of_environment() -> Path | None:
    """Return the folder named by ``SKELETONAGENT_LLM_CACHE``, if any."""
    folder = os.environ.get(VARIABLE, "")
    return Path(folder) if folder else None
