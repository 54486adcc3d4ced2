"""The study of the closed loop: what it averages, and that it goes on where it was stopped."""

from __future__ import annotations

import json
from itertools import product
from pathlib import Path
from typing import Any

import closed_loop
import closed_loop_summary
import numpy as np
import pytest
import typer
from agent_helpers import Endpoint, completion, good
from hypothesis import given
from hypothesis import strategies as st
from scipy import stats
from typer.testing import CliRunner

from components.contracts.config import load_experiment
from pipelines.demo import write_demo


def cell(protocol: str, seed: int, arm: str, top1: float) -> dict[str, Any]:
    return {"protocol": protocol, "stream": "j", "seed": seed, "arm": arm, "top1": [0.1, top1], "answers": []}


def test_arms_are_compared_seed_by_seed_where_all_have_finished() -> None:
    results = [
        *(cell("a", 0, arm, top1) for arm, top1 in (("fixed", 0.5), ("moving", 0.6))),
        *(cell("a", 1, arm, top1) for arm, top1 in (("fixed", 0.7), ("moving", 0.9))),
        cell("a", 2, "fixed", 0.9),
    ]
    summary = closed_loop_summary.summarise(results, ("fixed", "moving"))
    assert summary["groups"] == ["a j"] and summary["seeds"] == [0, 1]
    assert summary["top1"]["fixed"] == {"per_seed": [50.0, 70.0], "mean": 60.0, "sd": 14.14}
    # Student's quantile of one degree of freedom is 12.71, the standard error of the mean 5 points.
    effect = {"per_seed": [10.0, 20.0], "mean": 15.0, "sd": 7.07, "half_width": 63.53}
    assert summary["differences"] == {"moving - fixed": effect}


def test_a_seed_counts_when_all_its_folds_are_there() -> None:
    results = [
        cell(fold, seed, arm, 0.5) for seed, fold, arm in (*product((0, 1), "ab", ("none", "data")), (2, "a", "none"))
    ]
    summary = closed_loop_summary.summarise(results, ("none", "data"))
    assert summary["seeds"] == [0, 1] and summary["differences"]["data - none"]["half_width"] == 0


HUNDREDTHS = st.integers(-900, 900).map(lambda number: number / 100)
"""Points, as a study has them."""


@given(st.lists(st.lists(HUNDREDTHS, min_size=3, max_size=9), min_size=1, max_size=3), HUNDREDTHS)
def test_a_pooled_effect_is_the_mean_of_those_of_the_data_sets(parts: list[list[float]], shift: float) -> None:
    together = closed_loop_summary.pooled([study(part) for part in parts])["data - none"]
    assert together["mean"] == pytest.approx(np.mean([np.mean(part) for part in parts]), abs=0.01)
    moved = closed_loop_summary.pooled([study([value + shift for value in part]) for part in parts])["data - none"]
    assert moved["half_width"] == pytest.approx(together["half_width"], abs=0.01)
    if len(parts) == 1:
        expected = stats.ttest_1samp(parts[0], 0).confidence_interval() if np.ptp(parts[0]) else (0, 0)
        assert together["half_width"] == pytest.approx((expected[1] - expected[0]) / 2, abs=0.01)


def study(differences: list[float]) -> dict[str, Any]:
    return {"differences": {"data - none": {"per_seed": differences}}}


def test_finished_cells_are_kept_and_other_settings_refused(
    tmp_path: Path, repository: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    ran: list[str] = []

    def run_cell(study: closed_loop.Study, which: closed_loop.Cell) -> dict[str, Any]:
        if len(ran) == 2:
            raise KeyboardInterrupt
        ran.append(which.name)
        return cell(which.protocol, which.seed, which.arm, 0.5)

    monkeypatch.setattr(closed_loop, "run_cell", run_cell)
    app = typer.Typer()
    app.command()(closed_loop.main)
    config = repository / "pipelines" / "configs" / "demo.yaml"
    arguments = ["--data", "x", "--config", str(config), "--output", str(tmp_path), "--seeds", "0"]
    CliRunner().invoke(app, arguments)
    assert CliRunner().invoke(app, [*arguments, "--report-only"]).exit_code == 0
    assert len(json.loads((tmp_path / "study.json").read_text())["cells"]) == 2
    ran.insert(0, "interrupted")
    assert len(ran) == 3
    assert CliRunner().invoke(app, arguments).exit_code == 0
    assert [name.rpartition("-")[2] for name in ran] == ["interrupted", "none", "fixed", "moving", "data"]
    assert len(json.loads((tmp_path / "study.json").read_text())["cells"]) == 4
    assert CliRunner().invoke(app, [*arguments, "--epochs", "9"]).exit_code == 2


@pytest.mark.slow
def test_an_llm_answers_the_confusions_in_an_arm_of_its_own(
    tmp_path: Path, repository: Path, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Real rounds of a tiny network; the arms differ in nothing before the LLM's answers."""
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    names = load_experiment(repository / "pipelines" / "configs" / "demo.yaml").data.classes
    refused, repaired = completion(None, refusal="No."), [completion("Well."), good(joints=("head", "left_hand"))]
    endpoint.script = {name: list(repaired) for name in names[:5]} | {name: [refused] for name in names[5:]}
    write_demo(tmp_path / "demo.pkl")
    app = typer.Typer()
    app.command()(closed_loop.main)
    small = ("model.width=8", "model.blocks=2", "model.inflate_at=[1]", "train.frames=8", "train.test_clips=1")
    arguments = [
        *("--data", str(tmp_path / "demo.pkl"), "--output", str(tmp_path / "study"), "--seeds", "0", "--rounds", "2"),
        *("--config", str(repository / "pipelines" / "configs" / "demo.yaml"), "--epochs", "2"),
        *(part for setting in small for part in ("--set", setting)),
    ]
    assert CliRunner().invoke(app, [*arguments, "--arms", "llm"]).exit_code == 2
    arguments += ["--arms", "moving,llm", "--llm", endpoint.url]
    done = CliRunner().invoke(app, arguments)
    assert done.exit_code == 0, done.output
    cells = {found["arm"]: found for found in json.loads((tmp_path / "study" / "study.json").read_text())["cells"]}
    assert cells["llm"]["top1"][0] == cells["moving"]["top1"][0]
    (count,) = cells["llm"]["answers"]
    assert count["repaired"] == count["answered"] > 0 and count["kept"] > 0
    assert len(endpoint.requests) == 2 * count["answered"] + 3 * count["kept"]
    assert (
        f"llm: gpt-4o at {endpoint.url} answered {count['answered']} of {count['asked']} classes asked about "
        f"({count['answered']} after a repair turn); {count['kept']} kept what they had; "
        f"{len(endpoint.requests)} requests sent, 0 answered from memory"
    ) in " ".join(done.output.split())
    assert CliRunner().invoke(app, [*arguments, "--llm-model", "another"]).exit_code == 2
