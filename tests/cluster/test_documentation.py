"""What the documentation of the cluster names is there: targets, files, variables, panels, alerts, messages."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import pytest
import typer
import yaml
from manifests import of_kind
from test_monitoring import dashboard

from components.runtime.experiments import presets
from pipelines.__main__ import app
from pipelines.cluster import api
from pipelines.cluster.package import compile_package
from pipelines.images import image_references
from pipelines.make import arguments
from pipelines.platform import SECRETS, Cluster


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "k8s" / "README.md").read_text()


def test_make_targets_exist_and_take_these_variables(repository: Path, text: str) -> None:
    makefile = (repository / "Makefile").read_text()
    readme = (repository / "README.md").read_text()
    section = readme[readme.index("## Deploy on a cluster") : readme.index("## The stages")]
    commands: Any = typer.main.get_command(app)
    for target, given in re.findall(r"\bmake ([a-z-]+)((?: +[A-Z_]+=\S*)*)", text + section):
        if target == "bench-":
            continue
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
        variables = re.findall(r"([A-Z_]+)=", given)
        if target in commands.commands:  # refuses what it does not know
            environment = {f"MAKE_{variable}": "1" for variable in variables} | {"MAKE_GIVEN": " ".join(variables)}
            arguments(commands.commands[target], environment)
        else:
            assert all(f"MAKE_{variable}" in makefile for variable in variables), f"make {target}{given}"


def test_experiments_exist(repository: Path, text: str) -> None:
    named = re.findall(r"CONFIG=([a-z0-9_]+)(?![\w.:])", text + (repository / "Makefile").read_text())
    assert named and set(named) <= presets().keys()
    named = re.findall(r"CONFIG=(pipelines/\S+\.yaml)", (repository / "README.md").read_text())
    assert named and all((repository / name).is_file() for name in named)


def test_files_exist(repository: Path, text: str) -> None:
    for name in re.findall(r"^((?:base|monitoring|trainer|overlays)/\S*)", text, re.MULTILINE):
        assert (repository / "k8s" / name).is_dir(), name
    for name in ("kustomization.yaml", "settings.env", "run.yaml", "compile.yaml"):
        assert f"`{name}`" in text and list((repository / "k8s" / "overlays").glob(f"*/{name}")), name
    assert (repository / "k8s" / "trainer" / "runtime.yaml").is_file()


def test_secrets_and_variables_are_those_of_the_code(text: str) -> None:
    for secret, keys in SECRETS.items():
        assert f"`{secret}`" in text and all(f"`{key}`" in text for key in keys)
    for variable in (api.HOST_VARIABLE, api.TOKEN_VARIABLE):
        assert variable in text
    assert str(api.OLDEST) == "2.5", "README.md names the oldest version of Kubeflow Pipelines"


def test_panels_and_alerts_have_these_names(text: str) -> None:
    titles = {panel["title"] for panel in dashboard()["panels"]}
    assert "LLM: requests" in titles and "LLM: requests" in text
    assert {title.lower() for title in titles} >= {"training samples per second"}
    (rules,) = of_kind("gpu", "PrometheusRule")
    alerts = {rule["alert"] for group in rules["spec"]["groups"] for rule in group["rules"]}
    assert set(re.findall(r"`(SkeletonAgent[A-Za-z]+)`", text)) <= alerts


def test_the_version_of_kfp_is_the_one_that_the_package_pins(repository: Path, text: str) -> None:
    pinned = re.findall(r'"kfp==([\d.]+)"', (repository / "pyproject.toml").read_text())
    assert re.findall(r"PIPELINE_VERSION=([\d.]+)", text) == pinned


def test_the_troubleshooting_names_what_the_commands_say(repository: Path, text: str) -> None:
    """Where a row quotes a message, the code has its words."""
    code = " ".join(
        file.read_text() for folder in ("pipelines", "components") for file in (repository / folder).rglob("*.py")
    )
    for words in ("not ready", "waits: ", "its pod is gone, and its log with it", "kB as Kubernetes is given it",
                  "the presets here are not those that the pipeline was compiled with",
                  "the code here is not the code that the pipeline was compiled from"):  # fmt: skip
        assert words in text and words in code, words


def test_the_number_of_pods_is_that_of_the_compiled_pipeline(repository: Path, text: str, tmp_path: Path) -> None:
    compile_package(tmp_path / "p.yaml", rounds=2, cluster=Cluster(image_references([], None)))
    spec = next(yaml.safe_load_all((tmp_path / "p.yaml").read_text()))
    tasks = len(spec["deploymentSpec"]["executors"])
    assert f"{2 * tasks + 3} pods for one stream and two rounds, of which {tasks + 3} remain" in " ".join(text.split())
