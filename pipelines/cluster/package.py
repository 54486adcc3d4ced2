"""The compiled pipeline, as it is uploaded: the same source and settings give the same file, hence the same version."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from components.contracts.config import Experiment
from components.contracts.errors import InputError
from components.runtime.cli import parse_settings
from pipelines.dag import make_pipeline
from pipelines.parameters import one_line
from pipelines.platform import Cluster

NAME = "skeletonagent"
_NOT_NEEDED = {"isOptional", "defaultValue"}
_KINDS = {
    "String": (str, 'text, such as "1" in quotes'),
    "Integer": (int, "a whole number"),
    "Dict": (dict, "a mapping"),
    "List": (list, "a list"),
}
"""KFP's type of a parameter: Python's, and what people call it."""


@dataclass(frozen=True)
class Package:
    """``file``: two YAML documents, the pipeline and what it asks of Kubernetes; ``version``: of the upload."""

    file: Path
    version: str
    parameters: dict[str, dict[str, Any]]

    def read(self, settings: list[str]) -> dict[str, Any]:
        """Return the values of ``NAME=VALUE`` settings: text where the parameter is text, else YAML."""
        values: dict[str, Any] = {}
        for setting in settings:
            name, equals, text = setting.partition("=")
            is_text = equals and self.parameters.get(name, {}).get("parameterType") == "STRING"
            values |= {name: text} if is_text else parse_settings([setting], "--param", "gpus=2")
        return values

    def check(self, values: dict[str, Any]) -> None:
        """Refuse values for parameters that the pipeline has not, and the lack of those that it needs."""
        if unknown := sorted(values.keys() - self.parameters.keys()):
            raise InputError(f"parameter {unknown[0]}: unknown; the pipeline has {', '.join(sorted(self.parameters))}")
        given = values.keys() | {name for name, about in self.parameters.items() if about.keys() & _NOT_NEEDED}
        if lacking := sorted(self.parameters.keys() - given):
            raise InputError(f"parameter {lacking[0]}: missing: {self.parameters[lacking[0]].get('description', '')}")


def compile_package(
    output: Path,
    *,
    rounds: int,
    cluster: Cluster,
    defaults: dict[str, Any] | None = None,
    experiment: Experiment | None = None,
) -> Package:
    """Compile the pipeline into ``output``.

    Args:
        output: file to write; its folder is made.
        rounds: rounds of training and asking, unrolled.
        cluster: what its tasks ask of Kubernetes.
        defaults: of its parameters, instead of the pipeline's own.
        experiment: becomes the default of the parameter ``config``.
    """
    values = dict(defaults or {})
    if experiment is not None:
        values["config"] = one_line(experiment.model_dump(mode="json", exclude_defaults=True))
    return write_package(make_pipeline(rounds, cluster), output, values, label=f"{rounds}-rounds")


def write_package(pipeline: Any, output: Path, defaults: dict[str, Any], label: str) -> Package:
    """Compile any of our pipelines; ``label`` begins the name of its version."""
    output.parent.mkdir(parents=True, exist_ok=True)
    known = pipeline.component_spec.inputs or {}
    for name, value in defaults.items():
        if name not in known:
            raise InputError(f"run.yaml: {name}: no such parameter; the pipeline has {', '.join(sorted(known))}")
        kind, called = _KINDS[known[name].type]
        if not isinstance(value, kind):
            raise InputError(f"run.yaml: {name}: found {value!r}, expected {called}")
    compiler.Compiler().compile(pipeline, str(output), pipeline_parameters=defaults)
    text = output.read_bytes()
    spec = next(yaml.safe_load_all(text))
    parameters = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    return Package(output, f"{label}-{hashlib.sha256(text).hexdigest()[:12]}", parameters)
