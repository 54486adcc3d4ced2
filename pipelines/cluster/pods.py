"""The pods of a namespace as Kubernetes knows them: their states and what keeps them from better ones, logs, events.

KFP tells neither why a task waits nor why it failed; its pods do. They are found by the labels that KFP and Argo give
them. Everything here is an aid: where the cluster does not answer, or not to this user, there is just less to tell.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from decimal import Decimal
from typing import Any

import urllib3
from kubernetes import client
from kubernetes import config as kube_config
from kubernetes.client.exceptions import ApiException
from kubernetes.utils.quantity import parse_quantity

from pipelines.platform import STAGE_LABEL

RUN_LABEL = "pipeline/runid"
NODE_ANNOTATION = "workflows.argoproj.io/node-name"
MAIN = "main"
"""The container of a task's pod that runs our code; the others are Argo's."""
TIMEOUT_S = 10
HOPELESS = ("InvalidImageName", "ErrImageNeverPull", "ImagePullBackOff", "CreateContainerConfigError")
"""Why a container waits that will not start by itself."""
_STARTING = ("ContainerCreating", "PodInitializing")
_CRASHES = 3


@dataclass(frozen=True)
class Pod:
    """A pod as the API describes it (``v1.Pod`` as JSON)."""

    about: dict[str, Any]

    @property
    def name(self) -> str:
        """The pod's name."""
        return str(self.about["metadata"]["name"])

    @property
    def phase(self) -> str:
        """Pending, Running, Succeeded, Failed or Unknown."""
        return str(self.about.get("status", {}).get("phase", "Unknown"))

    @property
    def stage(self) -> str:
        """The stage of ours that it runs; empty for KFP's own pods."""
        return str(self.about["metadata"].get("labels", {}).get(STAGE_LABEL, ""))

    @property
    def node(self) -> str:
        """The path of its node in Argo's workflow, such as ``skeletonagent-x7.root(0).train-driver(0)``."""
        return str(self.about["metadata"].get("annotations", {}).get(NODE_ANNOTATION, ""))

    @property
    def created(self) -> datetime:
        """When it was created."""
        return _moment(self.about["metadata"]["creationTimestamp"]) or datetime.now(UTC)

    @property
    def ended(self) -> datetime | None:
        """When its last container ended; None while one runs."""
        ends = [_moment(s.get("state", {}).get("terminated", {}).get("finishedAt")) for s in self._statuses()]
        return max((end for end in ends if end), default=None) if self.phase in ("Succeeded", "Failed") else None

    @property
    def inputs(self) -> dict[str, Any]:
        """The parameters of its task, which KFP's launcher is given on its command line."""
        found: dict[str, Any] = self._executor_input().get("inputs", {}).get("parameterValues", {})
        return found

    def output(self, name: str) -> str:
        """Return where the task puts an output artifact; empty if that cannot be told."""
        items = self._executor_input().get("outputs", {}).get("artifacts", {}).get(name, {}).get("artifacts", [])
        return str(items[0].get("uri", "")) if items else ""

    def waits_for(self) -> str:
        """Return why it does not run: a container that cannot start, or no node for it; empty if nothing is wrong."""
        for status in self._statuses():
            waiting = status.get("state", {}).get("waiting") or {}
            if waiting and waiting.get("reason") not in _STARTING:
                return ": ".join(text for text in (waiting.get("reason"), waiting.get("message")) if text)
        for condition in self.about.get("status", {}).get("conditions", []):
            if condition["type"] == "PodScheduled" and condition["status"] == "False":
                return str(condition.get("message") or condition.get("reason") or "no node takes it")
        return ""

    def ended_badly(self) -> str:
        """Return how its container failed, such as "OOMKilled, exit code 137"; empty if it did not."""
        for status in self._statuses():
            for state in (status.get("state", {}), status.get("lastState", {})):
                over = state.get("terminated") or {}
                if over.get("exitCode"):
                    reason = over.get("reason") if over.get("reason") != "Error" else ""
                    return ", ".join(text for text in (reason, f"exit code {over['exitCode']}") if text)
        status = self.about.get("status", {})
        return str(status.get("message") or status.get("reason") or "") if self.phase == "Failed" else ""

    def is_hopeless(self) -> bool:
        """Tell whether more waiting cannot be expected to help."""
        return any(
            (status.get("state", {}).get("waiting") or {}).get("reason") in HOPELESS
            or (status.get("restartCount", 0) >= _CRASHES and not status.get("ready"))
            for status in self._statuses()
        )

    def is_ready(self) -> bool:
        """Tell whether its probes pass."""
        conditions = self.about.get("status", {}).get("conditions", [])
        return any(each["type"] == "Ready" and each["status"] == "True" for each in conditions)

    def asks(self, resource: str) -> Decimal:
        """Return what its containers ask for of a resource, together."""
        containers = self.about.get("spec", {}).get("containers", [])
        found = (each.get("resources", {}).get("requests", {}).get(resource, "0") for each in containers)
        return sum((Decimal(parse_quantity(value)) for value in found), Decimal(0))

    def _statuses(self) -> list[dict[str, Any]]:
        status = self.about.get("status", {})
        return [*status.get("initContainerStatuses", []), *status.get("containerStatuses", [])]

    def _executor_input(self) -> dict[str, Any]:
        for container in self.about.get("spec", {}).get("containers", []):
            words = [*container.get("command", []), *container.get("args", [])]
            if container["name"] == MAIN and "--executor_input" in words[:-1]:
                try:
                    found: dict[str, Any] = json.loads(words[words.index("--executor_input") + 1])
                except ValueError:
                    return {}
                return found
        return {}


class Pods:
    """The pods of one namespace, and what else the cluster tells of them."""

    def __init__(self, api: client.ApiClient, namespace: str) -> None:
        self.namespace = namespace
        self._core = client.CoreV1Api(api)
        self._custom = client.CustomObjectsApi(api)

    @classmethod
    def connect(cls, namespace: str, context: str = "") -> Pods | None:
        """Return those of the kubeconfig's cluster; None where there is none."""
        try:
            api = kube_config.new_client_from_config(context=context or None)
        except (kube_config.ConfigException, OSError, TypeError, KeyError):
            return None
        api.rest_client.pool_manager.connection_pool_kw["retries"] = urllib3.Retry(connect=1, read=0, redirect=1)
        return cls(api, namespace)

    def of_run(self, run_id: str) -> list[Pod] | None:
        """Return the pods of a run, the oldest first; None if the cluster does not tell."""
        return self.selected({RUN_LABEL: run_id})

    def selected(self, labels: dict[str, str]) -> list[Pod] | None:
        """Return the pods with these labels, the oldest first; None if the cluster does not tell."""
        selector = ",".join(f"{name}={value}" for name, value in labels.items())
        found = self._json(self._core.list_namespaced_pod, self.namespace, label_selector=selector)
        return None if found is None else sorted(map(Pod, found["items"]), key=lambda pod: (pod.created, pod.name))

    def log(self, pod: str, lines: int, container: str = "", *, previous: bool = False) -> list[str]:
        """Return the last lines that a pod has written; none if it is gone."""
        more = {**({"container": container} if container else {}), "previous": previous, "tail_lines": lines}
        content = self._ask(self._core.read_namespaced_pod_log, pod, self.namespace, **more)
        return content.decode(errors="replace").splitlines()[-lines:] if content else []

    def last_words(self, pod: str) -> str:
        """Return the last line of a service's pod: of the container that runs, or else of the one that crashed."""
        lines = self.log(pod, 1) or self.log(pod, 1, previous=True)
        return lines[-1].strip() if lines else ""

    def events(self, name: str, reason: str = "") -> list[str]:
        """Return what was said of an object, the oldest first: ``reason: message``, warnings and failures alone."""
        selector = f"involvedObject.name={name}"
        found = self._json(self._core.list_namespaced_event, self.namespace, field_selector=selector) or {"items": []}
        items = sorted(
            found["items"], key=lambda event: str(event.get("lastTimestamp") or event.get("eventTime") or "")
        )
        said = [event for event in items if event.get("type") == "Warning"]
        return [f"{e['reason']}: {_plain(e.get('message', ''))}" for e in said if reason in ("", e["reason"])]

    def workflow(self, run_id: str) -> dict[str, Any]:
        """Return Argo's workflow of a run; empty if it is gone, or this user may not see it."""
        where = ("argoproj.io", "v1alpha1", self.namespace, "workflows")
        found = self._json(self._custom.list_namespaced_custom_object, *where, label_selector=f"{RUN_LABEL}={run_id}")
        items = (found or {}).get("items") or [{}]
        return dict(items[0])

    def why_pending(self, pod: Pod) -> str:
        """Return why a pod waits, with numbers where a resource is too scarce; empty if nothing is wrong."""
        said = pod.waits_for()
        for resource, called in (("cpu", "CPU"), ("memory", "memory")):
            if f"Insufficient {resource}" in said:
                return f"Insufficient {called}: {self._scarce(pod, resource)}"
        return _plain(said.partition(" preemption:")[0])

    def _scarce(self, pod: Pod, resource: str) -> str:
        asked = pod.asks(resource)
        nodes = self._json(self._core.list_node) or {"items": []}
        sizes = [Decimal(parse_quantity(node["status"]["allocatable"][resource])) for node in nodes["items"]]
        if not sizes:
            return f"asks {_amount(asked, resource)}"
        which = "the node has" if len(sizes) == 1 else "the largest node has"
        rest = "" if asked > max(sizes) else ", of which other pods have too much"
        return f"asks {_amount(asked, resource)}, {which} {_amount(max(sizes), resource)}{rest}"

    def _json(self, method: Callable[..., Any], *arguments: Any, **options: Any) -> dict[str, Any] | None:
        content = self._ask(method, *arguments, **options)
        return dict(json.loads(content)) if content else None

    @staticmethod
    def _ask(method: Callable[..., Any], *arguments: Any, **options: Any) -> bytes | None:
        try:
            answer = method(*arguments, **options, _preload_content=False, _request_timeout=TIMEOUT_S)
        except (ApiException, urllib3.exceptions.HTTPError):
            return None
        return bytes(answer.data)


def _moment(text: str | None) -> datetime | None:
    return datetime.fromisoformat(text.replace("Z", "+00:00")) if text else None


def _plain(text: str) -> str:
    return " ".join(text.split())


def _amount(value: Decimal, resource: str) -> str:
    """Return a quantity as people write it: cores, or GiB."""
    return f"{value / 2**30:.2g} GiB" if resource == "memory" else f"{value.normalize():f}"
