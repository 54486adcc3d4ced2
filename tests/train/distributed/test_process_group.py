"""Several processes under torchrun train what one would: gradients, confusion, resume with another number, failures."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from train_helpers import experiment, run, train_on, uninformed

from components.contracts import checkpoint, confusion, scores
from components.contracts.config import Experiment
from components.train.distributed import torchrun
from components.train.distributed.process_group import SynchronisedNorm
from components.train.distributed.restarts import KilledError


def one_round(**train: object) -> Experiment:
    return experiment(rounds=1, **train)


@pytest.mark.parametrize(
    "model",
    [
        pytest.param({"velocity": True, "persons": "together"}, id="together"),
        pytest.param({}, id="apart", marks=pytest.mark.slow),
        pytest.param({"velocity": True}, id="velocity", marks=pytest.mark.slow),
    ],
)
def test_two_processes_make_the_gradient_of_one(
    tiny_dataset: Path,
    tiny_constraints: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    model: dict[str, object],
) -> None:
    """Three steps with batches of 15, of which the processes have 8 and 7, and batch norm measured anew after them.

    In double precision, because in single many gradients are sums of what cancels, and depend on the order of summing
    by up to a hundredth of themselves.
    """
    plain = one_round(epochs=2, batch=15, learning_rate=0.001, class_balance=True, held_out=0.3)
    what = plain.model_copy(update={"model": plain.model.model_copy(update=model)})
    for processes in (1, 2):
        left = tmp_path / str(processes)
        left.mkdir()
        program = (str(Path(__file__).with_name("double_rank.py")), str(left), "3", "run")
        monkeypatch.setattr(torchrun, "PROGRAM", program)
        train_on(processes, what, tiny_dataset, tiny_constraints, tmp_path)
    for step in ("1", "2", "3", "settled"):
        expected, *found = (load_file(tmp_path / f"{which}-{step}.safetensors") for which in ("1/0", "2/0", "2/1"))
        # Biases before a batch norm have no gradient: what is found of them is rounding, below 1e-12.
        gradients = [np.abs(array).max() for key, array in expected.items() if key.endswith(".grad")]
        assert step == "settled" or max(gradients) > 0.01
        for process in found:
            assert expected.keys() == process.keys()
            for key, array in expected.items():
                np.testing.assert_allclose(process[key], array, rtol=1e-7, atol=1e-10, err_msg=f"{key}, step {step}")


@pytest.mark.parametrize("precise", [False, True])
def test_two_processes_say_what_one_would(
    tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path, precise: bool
) -> None:
    """Two steps: weights, running statistics, losses, confusion and scores are those of the whole batch."""
    settings = {"class_balance": True, "held_out": 0.3, "precise_batch_norm": precise}
    what = one_round(epochs=1, batch=15, learning_rate=0.001, **settings)
    two = train_on(2, what, tiny_dataset, tiny_constraints, tmp_path / "two")
    one = run(what, tiny_dataset, tiny_constraints, tmp_path / "one")
    expected, found = (load_file(made.checkpoint / "model.safetensors") for made in (one, two))
    assert expected.keys() == found.keys()
    for key, array in expected.items():
        np.testing.assert_allclose(found[key], array, rtol=2e-3, atol=2e-5, err_msg=key)
    names = [load_file(made.checkpoint / "state.safetensors").keys() for made in (one, two)]
    assert names[0] == names[1], "what the optimiser remembers"
    assert (confusion.open(one.confusion).train == confusion.open(two.confusion).train).all()
    assert confusion.open(two.confusion).train.sum(axis=1).tolist() == [5] * 6, "every sample once"
    scored, alone = scores.open(two.scores), scores.open(one.scores)
    assert scored.history[0].loss == pytest.approx(alone.history[0].loss, rel=1e-4)
    for ours, theirs in ((scored, alone), (scored.held_out, alone.held_out)):
        assert ours is not None and theirs is not None
        assert (ours.sample_ids == theirs.sample_ids).all()
        np.testing.assert_allclose(ours.probabilities, theirs.probabilities, atol=1e-4)


@pytest.mark.slow
def test_a_lost_process_ends_all_and_one_alone_goes_on(
    tiny_dataset: Path,
    tiny_constraints: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capfd: pytest.CaptureFixture[str],
) -> None:
    """The second process is killed before the second step of epoch 3; none trains the constraint head, on which
    nothing is to be learnt here. What AdamW remembers goes to the process that goes on."""
    empty = uninformed(tiny_constraints, tmp_path / "empty")
    what = one_round(epochs=4, sync_batch_norm=False, optimizer="adamw", learning_rate=0.001)
    resume = tmp_path / "resume"
    monkeypatch.setattr(torchrun, "PROGRAM", (str(Path(__file__).with_name("killed_rank.py")), "1", "10", "run"))
    with pytest.raises(KilledError, match="SIGKILL"):
        train_on(2, what, tiny_dataset, empty, tmp_path, resume)
    log = capfd.readouterr().err
    said = [line for line in log.splitlines() if line.startswith("error: ")]
    assert said in ([], ["error: process 0 of 2: another process was lost; the round is ended"]), log
    assert "components/train/" not in log, "a traceback of ours"
    assert max(checkpoint.open(path).state.epoch for path in resume.glob("epoch-*")) == 2
    made = checkpoint.open(run(what, tiny_dataset, empty, tmp_path, resume=resume).checkpoint)
    assert [record.epoch for record in made.state.history] == [1, 2, 3, 4]
    assert {record.loss_constraint for record in made.state.history} == {0.0}
    assert not resume.exists()


@pytest.mark.slow
def test_a_mistake_is_said_once_and_not_tried_again(
    tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as end:
        train_on(2, one_round(epochs=1, batch=1), tiny_dataset, tiny_constraints, tmp_path / "out")
    assert end.value.code in (1, 2)  # 1: the one of both that left quietly was seen first
    log = capfd.readouterr().err
    said = [line for line in log.splitlines() if line.startswith("error: ")]
    assert len(said) == 1 and "2 processes found, at most 1 expected, one sample of a batch each" in said[0], log
    assert not (tmp_path / "out" / "checkpoint").exists()


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
