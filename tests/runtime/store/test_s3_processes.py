"""Processes of torchrun on one node that read their inputs from a bucket: one copy, and one line if it is not there."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from dropping_proxy import DroppingProxy
from small_experiment import write_inputs

from components.agent.core import run_round
from components.agent.round import Round
from components.contracts import scores
from components.contracts.config import load_experiment
from components.preprocess.core import preprocess
from components.runtime.store import store_for


def two_processes(repository: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    launch = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2"]
    train = [*launch, "-m", "components.train", "run", "--set", "rounds=1", *map(str, arguments)]
    return subprocess.run(train, cwd=repository, stderr=subprocess.PIPE, text=True)


@pytest.mark.slow
def test_two_processes_of_a_node_share_one_copy(
    repository: Path, prefix: str, proxy: DroppingProxy, tmp_path: Path
) -> None:
    pickle, config = write_inputs(tmp_path, frames=400)
    experiment = load_experiment(config)
    preprocess(pickle, experiment.data, tmp_path / "dataset")
    run_round(Round(experiment.stage_agent()), tmp_path / "constraints")
    given = ["--config", config, "--output", tmp_path]
    for name in ("dataset", "constraints"):
        store_for(prefix).publish(tmp_path / name, f"{prefix}/{name}")
        given += [f"--{name}", f"{prefix}/{name}"]
    size, before = (tmp_path / "dataset" / "keypoints.npy").stat().st_size, proxy.passed
    done = two_processes(repository, *given)
    assert done.returncode == 0, done.stderr
    assert size <= proxy.passed - before < 1.5 * size, "bytes of more than one copy"
    assert len(scores.open(tmp_path / "scores").labels) == 9

    done = two_processes(repository, *given[:4], "--constraints", f"{prefix}/none", "--dataset", f"{prefix}/dataset")
    assert done.returncode != 0
    said = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
    assert said == [f"error: {prefix}/none: no such file or artifact (process 0 of 2)"], done.stderr
