"""Bring the project to a cluster and take it away again."""

from __future__ import annotations

import os
import secrets
import time
from typing import Any

from rich.console import Console

from components.contracts.errors import InputError, UnavailableError
from pipelines.cluster.api import Server
from pipelines.cluster.kubectl import Kubectl
from pipelines.cluster.overlay import Overlay
from pipelines.cluster.package import Package
from pipelines.cluster.pods import Pod, Pods
from pipelines.platform import LLM_SECRET, SECRETS, TOKEN_SECRET

WAIT_S = 300
POLL_S = 2.0
DATA_KINDS = ("PersistentVolumeClaim",)
"""What ``undeploy`` leaves, since it holds data."""


def plan(overlay: Overlay, package: Package, objects: list[dict[str, Any]], console: Console) -> None:
    """Say what ``deploy`` would do."""
    console.print(f"would apply {overlay.shown} to namespace {overlay.namespace}:")
    for item in objects:
        console.print(f"  {item['kind']:<24} {item['metadata']['name']}")
    console.print("would look for the Secrets:")
    for name, keys in SECRETS.items():
        optional = "  (optional: for an LLM)" if name == LLM_SECRET else ""
        console.print(f"  {name:<24} {', '.join(keys)}{optional}")
    console.print(f"would upload {package.file} as version {package.version}, with the images:")
    for image in overlay.images:
        console.print(f"  {image}")


def deploy(overlay: Overlay, kubectl: Kubectl, pods: Pods | None, console: Console, *, create_secrets: bool) -> None:
    """Apply an overlay and wait until what it runs is ready. A second call changes nothing.

    Raises:
        InputError: a Secret or a kind of object is missing.
        UnavailableError: something is not ready in five minutes, or cannot be expected to be.
    """
    objects = kubectl.build(overlay.path)
    if missing := kubectl.missing_kinds(objects):
        raise InputError(
            f"the cluster has no {', '.join(sorted(missing))}; install what brings it, or remove the "
            "component that needs it from kustomization.yaml",
            at=overlay.shown,
        )
    _check_secrets(kubectl, overlay.namespace, console, create=create_secrets)
    _show(kubectl.apply(overlay.path), console)
    for kind in ("StatefulSet", "Deployment"):  # the agent is not ready before the S3 server
        for item in objects:
            if item["kind"] == kind:
                _wait(item, kubectl, pods, console)


def _wait(item: dict[str, Any], kubectl: Kubectl, pods: Pods | None, console: Console) -> None:
    """Wait until what ``item`` runs is ready, and tell at once what is wrong with its pods."""
    name = item["metadata"]["name"]
    console.print(f"waiting for {name} …")
    waiting, told = kubectl.start_waiting(item["kind"].lower(), name, WAIT_S), dict[str, None]()
    try:
        while True:
            over = waiting.poll() is not None
            if over and waiting.returncode == 0:
                return
            newest = _newest(item, pods)
            for trouble in (_trouble(pod, pods) for pod in newest if pods):
                if trouble and trouble not in told:
                    told[trouble] = None
                    console.print(f"  {trouble}", style="yellow", markup=False, highlight=False, soft_wrap=True)
            if over or any(pod.is_hopeless() for pod in newest):
                break
            time.sleep(POLL_S)
    finally:
        waiting.terminate()
        _, said = waiting.communicate()
    lines = said.strip().splitlines() or ["given up"]
    raise UnavailableError(list(told)[-1] if told else lines[-1].removeprefix("error: "), at=f"{name}: not ready")


def _newest(item: dict[str, Any], pods: Pods | None) -> list[Pod]:
    """Return the pods of the newest template; those of the one before may still be there, and in trouble."""
    found = pods.selected(item["spec"]["selector"]["matchLabels"]) if pods else None
    found = [pod for pod in found or [] if "deletionTimestamp" not in pod.about["metadata"]]
    return [pod for pod in found if _template(pod) == _template(found[-1])]


def _template(pod: Pod) -> str:
    labels = pod.about["metadata"].get("labels", {})
    return str(labels.get("pod-template-hash") or labels.get("controller-revision-hash") or "")


def _trouble(pod: Pod, pods: Pods) -> str:
    """Return in one line what is wrong with a pod of a service: it cannot start, it crashes, its probes fail."""
    if pod.is_ready():
        return ""
    what = pods.why_pending(pod) or pod.ended_badly()
    if not what:
        probes = pods.events(pod.name, "Unhealthy")
        what = probes[-1] if probes else ""
    if not what:
        return ""
    words = pods.last_words(pod.name) if pod.phase != "Pending" else ""
    return f"{pod.name}: {what}" + (f"; its log ends: {words}" if words else "")


def upload(package: Package, server: Server, console: Console) -> None:
    """Upload the pipeline, unless this very version is there."""
    _, _, new = server.upload(package)
    console.print(f"pipeline version {package.version}: {'uploaded' if new else 'unchanged'}")


def undeploy(kubectl: Kubectl, overlay: Overlay, console: Console, *, dry_run: bool) -> None:
    """Delete what an overlay makes, apart from what holds data; the Secrets are not the overlay's."""
    objects = [item for item in kubectl.build(overlay.path) if item["kind"] not in DATA_KINDS]
    if dry_run:
        console.print(f"in namespace {overlay.namespace} would be deleted:")
        for item in objects:
            console.print(f"  {item['kind']:<24} {item['metadata']['name']}")
    else:
        kubectl.check()
        _show(kubectl.delete(objects) or "nothing to delete", console)
    console.print("kept: Secrets, PersistentVolumeClaims, and the pipeline with its runs in KFP", style="dim")


def _check_secrets(kubectl: Kubectl, namespace: str, console: Console, *, create: bool) -> None:
    for name, keys in SECRETS.items():
        found = kubectl.secret_keys(name)
        values = _from_environment(name, keys)
        if found is None and create and values:
            kubectl.create_secret(name, values)
            console.print(f"secret {name}: created")
        elif name == LLM_SECRET and found is None:
            console.print(f"secret {name}: absent; the agent answers from its written priors", style="dim")
        elif found is None:
            literals = " ".join(f"--from-literal={key}=…" for key in keys)
            raise InputError(
                f"secret {name}: not there; kubectl -n {namespace} create secret generic {name} {literals} "
                f"(or --create-secrets, with {' and '.join(keys)} in the environment)"
            )
        elif lacking := [key for key in keys if key not in found]:
            patch = f"""'{{"stringData": {{"{lacking[0]}": "…"}}}}'"""
            raise InputError(
                f"secret {name}: has no key {lacking[0]}; kubectl -n {namespace} patch secret {name} --patch {patch}"
            )


def _from_environment(name: str, keys: tuple[str, ...]) -> dict[str, str]:
    """Return a Secret's values from the environment, empty unless all are set; the service's token may be made up."""
    values = {key: os.environ.get(key, "") for key in keys}
    if name == TOKEN_SECRET:
        values = {key: value or secrets.token_urlsafe(32) for key, value in values.items()}
    return values if all(values.values()) else {}


def _show(lines: str, console: Console) -> None:
    for line in lines.splitlines():
        console.print(f"  {line}", markup=False, highlight=False)
