"""The pipeline in containers gives what it gives in processes, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from container_runs import Experiment, Runs, artifacts, results

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["demo", "nw_ucla_quick"])
def experiment(request: pytest.FixtureRequest) -> Experiment:
    """The demo and Northwestern-UCLA, both with too few epochs to learn much."""
    if request.param == "demo":
        return Experiment("demo", settings=("train.epochs=2",))
    data = request.getfixturevalue("data_dir") / "nw_ucla.pkl"
    config = ROOT / "pipelines" / "configs" / "nw_ucla_quick.yaml"
    return Experiment(request.param, ("--data", str(data), "--config", str(config)), ("train.epochs=2",))


def test_kfp_with_docker(runs: Runs, experiment: Experiment) -> None:
    expected, found = runs.processes(experiment), runs.containers(experiment)
    assert len([name for name in artifacts(found) if name.endswith("manifest.json")]) == 17
    assert artifacts(found) == artifacts(expected)
    assert results(found, experiment) == results(expected, experiment)


def test_stages_that_share_only_a_bucket(runs: Runs, experiment: Experiment) -> None:
    assert results(runs.bucket(experiment), experiment) == results(runs.processes(experiment), experiment)
