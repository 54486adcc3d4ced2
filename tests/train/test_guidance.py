"""What the constraints do in training: soft joints, and texts of any embedding."""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from safetensors.numpy import load_file
from train_helpers import experiment, run, train_on_two

from components.contracts import checkpoint, constraints
from components.contracts.errors import InputError
from components.contracts.skeleton import load_layout
from components.train.core import Outputs, train_round
from components.train.round import Round


def train(data: Path, guidance: Path, folder: Path, round_number: int = 1, previous: Path | None = None) -> Outputs:
    made = Outputs(folder / "checkpoint", folder / "confusion", folder / "scores")
    stage = experiment(epochs=2).stage_train("b")
    train_round(Round(stage, "b", round_number, data, guidance, previous), made)
    return made


def weighted(guidance: Path, least: float, path: Path) -> Path:
    """The same constraints with the weight ``least`` for the joints of the first class, 1 for those of the others."""
    told = constraints.open(guidance)
    classes = tuple(
        entry.model_copy(update={"weights": (1.0 if entry.label else least,) * len(entry.joints), "votes": 2})
        for entry in told.classes
    )
    constraints.write(path, replace(told, classes=classes), made_from={}, config=experiment().stage_agent())
    return path


def constraint_losses(made: Outputs) -> list[float]:
    return [record.loss_constraint for record in checkpoint.open(made.checkpoint).state.history]


def test_weights_of_one_are_the_mask_and_others_are_not(
    tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path
) -> None:
    plain, one, half = (
        constraint_losses(train(tiny_dataset, guidance, tmp_path / name))
        for name, guidance in (
            ("plain", tiny_constraints),
            ("one", weighted(tiny_constraints, 1.0, tmp_path / "ones")),
            ("half", weighted(tiny_constraints, 0.5, tmp_path / "halves")),
        )
    )
    assert plain == one
    assert plain != half


def uninformed(guidance: Path, path: Path) -> Path:
    """What the agent writes where nobody was asked: all joints for every class."""
    told = constraints.open(guidance)
    unknown = constraints.Provenance(status="no-prior", provider="offline")
    joints = tuple(range(len(load_layout(told.layout).joints)))
    classes = tuple(entry.model_copy(update={"joints": joints, "provenance": unknown}) for entry in told.classes)
    constraints.write(path, replace(told, classes=classes), made_from={}, config=experiment().stage_agent())
    return path


def test_constraints_that_say_nothing_have_no_loss(
    tiny_dataset: Path,
    tiny_constraints: Path,
    tmp_path: Path,
    caplog: pytest.LogCaptureFixture,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Nor are they trained on; the next round, with constraints, goes on from there."""
    monkeypatch.setattr(logging.getLogger("skeletonagent"), "propagate", True)
    caplog.set_level(logging.INFO)
    empty = uninformed(tiny_constraints, tmp_path / "empty")
    first = train(tiny_dataset, empty, tmp_path / "1")
    history = checkpoint.open(first.checkpoint).state.history
    assert [record.loss_constraint for record in history] == [0.0]
    for record in history:
        assert record.loss == pytest.approx(record.loss_clean + record.loss_mixed + 0.5 * record.loss_alignment)
    said = [line for line in caplog.messages if "trained without the constraint loss" in line]
    assert len(said) == 1
    opened = checkpoint.open(first.checkpoint)
    assert "constraint.weight" in opened.model and "constraint.weight" not in opened.optimiser

    second = train(tiny_dataset, tiny_constraints, tmp_path / "2", 2, first.checkpoint)
    assert constraint_losses(second)[-1] > 0
    opened = checkpoint.open(second.checkpoint)
    assert "constraint.weight" in opened.optimiser


def test_two_processes_do_without_it_as_one_does(tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
    what, empty = experiment(rounds=1, epochs=1, batch=21), uninformed(tiny_constraints, tmp_path / "empty")
    two = train_on_two(what, tiny_dataset, empty, tmp_path / "two")
    one = run(what, tiny_dataset, empty, tmp_path / "one")
    losses = [checkpoint.open(made.checkpoint).state.history[0].loss for made in (one, two)]
    assert losses[1] == pytest.approx(losses[0], rel=1e-3)


def test_texts_of_another_dimension_train_but_do_not_mix(
    tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path
) -> None:
    told = constraints.open(tiny_constraints)
    text = np.random.default_rng(0).normal(size=(len(told.classes), 512)).astype(np.float32)
    wide = replace(told, text=text, encoder="clip ViT-B-32 0")
    constraints.write(tmp_path / "wide", wide, made_from={}, config=experiment().stage_agent())
    made = train(tiny_dataset, tmp_path / "wide", tmp_path / "1")
    opened = checkpoint.open(made.checkpoint)
    assert opened.state.text_dimensions == 512
    assert opened.model["alignment.weight"].shape[0] == 512
    with pytest.raises(InputError, match="text dimensions 512 found, 24 expected"):
        train(tiny_dataset, tiny_constraints, tmp_path / "2", 2, made.checkpoint)


@pytest.mark.parametrize(
    ("variant", "layout", "rows"), [("ntu60", "ntu25", (8.6, 12.1, 13.4)), ("k400", "coco20", (7.7, 10.7, 11.7))]
)
def test_bones_of_the_references_masks(
    golden_dir: Path, variant: str, layout: str, rows: tuple[float, float, float]
) -> None:
    """Critical rows per class for joints, bones and k-bones; NTU's are those counted in its own files (QUIRKS 9)."""
    matrix = load_file(golden_dir / f"a_{variant}_state_dict_fp16.safetensors")["backbone.examplar"].astype(np.float32)
    joints = matrix[:, :, 0]
    assert (matrix == joints[:, :, None]).all()
    found = [load_layout(layout).stream_mask(joints, stream).sum(axis=1).mean() for stream in ("j", "b", "k")]
    assert found == pytest.approx(rows, abs=0.051)
