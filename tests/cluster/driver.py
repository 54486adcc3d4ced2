"""What KFP's driver and launcher do with a compiled pipeline, without a cluster.

It resolves every input as the backend does (component inputs, outputs of tasks, constants with placeholders, items of
loops), hands each executor the command and the executor input of its pod, and reads back its output file. Artifacts
lie below a folder instead of an object store.
"""

from __future__ import annotations

import json
import os
import re
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

Values = dict[str, Any]
Artifact = dict[str, Any]

PLACEHOLDER = re.compile(r"\{\{\$\.inputs\.parameters\['([^']+)'\]\}\}")
SELECTOR = re.compile(r'parseJson\(string_value\)\["([^"]+)"\]')


def as_go_writes(value: Any) -> Any:
    """Return numbers as the backend's JSON has them: every number is a double there, and a whole one has no point."""
    if isinstance(value, dict):
        return {key: as_go_writes(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [as_go_writes(inner) for inner in value]
    return int(value) if isinstance(value, float) and value.is_integer() else value


@dataclass
class Results:
    """What a task gave: parameters, and lists of artifacts (of one, but for collected ones)."""

    parameters: Values = field(default_factory=dict)
    artifacts: dict[str, list[Artifact]] = field(default_factory=dict)


@dataclass
class Driver:
    """Runs ``spec`` below ``folder``; ``pods`` remembers every executor's task, resources and inputs."""

    spec: Values
    folder: Path
    pods: list[Values] = field(default_factory=list)

    def run(self, **parameters: Any) -> Results:
        return self._dag(self.spec["root"], parameters, {}, "root")

    def _dag(self, component: Values, parameters: Values, artifacts: dict[str, list[Artifact]], where: str) -> Results:
        declared = component.get("inputDefinitions", {}).get("parameters", {})
        defaults = {name: about["defaultValue"] for name, about in declared.items() if "defaultValue" in about}
        scope, done = Results({**defaults, **parameters}, artifacts), dict[str, Results]()
        for name, task in self._in_order(component["dag"]["tasks"]):
            if iterator := task.get("parameterIterator"):
                items = self._parameter(iterator["items"], task, scope, done)
                turns = [
                    self._task(task, scope, done, f"{where}/{name}-{n}", {iterator["itemInput"]: item})
                    for n, item in enumerate(items)
                ]
                keys = turns[0].artifacts
                done[name] = Results(
                    {}, {key: [item for turn in turns for item in turn.artifacts[key]] for key in keys}
                )
            else:
                done[name] = self._task(task, scope, done, f"{where}/{name}", {})
        outputs = component["dag"].get("outputs", {}).get("artifacts", {})
        selected = {name: value["artifactSelectors"][0] for name, value in outputs.items()}
        return Results(
            {}, {n: done[s["producerSubtask"]].artifacts[s["outputArtifactKey"]] for n, s in selected.items()}
        )

    def _in_order(self, tasks: Values) -> Iterator[tuple[str, Values]]:
        waiting, done = dict(tasks), set[str]()
        while waiting:
            ready = [name for name, task in waiting.items() if set(task.get("dependentTasks", [])) <= done]
            assert ready, f"circular: {sorted(waiting)}"
            for name in ready:
                yield name, waiting.pop(name)
                done.add(name)

    def _task(self, task: Values, scope: Results, done: dict[str, Results], where: str, item: Values) -> Results:
        component = self.spec["components"][task["componentRef"]["name"]]
        sources = task.get("inputs", {})
        inner = Results({**scope.parameters, **item}, scope.artifacts)
        parameters = {
            name: self._parameter(source, task, inner, done) for name, source in sources.get("parameters", {}).items()
        }
        artifacts = {name: self._artifact(source, inner, done) for name, source in sources.get("artifacts", {}).items()}
        if "dag" in component:
            return self._dag(component, {**parameters, **item}, artifacts, where)
        declared = component.get("inputDefinitions", {}).get("parameters", {})
        for name, about in declared.items():
            if name not in parameters and "defaultValue" in about:
                parameters[name] = about["defaultValue"]
        return self._execute(component, parameters, artifacts, where)

    def _parameter(self, source: Values, task: Values, scope: Results, done: dict[str, Results]) -> Any:
        if "raw" in source:
            return json.loads(source["raw"])
        if "inputParameter" in source:
            return self._parameter(task["inputs"]["parameters"][source["inputParameter"]], task, scope, done)
        if "taskOutputParameter" in source:
            made = source["taskOutputParameter"]
            value = done[made["producerTask"]].parameters[made["outputParameterKey"]]
        elif "componentInputParameter" in source:
            value = scope.parameters[source["componentInputParameter"]]
        else:
            value = source["runtimeValue"]["constant"]
            if isinstance(value, str) and (named := PLACEHOLDER.fullmatch(value)):
                value = self._parameter(task["inputs"]["parameters"][named[1]], task, scope, done)
        if selector := SELECTOR.fullmatch(source.get("parameterExpressionSelector", "")):
            value = value[selector[1]]
        return value

    def _artifact(self, source: Values, scope: Results, done: dict[str, Results]) -> list[Artifact]:
        if made := source.get("taskOutputArtifact"):
            return done[made["producerTask"]].artifacts[made["outputArtifactKey"]]
        return scope.artifacts[source["componentInputArtifact"]]

    def _execute(
        self, component: Values, parameters: Values, artifacts: dict[str, list[Artifact]], where: str
    ) -> Results:
        label = component["executorLabel"]
        executor = self.spec["deploymentSpec"]["executors"][label]
        if importer := executor.get("importer"):
            source = importer["artifactUri"]
            uri = parameters[source["runtimeParameter"]] if "runtimeParameter" in source else source["constant"]
            return Results({}, {"artifact": [{"name": "artifact", "uri": uri, "type": importer["typeSchema"]}]})
        container = executor["container"]
        folder = self.folder / where
        folder.mkdir(parents=True)
        defined = component.get("outputDefinitions", {})
        outputs = {
            "outputFile": str(folder / "output.json"),
            "parameters": {name: {"outputFile": str(folder / name)} for name in defined.get("parameters", {})},
            "artifacts": {
                name: {"artifacts": [{"name": name, "uri": str(folder / name), "type": about["artifactType"]}]}
                for name, about in defined.get("artifacts", {}).items()
            },
        }
        given = {name: {"artifacts": items} for name, items in artifacts.items()}
        parameters = as_go_writes(parameters)
        message = {"inputs": {"parameterValues": parameters, "artifacts": given}, "outputs": outputs}
        self.pods.append({"task": where, "label": label, "inputs": parameters, "container": container})
        words = [word.replace("{{$}}", json.dumps(message)) for word in [*container["command"], *container["args"]]]
        environment = {
            item["name"]: item["value"] for item in container.get("env", []) if item["name"] != "METRICS_PORT"
        }
        scratch = folder.with_name(f"{folder.name}.tmp")  # KFP's commands leave theirs behind, as a pod would
        scratch.mkdir()
        environment["TMPDIR"] = str(scratch)
        ended = subprocess.run(words, capture_output=True, text=True, env={**os.environ, **environment})
        assert ended.returncode == 0, f"{where}: {ended.stderr[-2000:]}"
        return self._read(outputs, defined)

    def _read(self, outputs: Values, defined: Values) -> Results:
        file = Path(outputs["outputFile"])
        written = json.loads(file.read_text()) if file.is_file() else {}
        parameters = dict(written.get("parameterValues", {}))
        for name, about in defined.get("parameters", {}).items():
            path = Path(outputs["parameters"][name]["outputFile"])
            if name not in parameters:
                text = path.read_text()
                parameters[name] = text if about["parameterType"] == "STRING" else json.loads(text)
        artifacts = {name: value["artifacts"] for name, value in outputs["artifacts"].items()}
        for name, value in written.get("artifacts", {}).items():
            artifacts[name] = [{**artifacts[name][0], "metadata": value["artifacts"][0].get("metadata", {})}]
        return Results(parameters, artifacts)
