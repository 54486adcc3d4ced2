"""The compiled pipeline's own commands, run with the inputs that KFP's driver would pass, and single tasks again."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Any

import pytest
import yaml
from driver import Driver
from small_experiment import CONFIG, write_pickle

from components.contracts import report
from components.runtime.task import image
from pipelines.cluster.artifacts import locate
from pipelines.cluster.package import write_package
from pipelines.cluster.replay import Target, make_replay
from pipelines.dag import make_pipeline
from pipelines.images import STAGES, image_references
from pipelines.platform import Cluster

CLUSTER = Cluster(image_references([], None))
pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("executors")]


def compiled(pipeline: Any, folder: Path) -> dict[str, Any]:
    file = folder / "pipeline.yaml"
    write_package(pipeline, file, {}, label="test")
    interpreter = sys.executable
    text = file.read_text().replace("python3 -m", f"{interpreter} -m").replace("- python3\n", f"- {interpreter}\n")
    document: dict[str, Any] = next(yaml.safe_load_all(text))
    return document


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Driver, Path]:
    """The whole pipeline, two rounds of one stream, each task in a process of its own."""
    folder = tmp_path_factory.mktemp("cluster")
    data = write_pickle(folder / "small.pkl")
    driver = Driver(compiled(make_pipeline(2, CLUSTER), folder), folder / "root" / "skeletonagent" / "run-1")
    driver.run(data=str(data), config=CONFIG, streams="j", gpus="0", overrides={"train.epochs": 2})
    return driver, folder


def test_every_task_runs_with_the_input_of_its_pod(whole: tuple[Driver, Path]) -> None:
    driver, _ = whole
    stages = [re.sub(r"-\d+$", "", pod["label"].removeprefix("exec-")) for pod in driver.pods]
    assert sorted(stages) == sorted(
        ["configure", "agent-prior", "preprocess", "baseline", "train", "agent", "train", "evaluate", "model"]
    )
    assert {pod["container"]["image"] for pod in driver.pods} == {image(stage) for stage in STAGES}


def test_the_gpu_count_arrives_where_the_driver_looks_for_it(whole: tuple[Driver, Path]) -> None:
    """It reads the text of the input that the placeholder names; a number there would be taken for nothing."""
    driver, _ = whole
    for pod in (pod for pod in driver.pods if "train" in pod["label"]):
        placeholder = pod["container"]["resources"]["accelerator"]["resourceCount"]
        (name,) = re.findall(r"parameters\['([^']+)'\]", placeholder)
        assert pod["inputs"][name] == "0"


def test_the_user_interface_gets_what_it_shows(whole: tuple[Driver, Path]) -> None:
    driver, folder = whole
    outputs = folder / "root" / "skeletonagent" / "run-1" / "root" / "evaluate"
    assert "<html" in (outputs / "page").read_text()[:500]
    written = yaml.safe_load((outputs / "output.json").read_text())["artifacts"]
    matrix = written["confusion_matrix"]["artifacts"][0]["metadata"]["confusionMatrix"]
    assert len(matrix["struct"]["annotationSpecs"] if "struct" in matrix else matrix["annotationSpecs"]) == 3
    assert "ensemble_top1" in written["metrics"]["artifacts"][0]["metadata"]
    types = driver.spec["components"]["comp-evaluate"]["outputDefinitions"]["artifacts"]
    assert types["page"]["artifactType"]["schemaTitle"] == "system.HTML"
    assert types["confusion_matrix"]["artifactType"]["schemaTitle"] == "system.ClassificationMetrics"


@pytest.mark.parametrize(
    ("target", "output"),
    [
        (Target("train", "j", 2, 2, ("j",)), "scores"),
        (Target("agent", "j", 1, 2, ("j",)), "constraints"),
        (Target("baseline", "", 0, 2, ("j",)), "scores"),
        (Target("model", "", 0, 2, ("j",)), "model"),
        (Target("evaluate", "", 0, 2, ("j",)), "report"),
    ],
    ids=lambda value: getattr(value, "stage", value),
)
def test_a_replayed_task_gives_the_same_bytes(
    whole: tuple[Driver, Path], tmp_path: Path, target: Target, output: str
) -> None:
    driver, folder = whole
    stage = next(pod for pod in driver.pods[::-1] if pod["label"].startswith(f"exec-{target.stage}"))["inputs"]["stage"]
    uris = locate(target.needs(), str(folder / "root"), "run-1", lambda need: {})
    again = Driver(compiled(make_replay(target, uris, CLUSTER), tmp_path), tmp_path / "again")
    again.run(stage=stage)
    (made,) = (tmp_path / "again").glob(f"**/{output}/manifest.json")
    before = {file.read_bytes() for file in folder.glob(f"**/{target.stage}*/{output}/manifest.json")}
    assert made.read_bytes() in before


def test_a_report_was_made(whole: tuple[Driver, Path]) -> None:
    _, folder = whole
    (path,) = folder.glob("**/evaluate/report")
    assert report.open(path).metrics.headline.streams == ["j"]
