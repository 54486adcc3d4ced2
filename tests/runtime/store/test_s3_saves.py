"""A training round whose pod is lost: a new one with an empty disk goes on from the save in the bucket."""

from __future__ import annotations

import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from made_trees import keys
from minio import Minio
from small_experiment import write_inputs
from swift_server import SwiftServer

from components.agent.core import run_round
from components.agent.round import Round
from components.contracts import checkpoint
from components.contracts.artifact import digest
from components.contracts.config import load_experiment
from components.contracts.errors import InputError
from components.preprocess.core import preprocess
from components.runtime.store import store_for
from components.train.training.saves import round_key


@pytest.fixture
def inputs(tmp_path: Path) -> list[str]:
    """The arguments of a round of 30 epochs."""
    pickle, config = write_inputs(tmp_path)
    experiment = load_experiment(config)
    preprocess(pickle, experiment.data, tmp_path / "dataset")
    run_round(Round(experiment.stage_agent()), tmp_path / "constraints")
    given = {"config": config, "dataset": tmp_path / "dataset", "constraints": tmp_path / "constraints"}
    flags = [word for name, value in given.items() for word in (f"--{name}", str(value))]
    return [*flags, "--set", "train.epochs=30", "--set", "rounds=1"]


def train(repository: Path, *arguments: object) -> subprocess.Popen[str]:
    command = [sys.executable, "-m", "components.train", "run", *map(str, arguments)]
    return subprocess.Popen(command, cwd=repository, stderr=subprocess.PIPE, text=True)


def saved_epoch(uri: str, into: Path) -> int:
    store = store_for(uri)
    return checkpoint.open(store.fetch(uri, into)).state.epoch if store.exists(uri) else 0


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


@pytest.mark.slow
def test_killed_round_goes_on_elsewhere(
    repository: Path, prefix: str, inputs: list[str], client: Minio, swift: SwiftServer, tmp_path: Path
) -> None:
    saves = f"{prefix}/j-1-saves"
    made_from = {name: digest(tmp_path / name) for name in ("dataset", "constraints")}
    stage = load_experiment(Path(inputs[1]), {"train.epochs": 30, "rounds": 1}).stage_train("j")
    kept = f"{saves}-{round_key(stage, 'j', 1, made_from)}"
    with train(repository, *inputs, "--output", tmp_path / "lost", "--resume", saves) as process:
        while saved_epoch(kept, tmp_path / "seen") < 2 and process.poll() is None:
            time.sleep(0.25)
        process.send_signal(signal.SIGKILL)
    assert process.returncode == -signal.SIGKILL, "the round ended before it could be killed"
    assert not (tmp_path / "lost").exists()
    saved = saved_epoch(kept, tmp_path / "seen")
    with train(repository, *inputs, "--output", tmp_path / "elsewhere", "--resume", saves) as process:
        _, log = process.communicate()
    assert process.returncode == 0, log
    assert f"resuming after epoch {saved}" in log and swift.secret_key not in log
    assert keys(client, kept) == [], "the save goes when the artifacts are complete"
    with train(repository, *inputs, "--output", tmp_path / "calm") as process:
        process.communicate()
    assert all_bytes(tmp_path / "elsewhere") == all_bytes(tmp_path / "calm")


def test_removing_an_artifact_takes_what_dead_writers_left(prefix: str, client: Minio, tmp_path: Path) -> None:
    bucket, _, key = prefix.partition("://")[2].partition("/")
    (tmp_path / "left").write_text("half")
    for name in (f"files-{'a' * 32}/model.safetensors", "beside"):
        client.fput_object(bucket, f"{key}/{name}", str(tmp_path / "left"))
    store = store_for(prefix)
    store.remove(prefix)
    assert keys(client, prefix) == ["beside"] and not store.exists(prefix)
    with pytest.raises(InputError, match="no bucket 'nowhere'"):
        store.remove("s3://nowhere/at-all")
