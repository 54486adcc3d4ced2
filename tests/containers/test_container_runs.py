"""The pipeline in containers gives what it gives in processes, byte for byte."""

from __future__ import annotations

from pathlib import Path

import pytest
from container_runs import Experiment, Runs, artifacts, results

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(params=["demo", "nw_ucla_quick"])
def experiment(request: pytest.FixtureRequest) -> Experiment:
    """The demo and one stream of Northwestern-UCLA, both too short and small to learn much."""
    if request.param == "demo":
        return Experiment("demo", settings=("train.epochs=2",))
    data = request.getfixturevalue("data_dir") / "nw_ucla.pkl"
    config = ROOT / "pipelines" / "configs" / "nw_ucla_quick.yaml"
    settings = ("streams=[j]", "model.width=16", "train.epochs=2", "train.test_clips=1")
    return Experiment(request.param, ("--data", str(data), "--config", str(config)), settings)


def test_kfp_with_docker(runs: Runs, experiment: Experiment) -> None:
    expected, found = runs.processes(experiment), runs.containers(experiment)
    made = len([name for name in artifacts(found) if name.endswith("manifest.json")])
    assert made == {"demo": 21, "nw_ucla_quick": 13}[experiment.name]
    assert artifacts(found) == artifacts(expected)
    assert results(found, experiment) == results(expected, experiment)


def test_stages_that_share_only_a_bucket(runs: Runs, experiment: Experiment) -> None:
    assert results(runs.bucket(experiment), experiment) == results(runs.processes(experiment), experiment)
