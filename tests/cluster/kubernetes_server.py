"""A Kubernetes API on the loopback interface that knows pods, logs, events, nodes and Argo's workflows.

The pods are shaped like those of KFP's runs: labels after ``../shared/kfp/README.md``, the annotation after Argo's
documentation of its events (``workflows.argoproj.io/node-name``), the launcher's command line after
``initPodSpecPatch`` in ``backend/src/v2/driver/driver.go`` of KFP, the rest after the API reference of Kubernetes.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime, timedelta
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import yaml
from http_servers import served_at

Object = dict[str, Any]
NAMESPACE = "kubeflow"


class Kubernetes:
    """What the cluster has: pods, their logs by name, events by the name of what they are of, nodes, workflows."""

    def __init__(self) -> None:
        self.pods: list[Object] = []
        self.logs: dict[str, str] = {}
        self.events: dict[str, list[Object]] = {}
        self.nodes = [{"metadata": {"name": "one"}, "status": {"allocatable": {"cpu": "2", "memory": "8Gi"}}}]
        self.workflows: list[Object] = []
        self.forbidden = False

    def answer(self, path: str, query: dict[str, str]) -> tuple[int, Any]:
        if self.forbidden:
            return 403, {"kind": "Status", "reason": "Forbidden"}
        if path == "/api/v1/nodes":
            return 200, {"items": self.nodes}
        if path == f"/apis/argoproj.io/v1alpha1/namespaces/{NAMESPACE}/workflows":
            return 200, {"items": [item for item in self.workflows if selected(item, query["labelSelector"])]}
        if path == f"/api/v1/namespaces/{NAMESPACE}/pods":
            return 200, {"items": [item for item in self.pods if selected(item, query.get("labelSelector", ""))]}
        if path == f"/api/v1/namespaces/{NAMESPACE}/events":
            return 200, {"items": self.events.get(query["fieldSelector"].partition("=")[2], [])}
        if named := re.fullmatch(rf"/api/v1/namespaces/{NAMESPACE}/pods/([^/]+)/log", path):
            return (200, self.logs[named[1]]) if named[1] in self.logs else (404, {"reason": "NotFound"})
        return 404, {"reason": "NotFound"}


def selected(item: Object, selector: str) -> bool:
    wanted = dict(part.split("=", 1) for part in selector.split(",") if part)
    return bool(wanted.items() <= item["metadata"].get("labels", {}).items())


def pod(
    name: str,
    *,
    run: str = "",
    stage: str = "",
    phase: str = "Running",
    created: datetime | None = None,
    inputs: Object | None = None,
    outputs: dict[str, str] | None = None,
    labels: dict[str, str] | None = None,
    node: str = "",
    main: Object | None = None,
    conditions: list[Object] | None = None,
    requests: dict[str, str] | None = None,
) -> Object:
    """Return a pod; ``main``: status of its container, ``outputs``: URIs by the artifact's name."""
    begun = created or datetime.now(UTC) - timedelta(minutes=2)
    artifacts = {key: {"artifacts": [{"name": key, "uri": uri}]} for key, uri in (outputs or {}).items()}
    message = {"inputs": {"parameterValues": inputs or {}}, "outputs": {"artifacts": artifacts}}
    launcher = ["/var/run/argo/argoexec", "emissary", "--", "/kfp-launcher/launch", "--run_id", run]
    ours = {"pipeline/runid": run, "workflows.argoproj.io/workflow": "skeletonagent-x7"} if run else {}
    stage_label = {"skeletonagent.io/stage": stage} if stage else {}
    return {
        "metadata": {
            "name": name,
            "labels": {**ours, **stage_label, **(labels or {})},
            "annotations": {"workflows.argoproj.io/node-name": node} if node else {},
            "creationTimestamp": begun.strftime("%Y-%m-%dT%H:%M:%SZ"),
        },
        "spec": {
            "containers": [
                {
                    "name": "main",
                    "command": [*launcher, "--executor_input", json.dumps(message), "--"],
                    "resources": {"requests": requests or {}},
                },
                {"name": "wait"},
            ]
        },
        "status": {
            "phase": phase,
            "conditions": conditions or [],
            "containerStatuses": [{"name": "main", **main}] if main else [],
        },
    }


def write_kubeconfig(file: Path, servers: dict[str, str]) -> None:
    clusters = [{"name": name, "cluster": {"server": url}} for name, url in servers.items()]
    contexts = [{"name": name, "context": {"cluster": name, "user": "me"}} for name in servers]
    document = {"clusters": clusters, "contexts": contexts, "users": [{"name": "me", "user": {}}]}
    file.write_text(yaml.safe_dump({**document, "current-context": next(iter(servers))}))


@contextmanager
def serving(cluster: Kubernetes) -> Iterator[str]:
    """Serve a cluster and yield its address."""

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            parts = urlsplit(self.path)
            query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
            status, answer = cluster.answer(parts.path, query)
            content = answer.encode() if isinstance(answer, str) else json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with served_at(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url
