"""The service's log: one JSON object a line on stderr, without any secret of the environment."""

from __future__ import annotations

import json
import logging
import os
import sys
from datetime import UTC, datetime

from components.agent.llm.endpoint import KEY_VARIABLE
from components.agent.service.jobs import CURRENT_JOB
from components.agent.service.messages import TOKEN_VARIABLE
from components.runtime.logs import LOGGER
from components.runtime.store.connection import SECRETS as S3_SECRETS

SECRETS = (KEY_VARIABLE, TOKEN_VARIABLE, *S3_SECRETS)


class JsonLines(logging.Formatter):
    """Formats a record as JSON; ``job`` is there where a job is concerned."""

    def __init__(self) -> None:
        super().__init__()
        found = [os.environ.get(name, "").strip() for name in SECRETS]
        self._secrets = [secret for secret in found if secret]

    def format(self, record: logging.LogRecord) -> str:
        line = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": self._redact(record.getMessage()),
        }
        if job := CURRENT_JOB.get():
            line["job"] = job
        if record.exc_info:
            line["traceback"] = self._redact(self.formatException(record.exc_info))
        return json.dumps(line, ensure_ascii=False)

    def _redact(self, text: str) -> str:
        for secret in self._secrets:
            text = text.replace(secret, "***")
        return text


def log_as_json() -> None:
    """Send the lines of the project and of the HTTP server to stderr as JSON, and the warnings of everybody else."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(JsonLines())
    ours = os.environ.get("SKELETONAGENT_LOG", "INFO").upper()
    for name, level in ((LOGGER, ours), ("uvicorn", "INFO"), (None, "WARNING")):
        logger = logging.getLogger(name)
        logger.handlers[:] = [handler]
        logger.setLevel(level)
        logger.propagate = False
