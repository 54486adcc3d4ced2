"""The stages as single components: they load in somebody else's pipeline, and the README says what is in them."""

from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler, components, dsl
from kfp.pipeline_spec import pipeline_spec_pb2

from components.runtime.source import source_digest
from pipelines.cluster.overlay import load_overlay
from pipelines.shared import write_components

NAMES = ("configure", "preprocess", "agent-prior", "agent", "train", "baseline", "evaluate")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("components")
    write_components(folder, 2, load_overlay("gpu").cluster)
    return folder


@dsl.component(base_image="python:3.11-slim")
def count_samples(dataset: dsl.Input[dsl.Dataset]) -> int:
    """Count what somebody else wants to know."""
    return dataset.metadata["samples"]  # type: ignore[no-any-return]


def load(folder: Path, name: str) -> Any:
    return components.load_component_from_file(str(folder / f"{name}.yaml"))


def test_two_of_them_and_a_foreign_step_make_a_pipeline(folder: Path, tmp_path: Path) -> None:
    configure, preprocess = load(folder, "configure"), load(folder, "preprocess")

    @dsl.pipeline(name="somebody-elses")
    def foreign(data: str) -> int:
        parts = configure(config="nw_ucla", overrides={}, rounds=1)
        packed = preprocess(data=data, data_sha256="", stage=parts.outputs["preprocess"])
        return count_samples(dataset=packed.outputs["dataset"]).output  # type: ignore[no-any-return]

    compiler.Compiler().compile(foreign, str(tmp_path / "foreign.yaml"))
    document = yaml.safe_load((tmp_path / "foreign.yaml").read_text())
    json_format.ParseDict(document, pipeline_spec_pb2.PipelineSpec())
    tasks = document["root"]["dag"]["tasks"]
    assert tasks["preprocess"]["dependentTasks"] == ["configure"]
    assert tasks["count-samples"]["dependentTasks"] == ["preprocess"]


@pytest.mark.parametrize("name", NAMES)
def test_each_loads_with_its_image_and_the_code_it_was_made_of(folder: Path, name: str) -> None:
    loaded = load(folder, name)
    stage = {"configure": "", "agent-prior": "agent", "baseline": "train"}.get(name, name)
    assert loaded.component_spec.inputs["code"].default == source_digest(stage)
    (executor,) = yaml.safe_load((folder / f"{name}.yaml").read_text())["deploymentSpec"]["executors"].values()
    assert executor["container"]["image"] == load_overlay("gpu").cluster.images[stage or "preprocess"]


@pytest.mark.parametrize("name", NAMES)
def test_the_readme_names_every_input_and_output(folder: Path, name: str) -> None:
    text = (folder / "README.md").read_text()
    section = text[text.index(f"## {name}\n") :].partition("\n## ")[0]
    spec = load(folder, name).component_spec
    rows = {line.split("|")[1].strip(): line for line in section.splitlines() if line.startswith("| `")}
    assert rows.keys() == {f"`{key}`" for key in (*spec.inputs, *(spec.outputs or {}))}
    undescribed = [key for key, row in rows.items() if not row.split("|")[-2].strip()]
    assert not undescribed, "an input or output without a description"
    assert "CPU" in section and "memory" in section
    assert ("`AWS_SECRET_ACCESS_KEY`" in section) == (name not in ("baseline", "evaluate"))
