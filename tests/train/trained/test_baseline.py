"""The small temporal convolution learns what can be learnt, and the same each time."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from train_helpers import CLASSES, LAYOUT, experiment
from typer.testing import CliRunner

from components.contracts import dataset, scores
from components.contracts.artifact import digest
from components.contracts.errors import InputError
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
    stage, packed = experiment().stage_baseline(), dataset.open(waving)
    before = torch.random.get_rng_state()
    for name in ("one", "two"):
        baseline.write_baseline(stage, waving, waving.parent / name, torch.device("cpu"))
    assert digest(waving.parent / "one") == digest(waving.parent / "two")
    assert torch.equal(torch.random.get_rng_state(), before)
    found = scores.open(waving.parent / "one")
    assert (found.stream, found.round, found.history) == ("temporal convolution", 0, ())
    assert found.sample_ids.tolist() == packed.sample_ids[packed.split("test")].tolist()
    np.testing.assert_allclose(found.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert found.correct.sum() >= 15, "guessing would reach 5 of 30"
    assert found.manifest.made_from == {"dataset": packed.digest}


def test_its_time_is_bounded_whatever_the_data_set(tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "MOST_SAMPLES", 100)
    stage, packed = experiment().stage_baseline(), dataset.open(tiny_dataset)
    assert baseline.temporal_convolution(stage, packed, torch.device("cpu")).epochs == 2


def test_the_command_says_what_it_reaches(tiny_dataset: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(baseline, "MOST_SAMPLES", 100)
    (tmp_path / "my.yaml").write_text(experiment().to_json())
    words = ["baseline", str(tiny_dataset), "--config", str(tmp_path / "my.yaml"), "--output", str(tmp_path / "s")]
    done = CliRunner().invoke(app, words, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    top1 = f"{scores.open(tmp_path / 's').top1:.1%}"
    assert done.stdout.startswith(f"temporal convolution, 2 epochs of 42 samples: top-1 {top1} of ")


def test_an_unwanted_baseline_trains_nothing_and_is_not_taken_for_scores(tmp_path: Path) -> None:
    stage = experiment().stage_baseline().model_copy(update={"wanted": False})
    baseline.write_baseline(stage, tmp_path / "no dataset", tmp_path / "s", torch.device("cpu"))
    with pytest.raises(InputError, match=r"no scores of temporal convolution: evaluate\.baseline is false"):
        scores.open(tmp_path / "s")


def test_its_cache_knows_nothing_of_the_recogniser() -> None:
    """Training for longer must not train the baseline again; other augmentation or data must."""
    tiny = experiment()
    longer = tiny.model_copy(update={"train": tiny.train.model_copy(update={"epochs": 99})})
    assert longer.stage_baseline() == tiny.stage_baseline()
    assert tiny.model_copy(update={"seed": 9}).stage_baseline() != tiny.stage_baseline()
