"""Several processes under torchrun train what one would: gradients, confusion, resume with another number, failures."""

from __future__ import annotations

import os
import signal
import time
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from train_helpers import experiment, torchrun

from components.contracts import checkpoint, confusion, scores
from components.contracts.config import Experiment
from components.train.core import Outputs, train_round
from components.train.distributed.process_group import SynchronisedNorm
from components.train.round import Round


def outputs(folder: Path) -> Outputs:
    return Outputs(folder / "checkpoint", folder / "confusion", folder / "scores")


def one_round(**train: object) -> Experiment:
    return experiment(rounds=1, **train)


def test_two_processes_make_the_gradient_of_one(tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
    """Two steps with batches of 21, of which the processes have 11 and 10. After the first the momentum is the
    gradient; statistics of the batch norms, losses and confusion are those of the whole batch too."""
    what = one_round(epochs=1, batch=21, class_balance=True, learning_rate=0.01)
    with torchrun(2, what, tiny_dataset, tiny_constraints, tmp_path / "two") as process:
        _, log = process.communicate()
    assert process.returncode == 0, log
    stage = what.stage_train("j")
    train_round(Round(stage, "j", 1, tiny_dataset, tiny_constraints), outputs(tmp_path / "one"))
    one, two = (outputs(tmp_path / name) for name in ("one", "two"))
    for name in ("state.safetensors", "model.safetensors"):
        expected, found = load_file(one.checkpoint / name), load_file(two.checkpoint / name)
        assert expected.keys() == found.keys()
        for key, array in expected.items():
            np.testing.assert_allclose(found[key], array, rtol=2e-3, atol=2e-5, err_msg=key)
    assert (confusion.open(one.confusion).train == confusion.open(two.confusion).train).all()
    assert confusion.open(two.confusion).train.sum(axis=1).tolist() == [7] * 6, "every sample once"
    scored, alone = scores.open(two.scores), scores.open(one.scores)
    assert (scored.sample_ids == alone.sample_ids).all()
    np.testing.assert_allclose(scored.probabilities, alone.probabilities, atol=1e-4)
    assert scored.history[0].loss == pytest.approx(alone.history[0].loss, rel=1e-4)


def test_a_lost_process_ends_all_and_one_alone_goes_on(
    tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path
) -> None:
    what, resume = one_round(epochs=16, sync_batch_norm=False), tmp_path / "resume"
    launcher = torchrun(2, what, tiny_dataset, tiny_constraints, tmp_path / "out", "--resume", resume)
    while not list(resume.glob("epoch-*")) and launcher.poll() is None:
        time.sleep(0.05)
    _second(launcher.pid).send_signal(signal.SIGKILL)
    _, log = launcher.communicate(timeout=120)
    assert launcher.returncode != 0
    said = [line for line in log.splitlines() if line.startswith("error: ")]
    assert said in ([], ["error: process 0 of 2: another process was lost; the round is ended"]), log
    assert "components/train/" not in log, "a traceback of ours"
    kept = max(checkpoint.open(path).state.epoch for path in resume.glob("epoch-*"))
    stage = what.stage_train("j")
    train_round(Round(stage, "j", 1, tiny_dataset, tiny_constraints), outputs(tmp_path), resume=resume)
    made = checkpoint.open(tmp_path / "checkpoint")
    assert [record.epoch for record in made.state.history] == list(range(1, 17)) and kept < 16


class _Process:
    def __init__(self, number: int) -> None:
        self.number = number

    def send_signal(self, which: int) -> None:
        os.kill(self.number, which)


def _second(launcher: int) -> _Process:
    """The process of rank 1."""
    for entry in Path("/proc").glob("[0-9]*"):
        try:
            parent = int((entry / "stat").read_text().rpartition(")")[2].split()[1])
            environment = (entry / "environ").read_bytes().split(b"\0")
        except (OSError, IndexError):
            continue
        if parent == launcher and b"RANK=1" in environment:
            return _Process(int(entry.name))
    raise AssertionError("no second process")


def test_a_mistake_is_said_once(tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
    what = one_round(epochs=1, batch=1)
    with torchrun(2, what, tiny_dataset, tiny_constraints, tmp_path) as process:
        _, log = process.communicate()
    assert process.returncode != 0
    said = [line for line in log.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and "2 processes found, at most 1 expected, one sample of a batch each" in said[0], log
    assert not (tmp_path / "checkpoint").exists()


def test_synchronised_norm_of_a_process_alone_is_batch_norm() -> None:
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(5, 7, 9, generator=generator) * 3 + 2
    plain, ours = torch.nn.BatchNorm1d(7).double(), SynchronisedNorm(7).double()
    results = []
    for norm in (plain, ours):
        given = x.double().requires_grad_()
        out = norm(given)
        out.pow(3).sum().backward()
        assert given.grad is not None and norm.weight.grad is not None
        results.append((out, given.grad, norm.weight.grad, norm.running_mean, norm.running_var, norm.eval()(given)))
    for expected, found in zip(*results, strict=True):
        torch.testing.assert_close(found, expected)
