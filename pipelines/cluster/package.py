"""The compiled pipeline, as it is uploaded: the same source and settings give the same file, hence the same version."""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from kfp import compiler

from components.contracts.errors import InputError
from components.runtime.cli import parse_settings
from pipelines.cluster.flatten import flatten
from pipelines.dag import make_pipeline
from pipelines.platform import Cluster

NAME = "skeletonagent"
LARGEST_VALUES = 100_000
"""Bytes of a run's parameters, quoted as they are in a task's template. Argo keeps a template above 131,072 bytes in a
ConfigMap, which KFP's role for it may not create; the rest of that is for the component itself."""
_LOADER, _DUMPER = yaml.CSafeLoader, yaml.CSafeDumper
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
    """``file``: two YAML documents, the pipeline and what it asks of Kubernetes; ``version``: of the upload;
    ``description``: for people, with every parameter."""

    file: Path
    version: str
    parameters: dict[str, dict[str, Any]]
    description: str = ""

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
        _check_size(values)


def compile_package(
    output: Path,
    *,
    rounds: int,
    cluster: Cluster,
    defaults: dict[str, Any] | None = None,
) -> Package:
    """Compile the pipeline into ``output``.

    Args:
        output: file to write; its folder is made.
        rounds: rounds of training and asking, unrolled.
        cluster: what its tasks ask of Kubernetes.
        defaults: of its parameters, instead of the pipeline's own.
    """
    return write_package(make_pipeline(rounds, cluster), output, dict(defaults or {}), label=f"{rounds}-rounds")


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
    spec, *platform = yaml.load_all(output.read_bytes(), _LOADER)
    text = yaml.dump_all([flatten(spec), *platform], Dumper=_DUMPER, sort_keys=True, allow_unicode=True)
    output.write_text(text, encoding="utf-8")
    root = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    version = f"{label}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"
    return Package(output, version, root, spec["pipelineInfo"].get("description", ""))


def _check_size(values: dict[str, Any]) -> None:
    """Refuse what no pod could be given: values are quoted as part of the task, of its pod, and of Argo's template."""
    sizes = {name: len(json.dumps(json.dumps(json.dumps(value, ensure_ascii=False)))) for name, value in values.items()}
    if (size := sum(sizes.values())) <= LARGEST_VALUES:
        return
    name = max(sizes, key=sizes.__getitem__)
    way = "put the file into the bucket and name it: config=s3://bucket/my.yaml" if name == "config" else "shorten it"
    raise InputError(
        f"parameter {name}: {size // 1000} kB as Kubernetes is given it, which takes {LARGEST_VALUES // 1000}; {way}"
    )
