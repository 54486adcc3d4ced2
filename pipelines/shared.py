"""The stages as single components, for other people's pipelines: one YAML file each, and a README from the signatures.

Whoever loads one (``kfp.components.load_component_from_file``) dresses its task himself: resources, Secrets and
environment are no part of a component in KFP. The README says what each needs.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from docstring_parser import parse
from kfp import compiler

from components.agent.component import agent, agent_prior
from components.evaluate.component import evaluate_component
from components.preprocess.component import preprocess
from components.runtime.experiments import presets_digest
from components.runtime.source import source_digest
from components.train.component import baseline, train
from pipelines.configure import configure
from pipelines.platform import (
    CONFIG_KEYS,
    CONFIG_MAP,
    IMAGE_OF,
    LLM_SECRET,
    S3_SECRET,
    SECRETS,
    TOKEN_SECRET,
    USING_STORE,
    Cluster,
)

_INTRODUCTION = """\
# The stages as components

Each file is a component of Kubeflow Pipelines: `kfp.components.load_component_from_file("train.yaml")`. `configure`
cuts an experiment into the `stage` that each of the others takes. `code` has the digest of the source as its default:
an image with other code ends with one line, and the cache knows a change of code; an empty text takes any code.

Resources and environment are set on the task, by whoever uses it; the tables say what our own pipeline sets.
"""


def write_components(folder: Path, rounds: int, cluster: Cluster) -> list[Path]:
    """Write every component and the README; return the files.

    Args:
        folder: made if need be.
        rounds: rounds of training whose results ``evaluate`` takes.
        cluster: images, and the resources that the README names.
    """
    folder.mkdir(parents=True, exist_ok=True)
    every: dict[str, tuple[str, Any]] = {
        "configure": ("configure", configure),
        "preprocess": ("preprocess", preprocess),
        "agent-prior": ("agent", agent_prior),
        "agent": ("agent", agent),
        "train": ("train", train),
        "baseline": ("baseline", baseline),
        "evaluate": ("evaluate", evaluate_component(rounds)),
    }
    files, text = [], [_INTRODUCTION]
    for name, (stage, component) in every.items():
        files.append(_write(folder / f"{name}.yaml", stage, component, cluster))
        text.append(_section(name, stage, component, cluster))
    readme = folder / "README.md"
    readme.write_text("\n".join(text), encoding="utf-8")
    return [*files, readme]


def _defaults(stage: str) -> dict[str, str]:
    code = source_digest("" if stage == "configure" else IMAGE_OF.get(stage, stage))
    return {"code": code, "presets": presets_digest()}


def _write(file: Path, stage: str, component: Any, cluster: Cluster) -> Path:
    compiler.Compiler().compile(component, str(file))
    document = yaml.safe_load(file.read_text(encoding="utf-8"))
    for where in (document["root"], *document["components"].values()):
        parameters = where["inputDefinitions"]["parameters"]
        for name, value in _defaults(stage).items():
            if name in parameters:
                parameters[name] |= {"defaultValue": value, "isOptional": True}
    for executor in document["deploymentSpec"]["executors"].values():
        executor["container"]["image"] = cluster.images[IMAGE_OF.get(stage, stage)]
    file.write_text(yaml.safe_dump(document, sort_keys=True, allow_unicode=True), encoding="utf-8")
    return file


def _section(name: str, stage: str, component: Any, cluster: Cluster) -> str:
    """Return what the README says of a component: what it is, inputs, outputs, environment, resources."""
    about, given = component.component_spec, _defaults(stage)
    docstring = parse(component.python_func.__doc__ or "")
    said = {each.arg_name: each.description for each in docstring.params}  # KFP keeps those of inputs only
    said["Output"] = docstring.returns.description if docstring.returns else ""
    rows = ["| input | type | default | |", "|---|---|---|---|"]
    for key, each in (about.inputs or {}).items():
        default = "of this version" if key in given else "" if not each.optional else repr(each.default)
        rows.append(f"| `{key}` | {_type(each)} | {default} | {_cell(said.get(key))} |")
    rows += ["", "| output | type | |", "|---|---|---|"]
    rows += [f"| `{key}` | {_type(each)} | {_cell(said.get(key))} |" for key, each in (about.outputs or {}).items()]
    asked = cluster.resources_of(stage)
    lines = [f"Image `{cluster.images[IMAGE_OF.get(stage, stage)]}`; CPU {asked.cpu}, memory {asked.memory}."]
    if stage in USING_STORE:
        secrets = [S3_SECRET, *((TOKEN_SECRET, LLM_SECRET) if stage == "agent" else ())]
        keys = ", ".join(f"`{key}`" for secret in secrets for key in SECRETS[secret])
        settings = ", ".join(f"`{key}`" for key in CONFIG_KEYS)
        lines.append(f"Environment: {settings} (ConfigMap `{CONFIG_MAP}`); {keys} (Secrets `{'`, `'.join(secrets)}`).")
    summary = docstring.short_description or ""
    return "\n".join([f"## {name}", "", summary, "", *rows, "", " ".join(lines), ""])


def _type(each: Any) -> str:
    name = str(each.type).partition("@")[0].removeprefix("system.")
    return f"list of {name}" if getattr(each, "is_artifact_list", False) else name


def _cell(text: str | None) -> str:
    return " ".join((text or "").split()).replace("|", "\\|")
