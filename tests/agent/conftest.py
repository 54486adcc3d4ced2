"""Fixtures of the agent's tests; see ``agent_helpers`` for what they hand out."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from pathlib import Path

import pytest
from agent_helpers import Endpoint, Scene, serving

from components.agent.providers import LOGGER


@pytest.fixture
def scene(tmp_path: Path) -> Scene:
    return Scene(tmp_path)


@pytest.fixture
def log_lines() -> Iterator[list[logging.LogRecord]]:
    """What the agent logs, wherever logging has been directed by other tests."""
    records: list[logging.LogRecord] = []
    handler = logging.Handler(logging.DEBUG)
    handler.emit = records.append  # type: ignore[assignment, method-assign]
    LOGGER.addHandler(handler)
    yield records
    LOGGER.removeHandler(handler)


@pytest.fixture
def endpoint() -> Iterator[Endpoint]:
    with serving() as served:
        yield served
