"""replay: which artifacts it finds, what it submits, and what it says when it cannot."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import kubernetes_server
import pytest
import yaml
from kfp_server import Backend, Command

from components.contracts.artifact import Schema, seal
from components.contracts.config import parse_experiment
from components.contracts.errors import InputError, UnavailableError
from components.contracts.scores import TEMPORAL_CONVOLUTION
from components.runtime.experiments import presets
from pipelines.cluster.artifacts import found_below

SUBMIT = ("submit", "--data", "s3://lab/my.pkl", "--config", "nw_ucla_quick", "--streams", "j,b", "--no-follow")
EXPERIMENT = parse_experiment(presets()["nw_ucla_quick"].read_text(), "quick", {"streams": ["j", "b"]})


def put(root: Path, run: str, task: str, kind: str, about: dict[str, Any], note: str = "") -> Path:
    """Leave an artifact where KFP would, with the configuration that this experiment gives it."""
    section = {
        "dataset": EXPERIMENT.stage_preprocess(),
        "constraints": EXPERIMENT.stage_agent(),
    }.get(kind) or (EXPERIMENT.stage_train(about["stream"]) if about["round"] else EXPERIMENT.stage_baseline())
    folder = root / "skeletonagent" / run / task / "0b6f" / kind
    folder.mkdir(parents=True)
    (folder / "content").write_text(f"{task} {note}")
    config = section.model_dump(mode="json")
    seal(folder, Schema(kind, 1, 0), made_from={}, config=config, about=about)
    return folder


def everything(root: Path, run: str, note: str = "") -> None:
    put(root, run, "preprocess", "dataset", {"samples": 1}, note)
    put(root, run, "agent-prior", "constraints", {"round": 0, "stream": ""}, note)
    put(root, run, "baseline", "scores", {"round": 0, "stream": TEMPORAL_CONVOLUTION}, note)
    for stream in ("j", "b"):
        put(root, run, f"agent-{stream}", "constraints", {"round": 1, "stream": stream}, note)
        for number in (1, 2):
            for kind in ("checkpoint", "confusion", "scores"):
                put(root, run, f"train-{number}-{stream}", kind, {"round": number, "stream": stream}, note)


@pytest.fixture
def run_id(command: Command) -> str:
    return str(command(*SUBMIT).output.split()[-1])


def submitted(backend: Backend) -> tuple[dict[str, Any], Any]:
    """Return the pipeline of the newest run, and the run."""
    run = list(backend.runs.values())[-1]
    version = backend.versions[run["pipeline_version_reference"]["pipeline_version_id"]]
    spec = version.pipeline_spec
    return spec.get("pipeline_spec", spec), run


def test_a_round_is_repeated_around_the_artifacts_of_its_run(
    command: Command, backend: Backend, run_id: str, tmp_path: Path
) -> None:
    everything(tmp_path / "root", run_id)
    everything(tmp_path / "root", "another-run", "other bytes")
    arguments = ("replay", "train", "--run", run_id, "--stream", "b", "--round", "2", "--root", str(tmp_path / "root"))
    result = command(*arguments, "--param", "gpus=4", "--overlay", "gpu", "--no-follow")
    assert result.exit_code == 0, result.exception
    spec, run = submitted(backend)
    importers = [
        e["importer"]["artifactUri"]["constant"]
        for e in spec["deploymentSpec"]["executors"].values()
        if "importer" in e
    ]
    folder = tmp_path / "root" / "skeletonagent" / run_id
    assert sorted(importers) == sorted(
        str(folder / path)
        for path in ("preprocess/0b6f/dataset", "agent-b/0b6f/constraints", "train-1-b/0b6f/checkpoint")
    )
    values = run["runtime_config"]["parameters"]
    assert values["gpus"] == "4" and values["node_selector"] == {"nvidia.com/gpu.present": "true"}
    assert json.loads(values["stage"]) == EXPERIMENT.stage_train("b").model_dump(mode="json")
    (task,) = (t for t in spec["root"]["dag"]["tasks"].values() if t["componentRef"]["name"] == "comp-train")
    assert not task.get("cachingOptions", {}).get("enableCache"), "a repeated task must not come from the cache"


def test_what_the_run_was_given_counts_more_than_the_overlay(command: Command, backend: Backend) -> None:
    run_id = command(*SUBMIT, "--param", "data_sha256=ab", "--overlay", "gpu", "--param", "gpus=4").output.split()[-1]
    inputs = ("--input", "dataset=s3://a/dataset", "--input", "constraints=s3://a/constraints")
    assert command("replay", "train", "--run", run_id, *inputs, "--overlay", "gpu", "--no-follow").exit_code == 0
    assert submitted(backend)[1]["runtime_config"]["parameters"]["gpus"] == "4"
    assert command("replay", "preprocess", "--run", run_id, "--no-follow").exit_code == 0
    values = submitted(backend)[1]["runtime_config"]["parameters"]
    assert (values["data"], values["data_sha256"]) == ("s3://lab/my.pkl", "ab") and "gpus" not in values


@pytest.mark.parametrize("stage", ["preprocess", "agent", "train", "baseline", "model", "evaluate"])
def test_every_stage_can_be_repeated(
    command: Command, backend: Backend, run_id: str, tmp_path: Path, stage: str
) -> None:
    everything(tmp_path / "root", run_id)
    result = command("replay", stage, "--run", run_id, "--root", str(tmp_path / "root"), "--no-follow")
    assert result.exit_code == 0, result.exception
    spec, _ = submitted(backend)
    assert spec["pipelineInfo"]["name"] == f"skeletonagent-replay-{stage}"


def test_dry_run_names_the_artifacts_and_submits_nothing(
    command: Command, backend: Backend, run_id: str, tmp_path: Path
) -> None:
    everything(tmp_path / "root", run_id)
    result = command("replay", "agent", "--root", str(tmp_path / "root"), "--dry-run")
    assert result.exit_code == 0, result.exception
    assert f"agent j round 1 of run {run_id}" in result.output
    assert "train-1-j/0b6f/confusion" in result.output and "agent-prior/0b6f/constraints" in result.output
    assert len(backend.runs) == 1 and (tmp_path / "build" / "replay-agent-j-round-1.yaml").is_file()


def test_the_networks_inside_a_model_are_not_taken_for_checkpoints_of_their_own(
    command: Command, run_id: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    everything(root, run_id)
    folder = put(root, run_id, "model", "model", {"round": 2, "stream": "j"})
    part = folder / "j"
    part.mkdir()
    seal(part, Schema("checkpoint", 1, 0), made_from={}, config={}, about={"round": 2, "stream": "j"})
    result = command("replay", "model", "--run", run_id, "--root", str(root), "--dry-run")
    assert result.exit_code == 0, result.exception
    assert "train-2-j/0b6f/checkpoint" in result.output and "train-2-b/0b6f/checkpoint" in result.output


def test_what_came_from_the_cache_is_found_in_another_run(command: Command, run_id: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    everything(root, run_id)
    shutil.move(root / "skeletonagent" / run_id / "preprocess", root / "skeletonagent" / "older" / "preprocess")
    result = command("replay", "train", "--run", run_id, "--root", str(root), "--dry-run")
    assert result.exit_code == 0, result.exception
    assert "older/preprocess/0b6f/dataset" in result.output


def test_a_baseline_from_the_cache_is_known_by_its_own_configuration(
    command: Command, run_id: str, tmp_path: Path
) -> None:
    root = tmp_path / "root"
    everything(root, run_id)
    shutil.move(root / "skeletonagent" / run_id / "baseline", root / "skeletonagent" / "older" / "baseline")
    result = command("replay", "evaluate", "--run", run_id, "--root", str(root), "--dry-run")
    assert result.exit_code == 0, result.exception
    assert "older/baseline/0b6f/scores" in result.output


def test_artifacts_that_differ_are_not_guessed_between(command: Command, run_id: str, tmp_path: Path) -> None:
    root = tmp_path / "root"
    everything(root, "one", "these bytes")
    everything(root, "two", "other bytes")
    arguments = ("replay", "evaluate", "--run", run_id, "--root", str(root), "--dry-run")
    error = command(*arguments).exception
    assert isinstance(error, InputError) and "dataset: several that differ" in str(error)
    assert "--input dataset=URI" in str(error)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("train", "--round", "3"), "round: found 3, expected 1 to 2 for train of this run"),
        (("train", "--stream", "km"), "stream: found 'km', expected one of j, b"),
        (("publish",), "stage: found 'publish', expected one of"),
        (("train",), "dataset: not found below"),
        (("train", "--input", "scores=s3://x"), "--input scores: train j round 1 takes dataset, constraints"),
        (("train", "--run", "nowhere"), "run nowhere: KFP knows no such run"),
        (("preprocess", "--param", "gpus=2"), "parameter gpus: unknown; the pipeline has data, data_sha256, stage"),
        (("train", "--input", "dataset"), "--input: found 'dataset', expected KEY=VALUE such as dataset=s3://…"),
    ],
)
def test_mistakes_are_one_line(
    command: Command, run_id: str, tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    result = command("replay", *arguments, "--root", str(tmp_path / "root"), "--dry-run")
    assert isinstance(result.exception, InputError), result.output
    assert message in str(result.exception) and "\n" not in str(result.exception)


def test_artifacts_can_be_named(command: Command, run_id: str) -> None:
    inputs = ("--input", "dataset=s3://a/dataset", "--input", "constraints=s3://a/constraints")
    result = command("replay", "train", "--run", run_id, *inputs, "--dry-run")
    assert result.exit_code == 0 and "s3://a/constraints" in result.output


def test_a_run_of_another_pipeline_is_not_repeated(command: Command, backend: Backend, run_id: str) -> None:
    (version,) = backend.versions.values()
    version.pipeline_spec = yaml.safe_load("root: {dag: {tasks: {hello: {}}}}")
    assert "is no run of the whole pipeline" in str(command("replay", "train", "--run", run_id).exception)


def test_a_store_that_is_busy_is_one_line(
    command: Command, run_id: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr("pipelines.cluster.artifacts.CHECK_PATIENCE_S", 0.0)
    monkeypatch.setattr("components.runtime.store.connection._ATTEMPTS", 1)
    with kubernetes_server.serving(Busy()) as address:
        for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
            monkeypatch.setenv(name, "someone")
        monkeypatch.setenv("S3_ENDPOINT", address)
        error = command("replay", "train", "--run", run_id, "--dry-run").exception
    assert isinstance(error, UnavailableError), error
    assert str(error).startswith("minio://mlpipeline/v2/artifacts/skeletonagent/") and "HTTP 503" in str(error)


class Busy(kubernetes_server.Kubernetes):
    """An object store that answers 503 to everything."""

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        return 503, "try again"


def test_a_folder_that_is_listed_without_content_is_no_artifact(tmp_path: Path) -> None:
    """SeaweedFS goes on listing the prefixes of objects that were removed, and a prefix within itself."""
    (tmp_path / "root" / "skeletonagent" / "run" / "train" / "checkpoint").mkdir(parents=True)
    assert list(found_below(str(tmp_path / "root"))) == []
