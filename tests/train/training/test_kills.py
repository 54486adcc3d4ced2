"""A round that is killed with SIGKILL, whenever, and run again ends with the bytes of one that was left in peace."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from train_helpers import experiment

from components.contracts import checkpoint
from components.contracts.checkpoint import Checkpoint, TrainState
from components.train.training.saves import Saves


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


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
)
"""At random moments; in an epoch; within a save; between the outputs; after them (see ``killed_rounds.py``)."""


@pytest.fixture(scope="module")
def rounds(tiny_dataset: Path, tiny_constraints: Path, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    """The folder of all killed rounds, and how often each was killed."""
    folder = tmp_path_factory.mktemp("killed")
    program = [sys.executable, str(Path(__file__).with_name("killed_rounds.py"))]
    arguments = [str(path) for path in (tiny_dataset, tiny_constraints, folder)]
    done = subprocess.run([*program, *arguments, *CASES], capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return folder, done.stdout


@pytest.mark.parametrize("case", CASES)
def test_killed_and_run_again(rounds: tuple[Path, str], case: str) -> None:
    folder, kills = rounds
    name = case.replace(":", "-")
    assert f"{case} 0" not in kills.splitlines(), "never killed"
    assert all_bytes(folder / name) == all_bytes(folder / "calm")
    assert {entry.name for entry in (folder / name).iterdir()} == {"checkpoint", "confusion", "scores"}
    made = checkpoint.open(folder / name / "checkpoint")
    assert made.state.best_epoch in (2, 4) and made.best.keys() == made.model.keys()


def saved(epoch: int, seed: int = 3, round_number: int = 1) -> Checkpoint:
    stage = experiment().model_copy(update={"seed": seed}).stage_train("j")
    state = TrainState(stream="j", round=round_number, epoch=epoch, step=epoch, text_dimensions=4)
    return Checkpoint({"weight": np.full(3, epoch, dtype=np.float32)}, {}, state, stage)


def saves(folder: Path, keep: int = 2) -> Saves:
    return Saves(folder / "resume", keep, {"dataset": "1"})


@pytest.mark.parametrize("keep", [1, 3])
def test_the_last_saves_are_kept(tmp_path: Path, keep: int) -> None:
    for epoch in range(1, 12):
        saves(tmp_path, keep).write(saved(epoch))
    kept = sorted(path.name for path in (tmp_path / "resume").iterdir())
    assert kept == [f"epoch-{epoch:06d}" for epoch in range(12 - keep, 12)]


def test_a_damaged_save_is_passed_over(tmp_path: Path) -> None:
    for epoch in (1, 2):
        saves(tmp_path).write(saved(epoch))
    newest = tmp_path / "resume" / "epoch-000002" / "model.safetensors"
    newest.write_bytes(newest.read_bytes()[:-1] + b"\x07")
    found = saves(tmp_path).newest(like=saved(0))
    assert found is not None and found.state.epoch == 1
    (tmp_path / "resume" / "epoch-000001" / "manifest.json").unlink()
    assert saves(tmp_path).newest(like=saved(0)) is None


def test_saves_of_another_run_give_way(tmp_path: Path) -> None:
    for epoch in (8, 9):
        saves(tmp_path).write(saved(epoch, seed=4))
    assert saves(tmp_path).newest(like=saved(0)) is None
    assert saves(tmp_path).newest(like=saved(0, seed=4, round_number=2)) is None
    saves(tmp_path).write(saved(1))
    found = saves(tmp_path).newest(like=saved(0))
    assert found is not None and found.state.epoch == 1


def test_clearing_leaves_what_is_not_its_own(tmp_path: Path) -> None:
    saves(tmp_path).write(saved(1))
    (tmp_path / "resume" / "notes.txt").write_text("mine")
    saves(tmp_path).clear()
    assert [entry.name for entry in (tmp_path / "resume").iterdir()] == ["notes.txt"]
