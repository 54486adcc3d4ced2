"""The compiled pipeline as a KFP backend reads it."""

from __future__ import annotations

import os
import re
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp.pipeline_spec import pipeline_spec_pb2
from small_experiment import pipelines

from components.contracts.errors import InputError
from components.runtime.experiments import presets_digest
from pipelines.cluster.overlay import load_overlay
from pipelines.cluster.package import compile_package
from pipelines.dag import make_pipeline
from pipelines.images import image_references
from pipelines.platform import Cluster

Document = dict[str, Any]


def compile_rounds(rounds: int, folder: Path) -> Document:
    file = folder / f"{rounds}.yaml"
    compile_package(file, rounds=rounds, cluster=Cluster(image_references([], None)))
    document: Document
    document, _ = yaml.safe_load_all(file.read_text())
    return document


@pytest.fixture(scope="module", params=[1, 2, 3])
def compiled(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[int, Document]:
    return request.param, compile_rounds(request.param, tmp_path_factory.mktemp("ir"))


def stage_of(component: str) -> str:
    return re.sub(r"-\d+$", "", component.removeprefix("comp-"))


def dags(document: Document) -> Iterator[tuple[str, Document]]:
    yield "root", document["root"]
    for name, component in document["components"].items():
        if "dag" in component:
            yield name, component


def test_parses_as_pipeline_spec(compiled: tuple[int, Document]) -> None:
    _, document = compiled
    spec = json_format.ParseDict(document, pipeline_spec_pb2.PipelineSpec())
    assert spec.pipeline_info.name == "skeletonagent"


def test_every_stage_is_there_as_often_as_the_rounds_ask(compiled: tuple[int, Document]) -> None:
    rounds, document = compiled
    leaves = [stage_of(name) for name, component in document["components"].items() if "executorLabel" in component]
    once = ("configure", "preprocess", "agent-prior", "baseline", "model", "evaluate")
    assert Counter(leaves) == Counter({**dict.fromkeys(once, 1), "agent": rounds - 1, "train": rounds})


def test_artifacts_have_the_names_that_users_know(compiled: tuple[int, Document]) -> None:
    _, document = compiled
    outputs: dict[str, set[str]] = {}
    for name, component in document["components"].items():
        if "executorLabel" in component:
            artifacts = component.get("outputDefinitions", {}).get("artifacts", {})
            outputs.setdefault(stage_of(name), set()).update(artifacts)
    assert outputs["preprocess"] == {"dataset"}
    assert outputs["agent-prior"] == outputs.get("agent", {"constraints"}) == {"constraints"}
    assert outputs["train"] == {"checkpoint", "confusion", "scores", "metrics"}
    assert outputs["baseline"] == {"scores"}
    assert outputs["model"] == {"model"}
    assert outputs["evaluate"] == {"report", "page", "metrics", "confusion_matrix"}


def test_the_result_is_the_report_and_the_model_of_all_last_checkpoints(compiled: tuple[int, Document]) -> None:
    rounds, document = compiled
    assert document["root"]["outputDefinitions"]["artifacts"].keys() == {"report", "model"}
    given = document["root"]["dag"]["tasks"]["model"]["inputs"]["artifacts"]["checkpoints"]["taskOutputArtifact"]
    assert given["producerTask"] == "for-loop-1"
    made = document["components"]["comp-for-loop-1"]["dag"]["outputs"]["artifacts"][given["outputArtifactKey"]]
    (selector,) = made["artifactSelectors"]
    last = "train" if rounds == 1 else f"train-{rounds}"
    assert (selector["producerSubtask"], selector["outputArtifactKey"]) == (last, "checkpoint")


def test_the_baseline_waits_for_no_training_and_the_report_holds_the_streams_against_it(
    compiled: tuple[int, Document],
) -> None:
    tasks = compiled[1]["root"]["dag"]["tasks"]
    assert set(tasks["baseline"]["dependentTasks"]) == {"configure", "preprocess"}
    given = tasks["evaluate"]["inputs"]["artifacts"]["baseline"]["taskOutputArtifact"]
    assert given == {"producerTask": "baseline", "outputArtifactKey": "scores"}


def test_no_reference_dangles(compiled: tuple[int, Document]) -> None:
    """Every input of every task comes from an input of its DAG or an output of a task beside it, both declared."""
    _, document = compiled
    for name, component in dags(document):
        declared = component.get("inputDefinitions", {})
        tasks = component["dag"]["tasks"]
        produced = {task: document["components"][spec["componentRef"]["name"]] for task, spec in tasks.items()}
        for task, spec in tasks.items():
            for kind, source, key in references(spec):
                where = f"{name}: {task}: {kind} {source}.{key}"
                if source is None:
                    assert key in declared.get(f"{kind}s", {}), where
                else:
                    assert key in produced[source]["outputDefinitions"][f"{kind}s"], where
            required = produced[task].get("inputDefinitions", {})
            for kind in ("parameters", "artifacts"):
                for key, definition in required.get(kind, {}).items():
                    given = key in spec.get("inputs", {}).get(kind, {})
                    item = spec.get("parameterIterator", {}).get("itemInput") == key
                    assert given or item or definition.get("isOptional"), f"{name}: {task} lacks {key}"


def references(task: Document) -> Iterator[tuple[str, str | None, str]]:
    """Yield (parameter or artifact, producing task or None for the DAG's own input, name)."""
    for kind, plural in (("parameter", "parameters"), ("artifact", "artifacts")):
        for source in task.get("inputs", {}).get(plural, {}).values():
            title = kind.capitalize()
            if own := source.get(f"componentInput{title}"):
                if not own.endswith("-loop-item") or "parameterIterator" not in task:
                    yield kind, None, own
            elif made := source.get(f"taskOutput{title}"):
                yield kind, made["producerTask"], made[f"output{title}Key"]
            else:
                channels = re.findall(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}", str(source))
                assert channels or "pipelinechannel" not in str(source), f"channel left in a constant: {source}"
                assert set(channels) <= task["inputs"]["parameters"].keys(), f"placeholder of nothing: {source}"


def test_compiling_needs_a_sensible_number_of_rounds() -> None:
    with pytest.raises(InputError, match="rounds: found 0, expected 1 to"):
        make_pipeline(0)


def test_compile_command_writes_the_same_file_as_a_submission_uploads(tmp_path: Path) -> None:
    """In another process: the cache goes by names that KFP gives while it compiles, which must not change."""
    output, uploaded = tmp_path / "new" / "pipeline.yaml", tmp_path / "uploaded.yaml"
    environment = {**os.environ, "OPENAI_API_KEY": "sk-never-to-be-seen", "PYTHONHASHSEED": "1"}
    result = pipelines("compile", "--rounds", "3", "--overlay", "local", "--output", output, env=environment)
    assert result.returncode == 0, result.stderr
    assert result.stdout.splitlines()[-1] == str(output)
    local = load_overlay("local")
    compile_package(uploaded, rounds=3, cluster=local.cluster, defaults=local.defaults)
    assert output.read_bytes() == uploaded.read_bytes()
    assert "sk-never-to-be-seen" not in output.read_text()


def test_nobodys_experiment_is_compiled_in(compiled: tuple[int, Document]) -> None:
    """What a run is about are its parameters; and the presets, which are in the image, do not go into every task."""
    _, document = compiled
    parameters = document["root"]["inputDefinitions"]["parameters"]
    assert parameters.keys() == {
        "data", "config", "data_sha256", "overrides", "agent_url", "streams",
        "gpus", "accelerator", "node_selector", "tolerations",
    }  # fmt: skip
    given = document["root"]["dag"]["tasks"]["configure"]["inputs"]["parameters"]
    assert len(str(given)) < 2000 and given["presets"]["runtimeValue"]["constant"] == presets_digest()


def test_every_parameter_is_described_where_the_user_interface_shows_it(compiled: tuple[int, Document]) -> None:
    _, document = compiled
    text = document["pipelineInfo"]["description"]
    for name, about in document["root"]["inputDefinitions"]["parameters"].items():
        assert f"- {name}: {' '.join(about['description'].split())}" in text


def test_no_level_stands_between_the_loop_and_its_tasks(compiled: tuple[int, Document]) -> None:
    """Each level costs a driver's pod, and ten seconds before anything in it starts."""
    rounds, document = compiled
    inside = {name: component["dag"]["tasks"] for name, component in dags(document)}
    assert inside.keys() == {"root", "comp-for-loop-1"}
    assert len(inside["comp-for-loop-1"]) == 2 * rounds - 1


def test_importers_have_no_display_name(compiled: tuple[int, Document]) -> None:
    """KFP records an importer's execution under it, and what reads its output then looks for the task's name."""
    _, document = compiled
    for _, component in dags(document):
        for name, task in component["dag"]["tasks"].items():
            if "importer" in task["componentRef"]["name"]:
                assert task["taskInfo"]["name"] == name
