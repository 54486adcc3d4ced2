"""One service and one LLM for the tests that change neither's state."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from agent_helpers import Endpoint, good, serving
from service_process import KEY, TOKEN, Gate, Service


@pytest.fixture(scope="module")
def llm() -> Iterator[Endpoint]:
    """An LLM for all tests of a module; see ``fresh``."""
    with serving() as endpoint:
        yield endpoint


@pytest.fixture
def fresh(llm: Endpoint) -> Endpoint:
    """The module's LLM without what an earlier test told and asked it."""
    llm.default = good()
    llm.script.clear()
    llm.requests.clear()
    return llm


@pytest.fixture(scope="module")
def shared(llm: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    """A service for the tests of a module that do not end it; a second endpoint of it is one where nobody listens."""
    folder = tmp_path_factory.mktemp("service")
    options = ("--base-url", llm.url, "--base-url", "http://127.0.0.1:9/v1")
    with Service(str(folder / "store"), folder, options) as service:
        yield service
        assert service.stop() == 0


@pytest.fixture
def gate() -> Iterator[Gate]:
    """Holds an LLM's answers until the test opens it, at the latest in its end."""
    gate = Gate()
    yield gate
    gate.opened.set()


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKELETONAGENT_AGENT_TOKEN", TOKEN)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
