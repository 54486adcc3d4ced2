"""A writer that is killed with SIGKILL, at many moments, leaves the old artifact, the new one or none: never half."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_artifacts import KINDS, Kind

from components.contracts.artifact import MANIFEST, digest

LOOP = """
import sys
from pathlib import Path
from made_artifacts import KINDS
kind = next(kind for kind in KINDS if kind.name == sys.argv[1])
print("ready", flush=True)
variant = 0
while True:
    kind.write(Path(sys.argv[2]), variant % 2)
    variant += 1
"""
STEP = """
import os, signal, sys
from pathlib import Path
import components.contracts.artifact as artifact
from made_artifacts import KINDS
kind = next(kind for kind in KINDS if kind.name == sys.argv[1])
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
owner = kind.module if sys.argv[3] == "seal" else artifact
setattr(owner, sys.argv[3], die)
kind.write(Path(sys.argv[2]), 1)
"""
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("step", ["seal", "_replace_directory"])
def test_killed_before_the_rename(tmp_path: Path, kind: Kind, step: str) -> None:
    """Killed with all files written (before the manifest, and before the rename), over an older artifact."""
    target = tmp_path / "target"
    kind.write(target)
    before = digest(target)
    command = [sys.executable, "-c", STEP, kind.name, str(target), step]
    assert subprocess.run(command, env=ENVIRONMENT, check=False).returncode == -signal.SIGKILL
    kind.module.open(target)
    assert digest(target) == before


@pytest.mark.parametrize("kind", KINDS[:1] + KINDS[3:4], ids=lambda kind: kind.name)
def test_killed_at_random_moments(tmp_path: Path, kind: Kind) -> None:
    target = tmp_path / "target"
    for variant in (0, 1):
        kind.write(tmp_path / str(variant), variant)
    valid = {digest(tmp_path / "0"), digest(tmp_path / "1")}
    delays = random.Random(0)
    for _ in range(4):
        command = [sys.executable, "-c", LOOP, kind.name, str(target)]
        with subprocess.Popen(command, env=ENVIRONMENT, stdout=subprocess.PIPE) as writer:
            assert writer.stdout is not None
            writer.stdout.readline()
            time.sleep(delays.uniform(0.0, 0.05))
            writer.kill()
        if target.exists():
            kind.module.open(target)
            assert digest(target) in valid


def test_what_a_killed_writer_leaves_beside_the_target_is_no_artifact(tmp_path: Path) -> None:
    kind = KINDS[0]
    command = [sys.executable, "-c", STEP, kind.name, str(tmp_path / "target"), "seal"]
    subprocess.run(command, env=ENVIRONMENT, check=False)
    assert not (tmp_path / "target").exists()
    left = list(tmp_path.iterdir())
    assert [entry.suffix for entry in left] == [".tmp"]
    assert not (left[0] / MANIFEST).exists()
    kind.write(tmp_path / "target")
    kind.module.open(tmp_path / "target")
