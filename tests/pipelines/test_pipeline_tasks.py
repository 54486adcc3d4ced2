"""What surrounds a stage inside a pipeline task."""

from __future__ import annotations

import json
import subprocess
import sys
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest
from kfp import dsl
from small_experiment import CONFIG, ROOT, write_pickle

from components.contracts.config import TrainStage, load_experiment, parse_experiment, parse_section
from components.preprocess.component import preprocess
from components.runtime import events
from components.runtime.experiments import presets_digest
from components.runtime.logs import stage_logger
from components.runtime.progress import progress
from components.runtime.source import source_digest
from components.runtime.store import LocalStore
from components.runtime.task import resume_place, task
from pipelines.configure import configure

PARTS = ("preprocess", "agent", "evaluate", "baseline")


@pytest.fixture
def told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """The file into which tasks write their events."""
    path = tmp_path / "events.jsonl"
    monkeypatch.setenv(events.VARIABLE, str(path))
    monkeypatch.setattr("components.runtime.task._follow_starter", lambda: None)  # a thread that lasts as long as we do
    return path


def read(path: Path) -> list[dict[str, object]]:
    return [json.loads(line) for line in path.read_text().splitlines()]


def test_configure_gives_every_stage_its_own_part(tmp_path: Path) -> None:
    parts = {name: tmp_path / name for name in PARTS}
    items = configured(tmp_path, CONFIG, overrides={"train.epochs": 7}, rounds=3)
    experiment = parse_experiment(CONFIG, "config", {"train.epochs": 7, "rounds": 3})
    assert parts["preprocess"].read_text() == experiment.stage_preprocess().to_json()
    assert parts["evaluate"].read_text() == experiment.stage_evaluate().to_json()
    assert parts["baseline"].read_text() == experiment.stage_baseline().to_json()
    assert "epochs" not in "".join(parts[name].read_text() for name in ("preprocess", "agent", "baseline"))
    assert [item["stream"] for item in items] == ["j", "b"]
    assert parse_section(TrainStage, items[0]["train"]) == experiment.stage_train("j")


def test_configure_ends_with_one_line(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as end:
        configured(tmp_path, CONFIG, overrides={"data.layout": "octopus"})
    assert end.value.code == 2
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith("error: config: data.layout: ") and "octopus" in line


def configured(tmp_path: Path, config: str, **more: Any) -> list[dict[str, str]]:
    files = {name: str(tmp_path / name) for name in PARTS}
    given = {"overrides": {}, "rounds": 2, "code": "", "presets": "", **files, **more}
    items: list[dict[str, str]] = configure.python_func(config=config, **given)
    return items


def test_configure_takes_the_name_of_a_preset(tmp_path: Path) -> None:
    items = configured(tmp_path, "nw_ucla_quick", streams="j, bm", presets=presets_digest())
    assert [item["stream"] for item in items] == ["j", "bm"]


@pytest.mark.parametrize(
    ("config", "more", "message"),
    [
        ("nw_uclaa", {}, "error: config: found 'nw_uclaa', expected s3://bucket/my.yaml, YAML text, or one of demo, "),
        ("nw_ucla", {"presets": "0" * 64}, "error: the presets here are not those that the pipeline was compiled with"),
    ],
)
def test_what_configure_cannot_read_is_one_line(
    tmp_path: Path, capsys: pytest.CaptureFixture[str], config: str, more: dict[str, Any], message: str
) -> None:
    with pytest.raises(SystemExit):
        configured(tmp_path, config, **more)
    assert capsys.readouterr().err.startswith(message)


def test_an_experiment_of_thousands_of_classes_fits_what_kubernetes_takes(tmp_path: Path) -> None:
    """150 kB of YAML, as a file; each task is given its part on a command line of at most 128 kB."""
    classes = [f"performs the action number {number} of the list" for number in range(5000)]
    items = configured(tmp_path, CONFIG, overrides={"data.classes": classes})
    for given in (items[0]["train"], items[0]["agent"], (tmp_path / "preprocess").read_text()):
        assert len(json.dumps(json.dumps(json.dumps(given)))) < 100_000
    assert parse_section(TrainStage, items[0]["train"]).data.classes == tuple(classes)


def test_classes_beyond_that_are_refused_with_the_reason(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    classes = [sha256(str(number).encode()).hexdigest() for number in range(5000)]
    with pytest.raises(SystemExit):
        configured(tmp_path, CONFIG, overrides={"data.classes": classes})
    assert "error: config: 5000 classes make a configuration of" in capsys.readouterr().err


def test_preprocess_component_describes_its_dataset(tmp_path: Path) -> None:
    config = tmp_path / "small.yaml"
    config.write_text(CONFIG)
    dataset = dsl.Dataset(name="dataset", uri=str(tmp_path / "dataset"))
    preprocess.python_func(
        data=str(write_pickle(tmp_path / "small.pkl")),
        data_sha256="",
        stage=load_experiment(config).stage_preprocess().to_json(),
        code="",
        dataset=dataset,
    )
    assert dataset.metadata["schema"].startswith("dataset ")
    assert len(dataset.metadata["digest"]) == 64


def test_a_task_tells_its_start_progress_log_and_end(told: Path) -> None:
    with task("train j round 1"):
        stage_logger("train").info("good news")
        with progress("epochs", 2, stage_logger("train")) as report:
            report(2, "loss 1.0")
    happened = read(told)
    assert [event["event"] for event in happened] == ["start", "log", "progress", "progress", "end"]
    assert {event["task"] for event in happened} == {"train j round 1"}
    assert happened[3] | {"done": 2, "total": 2, "note": "loss 1.0"} == happened[3]


def test_a_defect_is_told_and_keeps_its_traceback(told: Path) -> None:
    with pytest.raises(ZeroDivisionError), task("evaluate"):
        _ = 1 / 0
    assert read(told)[-1] == {
        "task": "evaluate",
        "event": "error",
        "text": "ZeroDivisionError: division by zero",
        "input": False,
    }


def test_a_task_ends_when_nobody_reads_its_output(tmp_path: Path) -> None:
    script = "import time; from components.runtime.task import task\n"
    script += "with task('train'): print(1, flush=True); time.sleep(60)"
    environment = {"PATH": "", events.VARIABLE: str(tmp_path / "events.jsonl")}
    process = subprocess.Popen([sys.executable, "-c", script], stdout=subprocess.PIPE, cwd=ROOT, env=environment)
    assert process.stdout is not None
    process.stdout.readline()
    process.stdout.close()
    assert process.wait(timeout=30) == 1


def test_what_survives_a_kill_belongs_to_the_same_inputs_only(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKELETONAGENT_RESUME", raising=False)
    assert resume_place("j-r1", "stage", ["digest"], beside="/artifacts/checkpoint") is None
    for root in ("/runs/resume", "s3://lab/resume"):
        monkeypatch.setenv("SKELETONAGENT_RESUME", root)
        first = resume_place("j-r1", "stage", ["digest"], beside="s3://lab/checkpoint")
        assert first == resume_place("j-r1", "stage", ["digest"]) != resume_place("j-r1", "stage", ["other"])
        assert first is not None and first.startswith(f"{root}/j-r1-")


def test_what_survives_a_kill_lies_beside_the_output_on_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("SKELETONAGENT_RESUME", raising=False)
    monkeypatch.delenv("AWS_ACCESS_KEY_ID", raising=False)
    assert resume_place("j-r1", beside="minio://mlpipeline/run/checkpoint") is None  # no credentials
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "somebody")
    monkeypatch.delenv("AWS_SECRET_ACCESS_KEY", raising=False)
    assert resume_place("j-r1", beside="minio://mlpipeline/run/checkpoint") is None  # it cannot be used
    monkeypatch.setattr("components.runtime.task.store_for", lambda uri: LocalStore())
    assert resume_place("j-r1", beside="minio://mlpipeline/run/checkpoint") == (
        "minio://mlpipeline/run/checkpoint-unfinished"
    )
    assert resume_place("j-r1", beside="gs://mlpipeline/run/checkpoint") is None


def test_a_change_of_one_stage_leaves_the_others_cached(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("contracts", "runtime", "train", "agent"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "core.py").write_text(name)
    monkeypatch.setattr("components.__file__", str(tmp_path / "__init__.py"))
    train, agent = source_digest("train"), source_digest("agent")
    (tmp_path / "train" / "core.py").write_text("changed")
    assert (source_digest("train") != train, source_digest("agent") == agent) == (True, True)
    (tmp_path / "contracts" / "core.py").write_text("changed")
    assert source_digest("agent") != agent


def test_a_task_refuses_code_that_its_pipeline_was_not_compiled_from(capsys: pytest.CaptureFixture[str]) -> None:
    """An image that is older than the pipeline would put old results into the cache under the new code's name."""
    with task("train j round 1", "train", source_digest("train")):
        pass
    with pytest.raises(SystemExit) as end, task("train j round 1", "train", source_digest("agent")):
        pytest.fail("it ran")
    assert end.value.code == 2
    assert "the code here is not the code that the pipeline was compiled from" in capsys.readouterr().err
