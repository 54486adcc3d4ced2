"""The whole loop for classes that nobody has ever heard of: no LLM, no priors, and yet guidance that is learnt from."""

from __future__ import annotations

import logging
from pathlib import Path

import numpy as np
import pytest
from train_helpers import experiment, run

from components.agent.core import run_round
from components.agent.round import Round
from components.contracts import checkpoint, constraints


def test_nobody_knows_the_classes_and_the_data_guide(
    tiny_dataset: Path, tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("skeletonagent"), "propagate", True)
    caplog.set_level(logging.INFO)
    tiny = experiment(rounds=2, epochs=8)
    run_round(Round(tiny.stage_agent()), tmp_path / "c0")
    first = run(tiny, tiny_dataset, tmp_path / "c0", tmp_path / "1")
    run_round(Round(tiny.stage_agent(), "j", 1, first.confusion, tmp_path / "c0"), tmp_path / "c1")
    told = constraints.open(tmp_path / "c1")
    second = run(tiny, tiny_dataset, tmp_path / "c1", tmp_path / "2", 2, previous=first.checkpoint)

    assert {one.provenance.status for one in constraints.open(tmp_path / "c0").classes} == {"no-prior"}
    assert {(one.provenance.status, one.provenance.provider) for one in told.classes} == {("data", "data")}
    masks = told.joint_mask()
    assert len(np.unique(masks, axis=0)) > 1 and masks.sum(axis=1).max() <= masks.shape[1] // 2
    assert len({one.description for one in told.classes}) == len(told.classes)
    assert told.plan is not None and told.plan.order == ()
    assert all(one.measured and not one.asked for one in told.plan.classes)
    assert "nobody was asked: no LLM and no priors; joints measured from the data; 6 data" in caplog.text

    losses = [record.loss_constraint for record in checkpoint.open(second.checkpoint).state.history]
    assert set(losses[:4]) == {0.0}, "round 1 had nothing to go by"
    assert losses[4:] == sorted(set(losses[4:]), reverse=True) and losses[-1] < 0.95 * losses[4]
