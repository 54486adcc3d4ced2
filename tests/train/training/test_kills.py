"""A round that is killed with SIGKILL, whenever, and run again ends with the bytes of one that was left in peace."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from train_helpers import all_bytes, experiment

from components.contracts import checkpoint
from components.contracts.checkpoint import Checkpoint, TrainState
from components.train.training.saves import SavePlace, Saves, round_key, save_path

CASES = (
    "random:0",
    "random:1",
    "step:2",
    "step:8",
    "seal:2",
    "replace:1",
    "replace:3",
    "confusion:1",
    "scores:1",
    "clear:1",
    "pod:8",
)
"""Several times, at drawn events; in an epoch; within a save; between the outputs; after them; in an epoch, by a task
that starts it again itself (see ``killed_rounds.py``)."""


@pytest.fixture(scope="module")
def rounds(
    tiny_dataset: Path, tiny_constraints: Path, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, str, str]:
    """The folder of all killed rounds, how often each was killed, and the log."""
    folder = tmp_path_factory.mktemp("killed")
    program = [sys.executable, str(Path(__file__).with_name("killed_rounds.py"))]
    arguments = [str(path) for path in (tiny_dataset, tiny_constraints, folder)]
    environment = os.environ | {"PYTHONPATH": os.pathsep.join(sys.path), "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*program, *arguments, *CASES], capture_output=True, text=True, check=False, env=environment)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout, done.stderr


@pytest.mark.parametrize("case", CASES)
def test_killed_and_run_again(rounds: tuple[Path, str, str], case: str) -> None:
    folder, kills, _ = rounds
    name = case.replace(":", "-")
    assert f"{case} 0" not in kills.splitlines(), "never killed"
    assert all_bytes(folder / name) == all_bytes(folder / "calm")
    assert {entry.name for entry in (folder / name).iterdir()} == {"checkpoint", "confusion", "scores"}
    made = checkpoint.open(folder / name / "checkpoint")
    assert made.state.best_epoch in (2, 4) and made.best.keys() == made.model.keys()


def test_the_log_says_what_was_gone_on_from(rounds: tuple[Path, str, str]) -> None:
    log = rounds[2]
    assert "resuming after epoch 2" in log, "killed before step 8, in epoch 3"
    assert "training was killed (SIGKILL, often for lack of memory); started again from the last epoch" in log


def saved(epoch: int, seed: int = 3, round_number: int = 1) -> Checkpoint:
    stage = experiment().model_copy(update={"seed": seed}).stage_train("j")
    state = TrainState(stream="j", round=round_number, epoch=epoch, step=epoch, text_dimensions=4)
    return Checkpoint({"weight": np.full(3, epoch, dtype=np.float32)}, {}, state, stage)


def saves(folder: Path, keep: int = 2, seed: int = 3, round_number: int = 1) -> Saves:
    """The saves of the round that ``saved`` makes checkpoints of."""
    made_from = {"dataset": "1"}
    key = round_key(saved(0, seed).config, "j", round_number, made_from)
    return Saves(SavePlace(folder / "resume"), keep, key, made_from)


@pytest.mark.parametrize("keep", [1, 3])
def test_the_last_saves_are_kept(tmp_path: Path, keep: int) -> None:
    for epoch in range(1, 12):
        saves(tmp_path, keep).write(saved(epoch))
    kept = sorted(path.name for path in (tmp_path / "resume").iterdir())
    assert kept == [f"epoch-{epoch:06d}-{saves(tmp_path).key}" for epoch in range(12 - keep, 12)]


def test_a_damaged_save_is_passed_over(tmp_path: Path) -> None:
    for epoch in (1, 2):
        saves(tmp_path).write(saved(epoch))
    newest, before = sorted((tmp_path / "resume").iterdir(), reverse=True)
    weights = newest / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1] + b"\x07")
    found = saves(tmp_path).newest()
    assert found is not None and found.state.epoch == 1
    (before / "manifest.json").unlink()
    assert saves(tmp_path).newest() is None


def test_saves_of_another_run_stay(tmp_path: Path) -> None:
    """The same folder with another setting, for once: the right command finds its epochs afterwards."""
    other = saves(tmp_path, seed=4)
    for epoch in (8, 9):
        other.write(saved(epoch, seed=4))
    assert saves(tmp_path).newest() is None
    assert saves(tmp_path, seed=4, round_number=2).newest() is None
    for epoch in (1, 2, 3):
        saves(tmp_path).write(saved(epoch))
    found = saves(tmp_path).newest()
    assert found is not None and found.state.epoch == 3
    saves(tmp_path).clear()
    kept = other.newest()
    assert kept is not None and kept.state.epoch == 9
    assert len(list((tmp_path / "resume").iterdir())) == 2


def test_a_save_under_the_name_of_another_run_is_not_used(tmp_path: Path) -> None:
    saves(tmp_path, seed=4).write(saved(9, seed=4))
    (made,) = (tmp_path / "resume").iterdir()
    made.rename(save_path(tmp_path / "resume", 9, saves(tmp_path).key))
    assert saves(tmp_path).newest() is None


def test_clearing_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    saves(tmp_path).write(saved(1))
    (tmp_path / "resume" / "notes.txt").write_text("mine")
    saves(tmp_path).clear()
    assert [entry.name for entry in (tmp_path / "resume").iterdir()] == ["notes.txt"]
