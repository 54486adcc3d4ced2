"""What a run on a cluster was: its values, its rounds, and the configuration of each of its stages."""

from __future__ import annotations

import json
from dataclasses import dataclass
from typing import Any

from components.contracts.errors import InputError
from components.contracts.scores import TEMPORAL_CONVOLUTION
from components.contracts.section import parameter_json
from components.runtime.experiments import Parts, cut, presets_digest, read_experiment_of_run
from pipelines.cluster.api import Server, explained
from pipelines.cluster.replay import Need


@dataclass(frozen=True)
class Past:
    """``values``: of its parameters, defaults included; ``given``: those that it was started with; ``root``: where KFP
    was told to put its artifacts, or empty; ``parts``: what its stages were given."""

    run_id: str
    values: dict[str, Any]
    given: dict[str, Any]
    rounds: int
    root: str
    parts: Parts

    def stage(self, name: str, stream: str) -> str:
        """Return the configuration of a stage, as a task is given it; that of ``train`` belongs to a stream.

        That of ``model`` is the evaluation's, which has the weights.
        """
        if name == "train":
            return self.parts.train[stream]
        return str(getattr(self.parts, "evaluate" if name == "model" else name))

    def config(self, need: Need) -> dict[str, Any]:
        """Return the configuration that made such an artifact in this run."""
        stage = {"dataset": "preprocess", "constraints": "agent"}.get(need.kind, "train")
        stage = "baseline" if need.stream == TEMPORAL_CONVOLUTION else stage
        document: dict[str, Any] = json.loads(parameter_json(self.stage(stage, need.stream)))
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
    parts = _configured({**constants, **defaults, **given}, rounds)
    root = (started and started.pipeline_root) or ""
    return Past(run_id, {**defaults, **given}, given, rounds, root, parts)


def _spec_of_version(server: Server, run: Any) -> dict[str, Any]:
    reference = run.pipeline_version_reference
    with explained(server.host, missing=f"run {run.run_id}: its version of the pipeline was deleted"):
        version = server.client.get_pipeline_version(reference.pipeline_id, reference.pipeline_version_id)
    found: dict[str, Any] = version.pipeline_spec or {}
    return found


def _configured(values: dict[str, Any], rounds: int) -> Parts:
    """Do again what the run's first task did."""
    if values.get("presets") != presets_digest():
        raise InputError("the run is of another version of this project, with other presets; check that version out")
    streams = [name.strip() for name in str(values.get("streams", "")).split(",") if name.strip()]
    settings = {**values.get("overrides", {}), **({"streams": streams} if streams else {}), "rounds": rounds}
    return cut(read_experiment_of_run(str(values["config"]), settings))
