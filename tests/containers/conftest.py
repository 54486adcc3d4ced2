"""The container engine and the images, built once for all tests here; all skip, and say why, where that cannot be."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from container_runs import Runs
from docker.client import DockerClient
from docker.errors import DockerException, ImageNotFound

ROOT = Path(__file__).resolve().parents[2]
BASE = "python:3.11-slim"
FIGURES = pytest.StashKey[list[str]]()


def pytest_configure(config: pytest.Config) -> None:
    """Make room for what is measured on the way."""
    config.stash[FIGURES] = []


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter, config: pytest.Config) -> None:
    """Print what was measured, which no test judges: sizes and times of the builds, times of the runs."""
    for line in config.stash[FIGURES]:
        terminalreporter.write_line(line)


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Mark every test here: the images take minutes to build."""
    for item in items:
        if Path(__file__).parent in item.path.parents and "static" not in item.path.name:
            item.add_marker(pytest.mark.containers)


@pytest.fixture(scope="session")
def engine() -> Iterator[DockerClient]:
    """The running engine."""
    try:
        client = DockerClient.from_env()
        client.ping()
    except DockerException as error:
        pytest.skip(f"no container engine: {error}")
    yield client
    client.close()


@pytest.fixture(scope="session")
def images(engine: DockerClient, pytestconfig: pytest.Config) -> DockerClient:
    """The engine, with the images of this source."""
    try:
        engine.images.get(BASE)
    except ImageNotFound:
        pulled = subprocess.run(["docker", "pull", "--quiet", BASE], capture_output=True, check=False).returncode == 0
        if not pulled and (os.getuid() != 0 or not shutil.which("mmdebstrap")):
            pytest.skip(f"{BASE} can neither be pulled nor made here (that takes root and mmdebstrap)")
        if not pulled:
            subprocess.run([ROOT / "docker" / "base_image.sh"], check=True)
    torch = re.search(r"^TORCH +:= (\S+)", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE)
    assert torch
    build = [sys.executable, ROOT / "docker" / "build.py", "--torch", torch.group(1)]
    built = subprocess.run(build, stdout=subprocess.PIPE, text=True, check=True)
    pytestconfig.stash[FIGURES] += built.stdout.replace(" ...\n...", ":").splitlines()
    return engine


@pytest.fixture(scope="session")
def runs(images: DockerClient, tmp_path_factory: pytest.TempPathFactory, pytestconfig: pytest.Config) -> Iterator[Runs]:
    """Runs of the pipeline in processes, in containers and through a bucket, each done once."""
    done = Runs(images, tmp_path_factory.mktemp("runs"))
    yield done
    pytestconfig.stash[FIGURES] += [f"{name}: {seconds:.0f} s" for name, seconds in done.seconds.items()]
