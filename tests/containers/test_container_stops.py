"""SIGTERM ends every container within ten seconds, and what was finished is not lost."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from container_runs import ROOT, Experiment, Runs, beside_a_server
from docker.client import DockerClient
from docker.types import Mount

from components.contracts.artifact import digest
from components.runtime.task import image
from pipelines.local.containers import hand_over
from pipelines.local.engine import LABEL, user

CONFIG = ROOT / "pipelines" / "configs" / "demo.yaml"
EXPERIMENT = Experiment("demo", settings=("train.epochs=2",))
ENDED_BY_SIGTERM = 143


@contextmanager
def started(client: DockerClient, stage: str, *command: str, **options: Any) -> Iterator[Any]:
    """A container whose first process is Python itself, with nothing around it that would pass signals on."""
    container = client.containers.run(
        image(stage),
        ["python3", "-m", f"components.{stage}", *command],
        detach=True,
        read_only=True,
        tmpfs={"/tmp": "mode=1777"},
        user=user(),
        network_mode="none",
        **options,
    )
    try:
        yield container
    finally:
        container.remove(force=True)


def stop(container: Any) -> int:
    """Stop it as ``docker stop`` does; return its exit status, 137 if it had to be killed."""
    container.stop(timeout=10)
    return int(container.wait()["StatusCode"])


def wait_for(condition: Any, what: str) -> None:
    deadline = time.monotonic() + 240
    while not condition():
        assert time.monotonic() < deadline, f"never: {what}"
        time.sleep(0.1)


@pytest.mark.parametrize(
    ("stage", "arguments"),
    [
        ("preprocess", ["run", "x.pkl", "--output", "/tmp/x"]),
        ("agent", ["run", "--output", "/tmp/x"]),
        ("evaluate", ["run", "--scores", "/tmp/y", "--output", "/tmp/x"]),
    ],
)
def test_a_stage_that_waits(images: DockerClient, stage: str, arguments: list[str]) -> None:
    command = [*arguments, "--config", "/dev/stdin"]
    with started(images, stage, *command, stdin_open=True) as container:
        pid_one = ["python3", "-c", "print([l for l in open('/proc/1/status') if l.startswith('SigCgt')])"]
        signal_15 = 1 << 14
        wait_for(
            lambda: int(container.exec_run(pid_one).output.split(b"\\t")[1].split(b"\\n")[0], 16) & signal_15,
            "SIGTERM is handled",
        )
        assert stop(container) == ENDED_BY_SIGTERM


def test_the_service(images: DockerClient) -> None:
    options = {"environment": {"SKELETONAGENT_AGENT_TOKEN": "a" * 32}}
    with started(images, "agent", "serve", "--store", "/tmp/store", **options) as container:
        wait_for(lambda: b"running on" in container.logs() or b"jobs at once" in container.logs(), "the service serves")
        time.sleep(1.0)
        assert stop(container) == 0


def test_the_command_that_started_them(images: DockerClient, tmp_path: Path) -> None:
    """SIGTERM ends a run through a bucket, and its containers and network with it."""
    root = tmp_path / "runs"
    words = [sys.executable, "tests/containers/bucket_run.py", "--to", "s3://lab/trial", "--root", str(root)]
    command = ["sh", "-c", 'echo $$ > "$0" && exec "$@"', str(tmp_path / "pid"), *words]
    mine = {"label": f"{LABEL}=bucket {root / 'demo'}"}
    with subprocess.Popen(beside_a_server(images, command), cwd=ROOT) as running:
        wait_for(lambda: len(images.containers.list(filters=mine)) == 2 or running.poll() is not None, "a stage runs")
        assert running.poll() is None
        os.kill(int((tmp_path / "pid").read_text()), signal.SIGTERM)
        assert running.wait(timeout=60) == ENDED_BY_SIGTERM
    assert not images.containers.list(all=True, filters=mine)
    assert not images.networks.list(filters=mine)


def test_training_goes_on_where_it_was(images: DockerClient, runs: Runs, tmp_path: Path) -> None:
    root = runs.processes(EXPERIMENT)
    [dataset] = (root / "artifacts").glob("*/preprocess/dataset")
    [prior] = (root / "artifacts").glob("*/agent-prior/constraints")
    tmp_path.chmod(0o755)
    work = tmp_path / "work"
    work.mkdir()
    hand_over(work)
    mounts = [
        Mount("/in/dataset", str(dataset), "bind", read_only=True),
        Mount("/in/prior", str(prior), "bind", read_only=True),
        Mount("/in/config.yaml", str(CONFIG), "bind", read_only=True),
        Mount("/work", str(work), "bind"),
    ]
    command = ["run", "--config", "/in/config.yaml", "--dataset", "/in/dataset", "--constraints", "/in/prior"]
    command += ["--set", "train.epochs=8", "--set", "rounds=1"]
    options = {"mounts": mounts, "environment": {"OMP_NUM_THREADS": "1"}}

    def run(name: str, *more: str) -> Any:
        return started(images, "train", *command, "--output", f"/work/{name}", *more, **options)

    with run("stopped", "--resume", "/work/resume") as container:
        wait_for(lambda: [*(work / "resume").rglob("manifest.json")], "an epoch is saved")
        assert stop(container) == ENDED_BY_SIGTERM
    assert not (work / "stopped" / "checkpoint").exists()
    for name, more in (("stopped", ["--resume", "/work/resume"]), ("whole", [])):
        with run(name, *more) as container:
            assert container.wait()["StatusCode"] == 0, container.logs(tail=5)
    for kind in ("checkpoint", "confusion", "scores"):
        assert digest(work / "stopped" / kind) == digest(work / "whole" / kind)
