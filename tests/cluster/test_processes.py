"""The command of a TrainJob's nodes and of a pod with several GPUs, run here with two processes on the CPU."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest
from small_experiment import CONFIG, write_pickle

from components.agent import core as agent
from components.agent.round import Round
from components.contracts import checkpoint, scores
from components.contracts.config import parse_experiment
from components.preprocess.core import preprocess
from components.train.distributed import torchrun, trainjob
from components.train.round import Round as TrainRound

ROOT = Path(__file__).resolve().parents[2]
EXPERIMENT = parse_experiment(CONFIG, "small", {"rounds": 1})
pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("inputs")
    preprocess(write_pickle(folder / "small.pkl"), EXPERIMENT.stage_preprocess(), folder / "dataset")
    agent.run_round(Round(EXPERIMENT.stage_agent()), folder / "constraints")
    return folder


def the_round(inputs: Path, dataset: str = "dataset") -> TrainRound[str]:
    stage = EXPERIMENT.stage_train("j")
    return TrainRound(stage, "j", 1, str(inputs / dataset), str(inputs / "constraints"))


def test_two_nodes_of_a_trainjob_train_one_round(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both run the container's command, with the variables with which Kubeflow Trainer tells torchrun of each other."""
    job = trainjob.Job(the_round(inputs), str(tmp_path / "jobs"), ("test",))
    trainer = trainjob.manifest(job, trainjob.Nodes(2, 0, "", "1", "1Gi", "x:1"))["spec"]["trainer"]
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    (variable,) = trainer["env"]
    environment = {
        **os.environ,
        "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        variable["name"]: variable["value"],
        "OMP_NUM_THREADS": "1",
        "PET_NNODES": str(trainer["numNodes"]),
        "PET_NPROC_PER_NODE": str(trainer["numProcPerNode"]),
        "PET_MASTER_ADDR": "127.0.0.1",
        "PET_MASTER_PORT": str(port),
    }
    script = trainer["command"][2].replace("/tmp/experiment.yaml", str(tmp_path / "experiment.yaml"))
    words = [word.replace("/tmp/experiment.yaml", str(tmp_path / "experiment.yaml")) for word in trainer["args"]]
    command = [*trainer["command"][:2], script, *trainer["command"][3:], *words]
    nodes = [
        subprocess.Popen(command, cwd=ROOT, env={**environment, "PET_NODE_RANK": str(rank)}, stderr=subprocess.PIPE)
        for rank in range(2)
    ]
    said = [node.communicate(timeout=300)[1].decode() for node in nodes]
    assert [node.returncode for node in nodes] == [0, 0], said
    made = checkpoint.open(Path(job.output) / "checkpoint")
    assert (made.state.stream, made.state.round) == ("j", 1)
    assert made.config == EXPERIMENT.stage_train("j"), "the artifact carries the stage's own configuration"
    assert scores.open(Path(job.output) / "scores").round == 1


def test_a_pod_with_several_devices_starts_as_many_processes(
    inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    torchrun.train_on_all(2, the_round(inputs), output=str(tmp_path), resume=None)
    assert {path.name for path in tmp_path.iterdir()} >= set(trainjob.OUTPUTS)
    assert checkpoint.open(tmp_path / "checkpoint").config == EXPERIMENT.stage_train("j")


def test_what_fails_ends_the_task(inputs: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    with pytest.raises(SystemExit) as end:
        torchrun.train_on_all(2, the_round(inputs, dataset="constraints"), output=str(tmp_path), resume=None)
    assert end.value.code
