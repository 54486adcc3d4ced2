"""A round on several nodes: a ``TrainJob`` of Kubeflow Trainer runs ``torchrun -m components.train run`` on each.

The task of the pipeline creates the job, waits for it and fetches what it made. The job is named after what decides
its result, so a task that was evicted finds the job that it had started, and goes on waiting.
"""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from kubernetes import client, config
from kubernetes.client.exceptions import ApiException

from components.contracts.artifact import digest_of
from components.contracts.errors import InputError, SkeletonAgentError
from components.runtime.cli import Exchange
from components.runtime.logs import stage_logger
from components.runtime.store import store_for
from components.train.distributed.torchrun import PROGRAM, arguments, experiment
from components.train.round import Round

GROUP, VERSION, PLURAL = "trainer.kubeflow.org", "v1alpha1", "trainjobs"
RUNTIME = "skeletonagent-torch"
"""The TrainingRuntime of ``k8s/trainer``; it says what a node looks like, whose job and container it calls ``node``."""
OUTPUTS = ("checkpoint", "confusion", "scores")
POLL_S = 10.0

_NAMESPACE_FILE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")
_SCRIPT = 'printf %s "$SKELETONAGENT_EXPERIMENT" > /tmp/experiment.yaml && exec torchrun ' + " ".join(PROGRAM) + ' "$@"'
_log = stage_logger("train")


class TrainJobError(Exception):
    """The job failed; the text is Kubeflow Trainer's."""


@dataclass(frozen=True)
class Nodes:
    """``number`` of nodes with ``gpus`` devices each (0: one process on the CPU); ``cpu`` and ``memory`` of each."""

    number: int
    gpus: int
    accelerator: str
    cpu: str
    memory: str
    image: str

    @classmethod
    def read(cls, number: int, gpus: str, accelerator: str, environment: Mapping[str, str] = os.environ) -> Nodes:
        """Take the numbers of a run, and from the environment what was fixed when the pipeline was compiled."""
        if number < 1 or not gpus.isdigit():
            raise InputError(f"nodes: found {number} with {gpus!r} GPUs, expected at least 1 and a whole number")
        names = [f"SKELETONAGENT_TRAIN_{name}" for name in ("CPU", "MEMORY", "IMAGE")]
        if missing := [name for name in names if not environment.get(name)]:
            raise InputError("not set; the pipeline sets it when it is compiled for TrainJobs", at=missing[0])
        return cls(number, int(gpus), accelerator, *(environment[name] for name in names))


@dataclass(frozen=True)
class Job:
    """A round, its inputs by URI; where the job puts its results; and what else decides them."""

    what: Round[str]
    folder: str
    identity: tuple[Any, ...]

    @property
    def name(self) -> str:
        """The job's name: the same inputs, the same job."""
        return f"skeletonagent-{self.what.stream}-r{self.what.number}-{digest_of(self.identity)[:12]}"

    @property
    def output(self) -> str:
        return f"{self.folder}/{self.name}"


def manifest(job: Job, nodes: Nodes) -> dict[str, Any]:
    """Return the TrainJob of a round."""
    resources: dict[str, Any] = {"cpu": nodes.cpu, "memory": nodes.memory}
    limits = {"memory": nodes.memory, **({nodes.accelerator: str(nodes.gpus)} if nodes.gpus else {})}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": "TrainJob",
        "metadata": {"name": job.name, "labels": {"app.kubernetes.io/part-of": "skeletonagent"}},
        "spec": {
            "runtimeRef": {"apiGroup": GROUP, "kind": "TrainingRuntime", "name": RUNTIME},
            "trainer": {
                "image": nodes.image,
                "numNodes": nodes.number,
                "numProcPerNode": max(nodes.gpus, 1),
                "command": ["/bin/sh", "-c", _SCRIPT, "sh"],
                "args": arguments(
                    job.what,
                    config="/tmp/experiment.yaml",
                    output=job.output,
                    resume=f"{job.folder}/unfinished/{job.name}",
                ),
                "env": [{"name": "SKELETONAGENT_EXPERIMENT", "value": experiment(job.what)}],
                "resourcesPerNode": {"requests": resources, "limits": limits},
            },
        },
    }


def run(job: Job, nodes: Nodes, outputs: Mapping[str, Path], api: client.CustomObjectsApi | None = None) -> None:
    """Create the TrainJob, or find it, wait until it is over, and move its artifacts to ``outputs``.

    Raises:
        InputError: Kubeflow Trainer is not in the cluster, or this account may not use it.
        TrainJobError: the job failed; it is deleted, so that the next try starts another, from the last save.
    """
    jobs = _Jobs(api or _connected(), namespace())
    jobs.create(manifest(job, nodes))
    try:
        _wait(lambda: jobs.conditions(job.name))
    except TrainJobError:
        jobs.delete(job.name)
        raise
    with Exchange() as exchange:
        for name, target in outputs.items():
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copytree(exchange.input(f"{job.output}/{name}"), target, dirs_exist_ok=True)
    jobs.delete(job.name)
    for name in outputs:
        _clear(f"{job.output}/{name}")


def _clear(uri: str) -> None:
    try:
        store_for(uri).remove(uri)
    except SkeletonAgentError as error:  # the round is complete: a leftover costs space, nothing else
        _log.warning("%s; the TrainJob's copy could not be removed", error)


def folder(environment: Mapping[str, str] = os.environ) -> str:
    """Return where the jobs of this cluster put their results."""
    if not (bucket := environment.get("SKELETONAGENT_BUCKET")):
        raise InputError("SKELETONAGENT_BUCKET: not set; the overlay's settings.env names the bucket of the TrainJobs")
    return f"s3://{bucket}/trainjobs"


def namespace() -> str:
    """Return the namespace of this pod."""
    if not _NAMESPACE_FILE.is_file():
        raise InputError("TrainJobs are created from within a cluster; there is no service account here")
    return _NAMESPACE_FILE.read_text().strip()


def _connected() -> client.CustomObjectsApi:
    config.load_incluster_config()
    return client.CustomObjectsApi()


class _Jobs:
    """The TrainJobs of a namespace."""

    def __init__(self, api: client.CustomObjectsApi, namespace: str) -> None:
        self._api = api
        self._where = (GROUP, VERSION, namespace, PLURAL)

    def create(self, body: dict[str, Any]) -> None:
        name = body["metadata"]["name"]
        try:
            self._api.create_namespaced_custom_object(*self._where, body)
            _log.info("TrainJob %s: created", name)
        except ApiException as error:
            if error.status != 409:
                raise InputError(_explained(error)) from None
            _log.info("TrainJob %s: there already; waiting for it", name)

    def conditions(self, name: str) -> dict[str, str]:
        """Return the message of every condition that holds."""
        try:
            found = self._api.get_namespaced_custom_object(*self._where, name)
        except ApiException as error:
            if error.status == 404:
                raise TrainJobError(f"TrainJob {name}: was deleted by somebody else") from None
            raise InputError(_explained(error)) from None
        held = (c for c in found.get("status", {}).get("conditions", []) if c["status"] == "True")
        return {c["type"]: c.get("message") or c.get("reason") or "" for c in held}

    def delete(self, name: str) -> None:
        try:
            self._api.delete_namespaced_custom_object(*self._where, name)
        except ApiException as error:
            if error.status != 404:
                raise InputError(_explained(error)) from None


def _wait(conditions: Callable[[], dict[str, str]]) -> None:
    told = ""
    while True:
        found = conditions()
        if "Complete" in found:
            return
        if "Failed" in found:
            raise TrainJobError(found["Failed"] or "the TrainJob failed without a word")
        if (state := ", ".join(sorted(found)) or "waiting for its nodes") != told:
            _log.info("TrainJob: %s", state)
            told = state
        time.sleep(POLL_S)


def _explained(error: ApiException) -> str:
    if error.status == 404:
        return (
            "the cluster has no TrainJobs; install Kubeflow Trainer, or set trainer: pod in the overlay's compile.yaml"
        )
    if error.status == 403:
        return "this pod's account may not use TrainJobs; overlays/gpu binds the Role skeletonagent-trainer to it"
    return f"TrainJob: HTTP {error.status}: {' '.join(str(error.reason).split())}"
