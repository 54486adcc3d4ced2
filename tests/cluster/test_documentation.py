"""What the documentation of the cluster names is there: targets, files, variables, panels, alerts, messages."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
from manifests import of_kind
from test_monitoring import dashboard

from components.runtime.experiments import presets
from pipelines.cluster import api
from pipelines.platform import SECRETS


@pytest.fixture(scope="module")
def text(repository: Path) -> str:
    return (repository / "k8s" / "README.md").read_text()


def test_make_targets_exist_and_take_these_variables(repository: Path, text: str) -> None:
    makefile = (repository / "Makefile").read_text()
    readme = (repository / "README.md").read_text()
    section = readme[readme.index("## Deploy on a cluster") : readme.index("## The stages")]
    for target, variables in re.findall(r"\bmake ([a-z-]+)((?: +[A-Z_]+=\S*)*)", text + section):
        if target == "bench-":
            continue
        assert re.search(rf"^{target}:", makefile, re.MULTILINE), f"make {target}"
        for variable in re.findall(r"([A-Z_]+)=", variables):
            assert f"$({variable})" in makefile or f"$({variable})," in makefile, f"make {target} {variable}="


def test_experiments_exist(repository: Path, text: str) -> None:
    named = re.findall(r"CONFIG=([a-z0-9_]+)(?![\w.])", text + (repository / "Makefile").read_text())
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
