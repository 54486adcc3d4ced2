"""Takes a level out of the compiled pipeline: a loop over a sub-pipeline becomes a loop over that one's tasks.

Every level of a pipeline costs a driver's pod and, with Argo's defaults, ten seconds before anything below it starts.
Within a loop KFP's compiler cannot refer to the pipeline's parameters where a task says what it asks of Kubernetes, so
the rounds are a sub-pipeline of their own; in the compiled form the references are plain, and the two levels can be
one. The result is what the compiler makes of tasks that stand in a loop themselves.
"""

from __future__ import annotations

from typing import Any

Spec = dict[str, Any]


def flatten(spec: Spec) -> Spec:
    """Merge, in place, each loop of the root whose only task is a sub-pipeline with that one; return ``spec``."""
    components = spec["components"]
    for task in spec["root"]["dag"]["tasks"].values():
        loop = components.get(task["componentRef"]["name"], {})
        inside = list(loop.get("dag", {}).get("tasks", {}).values())
        if "parameterIterator" in task and len(inside) == 1:
            name = inside[0]["componentRef"]["name"]
            if "dag" in components[name]:
                components[task["componentRef"]["name"]] = _merged(task, loop, inside[0], components.pop(name))
    return spec


def _merged(task: Spec, loop: Spec, inside: Spec, pipeline: Spec) -> Spec:
    """Return the loop's component with the sub-pipeline's tasks; the inputs of ``task`` are renamed to theirs."""
    item = task["parameterIterator"]["itemInput"]
    declared: Spec = {"parameters": {}, "artifacts": {}}
    of_item: dict[str, Spec] = {}
    given = inside.get("inputs", {})
    for kind, key in (("parameters", "componentInputParameter"), ("artifacts", "componentInputArtifact")):
        outer = task["inputs"].get(kind, {})
        for name, source in given.get(kind, {}).items():
            if source[key] == item:
                of_item[name] = source
                continue
            outer[name] = outer.pop(source[key])
            declared[kind][name] = pipeline["inputDefinitions"][kind][name]
    for name, about in loop["inputDefinitions"]["parameters"].items():
        if name == item or name == task["parameterIterator"]["items"].get("inputParameter"):
            declared["parameters"][name] = about
    for within in pipeline["dag"]["tasks"].values():
        for name, source in within.get("inputs", {}).get("parameters", {}).items():
            if named := of_item.get(source.get("componentInputParameter", "")):
                within["inputs"]["parameters"][name] = dict(named)
    return {
        "dag": {"outputs": {"artifacts": _outputs(loop, pipeline)}, "tasks": pipeline["dag"]["tasks"]},
        "inputDefinitions": {kind: about for kind, about in declared.items() if about},
        "outputDefinitions": loop["outputDefinitions"],
    }


def _outputs(loop: Spec, pipeline: Spec) -> Spec:
    """Return where the loop's outputs come from: the tasks that the sub-pipeline took them from."""
    made = pipeline["dag"]["outputs"]["artifacts"]
    return {
        name: made[source["artifactSelectors"][0]["outputArtifactKey"]]
        for name, source in loop["dag"]["outputs"]["artifacts"].items()
    }
