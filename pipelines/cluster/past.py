"""What a run on a cluster was: its values, its rounds, and the configuration of each of its stages."""

from __future__ import annotations

import inspect
import json
import tempfile
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.contracts.errors import InputError
from pipelines.cluster.api import Server, explained
from pipelines.cluster.replay import Need
from pipelines.configure import configure

_PARTS = ("preprocess", "agent", "evaluate")


@dataclass(frozen=True)
class Past:
    """``values``: of its parameters, defaults included; ``given``: those that it was started with; ``root``: where KFP
    was told to put its artifacts, or empty; ``stages`` and ``trains`` (by stream): configurations (JSON)."""

    run_id: str
    values: dict[str, Any]
    given: dict[str, Any]
    rounds: int
    root: str
    stages: dict[str, str]
    trains: dict[str, str]

    def stage(self, name: str, stream: str) -> str:
        """Return the configuration (JSON) of a stage; that of ``train`` belongs to a stream."""
        return self.trains[stream] if name == "train" else self.stages[name]

    def config(self, need: Need) -> dict[str, Any]:
        """Return the configuration that made such an artifact in this run."""
        stage = {"dataset": "preprocess", "constraints": "agent"}.get(need.kind, "train")
        document: dict[str, Any] = json.loads(self.stage(stage, need.stream))
        return document


def read_past(server: Server, run_id: str) -> Past:
    """Ask KFP for a run of our pipeline; ``InputError`` if it is of another one."""
    run = server.run(run_id)
    spec = run.pipeline_spec or _spec_of_version(server, run)
    spec = spec.get("pipeline_spec", spec)
    try:
        inputs = spec["root"]["dag"]["tasks"]["configure"]["inputs"]["parameters"]
        constants = {
            name: source["runtimeValue"]["constant"] for name, source in inputs.items() if "runtimeValue" in source
        }
        rounds = int(constants["rounds"])
        about = spec["root"]["inputDefinitions"]["parameters"]
    except (KeyError, TypeError):
        raise InputError(f"run {run_id}: is no run of the whole pipeline of this project") from None
    defaults = {name: parameter["defaultValue"] for name, parameter in about.items() if "defaultValue" in parameter}
    started = run.runtime_config
    given: dict[str, Any] = dict((started and started.parameters) or {})
    stages, trains = _configured({**constants, **defaults, **given}, rounds)
    root = (started and started.pipeline_root) or ""
    return Past(run_id, {**defaults, **given}, given, rounds, root, stages, trains)


def _spec_of_version(server: Server, run: Any) -> dict[str, Any]:
    reference = run.pipeline_version_reference
    with explained(server.host, missing=f"run {run.run_id}: its version of the pipeline was deleted"):
        version = server.client.get_pipeline_version(reference.pipeline_id, reference.pipeline_version_id)
    found: dict[str, Any] = version.pipeline_spec or {}
    return found


def _configured(values: dict[str, Any], rounds: int) -> tuple[dict[str, str], dict[str, str]]:
    """Do again what the run's first task did; return the configurations of the stages, and of ``train`` by stream."""
    known = inspect.signature(configure.python_func).parameters.keys()
    settings: dict[str, Any] = {name: value for name, value in values.items() if name in known}
    numbers: dict[str, Any] = {
        name: int(settings[name]) for name in ("llm_max_requests", "llm_max_tokens") if name in settings
    }
    with tempfile.TemporaryDirectory() as folder:
        files = {name: Path(folder, name) for name in _PARTS}
        paths = {name: str(file) for name, file in files.items()}
        settings |= {**numbers, "rounds": rounds, "code": "", **paths}
        items = configure.python_func(**settings)
        stages = {name: file.read_text() for name, file in files.items()}
    return stages, {item["stream"]: item["train"] for item in items}
