"""A KFP server for the tests, and commands that talk to it."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from click.testing import Result
from kfp_server import Backend, Command, serving
from typer.testing import CliRunner

from pipelines.__main__ import app


@pytest.fixture
def backend() -> Backend:
    return Backend()


@pytest.fixture
def host(backend: Backend) -> Iterator[str]:
    with serving(backend) as address:
        yield address


@pytest.fixture
def command(host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run ``python -m pipelines`` in an empty folder, with the test's KFP and no cluster."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("pipelines.cluster.watch.POLL_S", 0.01)
    monkeypatch.setenv("KFP_HOST", host)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run
