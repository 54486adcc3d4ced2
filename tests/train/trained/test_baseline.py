"""The small temporal convolution learns what can be learnt, and the same each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from train_helpers import CLASSES, LAYOUT, experiment
from typer.testing import CliRunner

from components.contracts import dataset
from components.contracts.skeleton import load_layout
from components.train.__main__ import app
from components.train.trained import baseline


@pytest.fixture
def waving(tmp_path: Path) -> Path:
    """One body, 20 samples of each class: which hand waves, and how fast."""
    generator, layout = np.random.default_rng(5), load_layout(LAYOUT)
    rest = generator.normal(size=(len(layout.joints), 3))
    names: dict[str, list[str]] = {"train": [], "test": []}
    with dataset.Writer(tmp_path / "dataset", experiment().data, made_from={}) as writer:
        for label, (side, speed) in enumerate(name.split() for name in CLASSES):
            for repeat in range(20):
                body = np.tile(rest, (1, 20, 1, 1)) + generator.normal(size=(1, 20, *rest.shape)) * 0.02
                wave = np.sin(np.arange(20) / 20 * 2 * np.pi * (3 if speed == "fast" else 1) + generator.uniform(0, 6))
                for arm in ("left", "right") if side == "both" else (side,):
                    body[:, :, layout.number(f"{arm}_hand")] += wave[None, :, None]
                names["train" if repeat % 4 else "test"].append(f"{label} {repeat}")
                writer.append(f"{label} {repeat}", label, body)
        writer.splits(names)
    return tmp_path / "dataset"


def test_it_learns_and_repeats_itself(waving: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "LEAST_SAMPLES", 0)
    monkeypatch.setattr(baseline, "EPOCHS", 30)
    stage, packed = experiment().stage_train("j"), dataset.open(waving)
    before = torch.random.get_rng_state()
    one, two = (baseline.temporal_convolution(stage, packed, torch.device("cpu")) for _ in range(2))
    assert one == two and torch.equal(torch.random.get_rng_state(), before)
    assert (one.trained, one.tested, one.epochs) == (90, 30, 30)
    assert one.correct >= 15, "guessing would reach 5 of 30"


def test_its_time_is_bounded_whatever_the_data_set(tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "MOST_SAMPLES", 100)
    stage, packed = experiment().stage_train("j"), dataset.open(tiny_dataset)
    assert baseline.temporal_convolution(stage, packed, torch.device("cpu")).epochs == 2


def test_the_command_says_what_it_reaches(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "MOST_SAMPLES", 100)
    (tmp_path / "my.yaml").write_text(experiment().to_json())
    words = ["baseline", str(tiny_dataset), "--config", str(tmp_path / "my.yaml")]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("temporal convolution, 2 epochs of 42 samples: top-1 ")
