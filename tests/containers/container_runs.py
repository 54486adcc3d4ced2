"""Runs of the whole pipeline by its own commands, to be compared."""

from __future__ import annotations

import hashlib
import os
import re
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path

from docker.client import DockerClient

from components.evaluate.report.facts import MARK

ROOT = Path(__file__).resolve().parents[2]
RESULTS = ("report.html", "metrics.json", "predictions.npz")


@dataclass(frozen=True)
class Experiment:
    """What to run: options of the command line, the name of its results, and settings that make it short."""

    name: str
    inputs: tuple[str, ...] = ()
    settings: tuple[str, ...] = ()

    def options(self) -> list[str]:
        return [*self.inputs, *(word for setting in self.settings for word in ("--set", setting))]


@dataclass
class Runs:
    """Runs below one folder; each is done when first asked for."""

    client: DockerClient
    root: Path
    seconds: dict[str, float] = field(default_factory=dict)

    def processes(self, experiment: Experiment) -> Path:
        """Run it as ``make run`` does; return the root of its results."""
        return self._run("processes", experiment, [sys.executable, "-m", "pipelines", "run"])

    def containers(self, experiment: Experiment) -> Path:
        """Run it as ``make run-docker`` does."""
        return self._run("containers", experiment, [sys.executable, "-m", "pipelines", "run", "--containers"])

    def bucket(self, experiment: Experiment) -> Path:
        """Run it stage by stage, in containers that share only a bucket."""
        command = [sys.executable, "tests/containers/bucket_run.py", "--to", "s3://lab/trial"]
        return self._run("bucket", experiment, beside_a_server(self.client, command))

    def _run(self, kind: str, experiment: Experiment, command: list[str]) -> Path:
        root = self.root / kind / experiment.name
        if root.exists():
            return root
        started = time.monotonic()
        options = [*experiment.options(), "--root", str(root)]
        environment = {**os.environ, "OMP_NUM_THREADS": "1"}
        done = subprocess.run(
            [*command, *options], cwd=ROOT, env=environment, capture_output=True, text=True, check=False
        )
        assert done.returncode == 0, f"{kind}: {done.stderr[-3000:]}"
        self.seconds[f"{experiment.name} in {kind}"] = time.monotonic() - started
        return root


def beside_a_server(client: DockerClient, command: list[str]) -> list[str]:
    """Return what runs a command beside an S3 server that containers reach and that has the bucket ``lab``."""
    network = client.networks.get("bridge").attrs["IPAM"]["Config"][0]["Subnet"]
    return [sys.executable, "tests/runtime/store/swift_server.py", "--host", network, "lab", *command]


def results(root: Path, experiment: Experiment) -> dict[str, str]:
    """Return the SHA-256 of every file of the result; of the page without what it says of the run itself."""
    home = root / experiment.name
    found = {name: (home / name).read_bytes() for name in RESULTS}
    found["report.html"] = re.sub(rb'<dl class="run-facts">.*?</dl>', MARK.encode(), found["report.html"], flags=re.S)
    return {name: hashlib.sha256(content).hexdigest() for name, content in found.items()}


def artifacts(root: Path) -> dict[str, str]:
    """Return the SHA-256 of every file of every artifact that KFP's local runner kept."""
    found = {}
    for manifest in (root / "artifacts").rglob("manifest.json"):
        for file in manifest.parent.rglob("*"):
            if file.is_file():
                name = Path(*file.relative_to(root / "artifacts").parts[1:])
                found[str(name)] = hashlib.sha256(file.read_bytes()).hexdigest()
    return found
