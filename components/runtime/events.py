"""What a running stage tells whoever started it: one JSON object a line, appended to ``SKELETONAGENT_EVENTS``.

A local pipeline run shows these as bars and lines. Without the variable (in a pod, from a shell) nothing is
written: the log says the same.
"""

from __future__ import annotations

import json
import logging
import os
from typing import Any

VARIABLE = "SKELETONAGENT_EVENTS"


class _Current:
    task = ""


def listening() -> bool:
    """Tell whether anyone reads the events of this process."""
    return bool(os.environ.get(VARIABLE))


def name_task(name: str) -> None:
    """Set the name under which this process reports; each task of a pipeline has a process of its own."""
    _Current.task = name


def emit(event: str, **fields: Any) -> None:
    """Append one event; lines of concurrent tasks do not mix, because each is a single small append."""
    if not listening():
        return
    line = json.dumps({"task": _Current.task, "event": event, **fields}) + "\n"
    descriptor = os.open(os.environ[VARIABLE], os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o644)
    try:
        os.write(descriptor, line.encode())
    finally:
        os.close(descriptor)


class EventHandler(logging.Handler):
    """Passes log records on as events."""

    def emit(self, record: logging.LogRecord) -> None:
        emit("log", level=record.levelname, text=record.getMessage())
