"""A real cluster: only where it is asked for (``make test-cluster``), for these tests deploy, kill and delete."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest
from lab import SEEN, Lab, why_not

pytestmark = pytest.mark.cluster
HERE = Path(__file__).parent


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Skip all with one reason where they were not asked for, or where there is no cluster to run on.

    They stay in the order of their file, whatever that of other tests is: each goes on where those before it ended.
    """
    ours = [item for item in items if HERE in item.path.parents]
    if not ours:
        return
    ours.sort(key=lambda item: item.location[:2])
    items[:] = [item for item in items if HERE not in item.path.parents] + ours
    asked = config.getoption("-m") == "cluster"
    reason = why_not() if asked else "runs on a cluster, and changes it: make test-cluster"
    for item in ours:
        item.add_marker(pytest.mark.cluster)
        if reason:
            item.add_marker(pytest.mark.skip(reason=reason))


@pytest.fixture(scope="session")
def lab(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """The cluster with the overlay's Secrets; at the end what was there before is there, and nothing else."""
    lab = Lab(os.environ.get("OVERLAY") or "local", os.environ.get("CONTEXT", ""), tmp_path_factory.mktemp("lab"))
    lab.prepare()
    try:
        yield lab
    finally:
        lab.clean()


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Print what was seen, with times."""
    if SEEN:
        terminalreporter.section("seen on the cluster")
        for what, seconds, note in SEEN:
            terminalreporter.write_line(f"{what:<52} {seconds:7.1f} s  {note}")
