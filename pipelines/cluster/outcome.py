"""What came of a run that is over: why it failed, from its pods' logs and events; or its accuracy and report."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

from components.contracts.errors import SkeletonAgentError
from components.runtime.store import store_for
from pipelines.cluster.artifacts import DEFAULT_ROOT, found_below
from pipelines.cluster.package import NAME
from pipelines.cluster.pods import MAIN, Pod, Pods
from pipelines.cluster.tasks import FAILED, Task

LOG_LINES = 15
REPORTS = Path("build") / "runs"


def failure_lines(run: Any, tasks: list[Task], pods: Pods | None, every: list[Pod]) -> list[str]:
    """Return what is known of why a run failed: for each failed task the end of its log, and how to get the rest.

    Args:
        run: KFP's ``V2beta1Run``.
        tasks: of the run.
        pods: the cluster to ask; None: there is none.
        every: the run's pods that were seen, KFP's own included.
    """
    lines: list[str] = []
    for task in tasks:
        if task.state == FAILED:
            pod = task.pods[-1] if task.pods else _driver_of(task, every)
            lines += _of_task(task, pod, pods)
    if not lines and pods:
        lines += _of_workflow(str(run.run_id), pods)
    if not lines:
        lines.append(
            (run.error and run.error.message) or f"run {run.run_id}: KFP gives no reason, and its pods are gone"
        )
    return lines


def _of_task(task: Task, pod: Pod | None, pods: Pods | None) -> list[str]:
    what = "KFP's driver for it failed" if task.of_driver else "failed"
    if pod is None or pods is None:
        why = (
            "its pod is gone, and its log with it" if pods else "its log is in its pod, and there is no kubeconfig here"
        )
        return [f"{task.label}: {what}; {why}"]
    how = pod.ended_badly()
    lines = [f"{task.label}: {what}{f' ({how})' if how else ''}; the end of its log:"]
    log = pods.log(pod.name, LOG_LINES, MAIN)
    lines += [f"    {line}" for line in log] or ["    (nothing: the pod is gone, or has written nothing)"]
    return [*lines, f"  all of it: kubectl -n {pods.namespace} logs {pod.name} -c {MAIN}"]


def _driver_of(task: Task, every: list[Pod]) -> Pod | None:
    """Return the pod of KFP's driver for a task: the newest that failed, with the task's name in its node's."""
    number = f"-{task.round}" if task.round > 1 else ""
    ending = f".{task.name}{number}-driver(0)"
    named = [
        pod for pod in every if pod.phase == "Failed" and (pod.node.endswith(ending) or pod.node.endswith(ending[:-3]))
    ]
    return named[-1] if named else None


def _of_workflow(run_id: str, pods: Pods) -> list[str]:
    """Return what Argo says of a workflow that failed without a failed task, such as before its first pod."""
    workflow = pods.workflow(run_id)
    name = workflow.get("metadata", {}).get("name", "")
    said = [" ".join(str(workflow.get("status", {}).get("message", "")).split())]
    said += pods.events(name) if name else []
    return [f"Argo: {line}" for line in dict.fromkeys(said) if line]


def result_lines(run: Any, tasks: list[Task], link: str) -> list[str]:
    """Return accuracy and report of a run that succeeded; a run of one other stage has neither."""
    evaluated = [task for task in tasks if task.name.startswith("evaluate")]
    if not evaluated:
        return []
    uri = next((pod.output("report") for task in evaluated for pod in task.pods[::-1] if pod.output("report")), "")
    try:
        uri = uri or _found(run)
        if not uri:
            return [f"the report came from the cache; it is in the user interface: {link}"]
        page, headline = _fetched(uri, str(run.run_id))
    except SkeletonAgentError as error:
        where = uri or "in KFP's object store"
        return [f"report: {where}, and in the user interface: {link}", f"  not fetched here: {error}"]
    streams = ", ".join(headline["streams"])
    return [f"ensemble of {streams}: top-1 {headline['top1']:.1%}", f"report: {page} (from {uri})"]


def _found(run: Any) -> str:
    """Return where a run's report is, by its place in KFP's object store; empty: not there."""
    root = (run.runtime_config and run.runtime_config.pipeline_root) or DEFAULT_ROOT
    folder = f"{root.partition('?')[0].rstrip('/')}/{NAME}/{run.run_id}"
    return next((found.uri for found in found_below(folder) if found.manifest.artifact == "report"), "")


def _fetched(uri: str, run_id: str) -> tuple[Path, dict[str, Any]]:
    """Fetch a report; return its page, and the headline of its metrics."""
    scratch = REPORTS / f".{run_id}"
    try:
        local = store_for(uri).fetch(uri, scratch)
        headline: dict[str, Any] = json.loads((local / "metrics.json").read_text(encoding="utf-8"))["headline"]
        target = REPORTS / run_id
        shutil.rmtree(target, ignore_errors=True)
        shutil.copytree(local, target)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)
    return target / "report.html", headline
