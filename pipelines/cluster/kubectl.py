"""``kubectl``, with its errors in one line."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml

from components.contracts.errors import InputError, ResourceError, UnavailableError

_UNREACHABLE = ("refused", "no such host", "i/o timeout", "no configuration has been provided", "unable to connect")


class Kubectl:
    """Runs ``kubectl`` in one namespace; ``context``: of the kubeconfig, empty for its current one."""

    def __init__(self, namespace: str, context: str = "") -> None:
        # PATH first: the user's own fits their cluster. The one beside our Python comes with the dev packages.
        beside = str(Path(sys.executable).parent)
        found = shutil.which("kubectl", path=os.pathsep.join([os.environ.get("PATH", ""), beside]))
        if not found:
            raise ResourceError("kubectl: not found on PATH; Kubernetes' documentation says how to install it")
        self._command = [found, *(["--context", context] if context else [])]
        self._namespace = namespace

    def build(self, folder: Path) -> list[dict[str, Any]]:
        """Return the objects that an overlay makes; this needs no cluster."""
        return [item for item in yaml.safe_load_all(self._run("kustomize", str(folder))) if item]

    def check(self) -> None:
        """Find out whether the cluster answers, and whether the namespace exists."""
        if not self._run("get", "namespace", self._namespace, "--ignore-not-found", "-o", "name").strip():
            raise InputError(
                f"namespace {self._namespace}: not in this cluster; install Kubeflow Pipelines first (k8s/README.md)"
            )

    def secret_keys(self, name: str) -> set[str] | None:
        """Return the keys of a Secret, never their values; None if there is no such Secret."""
        template = "-o=go-template={{range $key, $_ := .data}}{{$key}} {{end}}"
        found = self._in("get", "secret", name, "--ignore-not-found", "-o", "name")
        return set(self._in("get", "secret", name, template).split()) if found.strip() else None

    def create_secret(self, name: str, values: dict[str, str]) -> None:
        """Create a Secret; its values pass through standard input, so that no list of processes shows them."""
        manifest = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": values}
        self._in("create", "-f", "-", stdin=json.dumps(manifest))

    def missing_kinds(self, objects: list[dict[str, Any]]) -> set[str]:
        """Return the kinds (``Kind.group``) among ``objects`` that the cluster does not know."""
        used = {(item["apiVersion"].rpartition("/")[0], item["kind"]) for item in objects}
        known = set()
        for line in self._run("api-resources", "--no-headers").splitlines():
            *_, version, _namespaced, kind = line.split()
            known.add((version.rpartition("/")[0], kind))
        return {f"{kind}.{group}" for group, kind in used - known if group}

    def apply(self, folder: Path) -> str:
        """Apply an overlay; return kubectl's line for every object."""
        return self._in("apply", "-k", str(folder))

    def delete(self, objects: list[dict[str, Any]]) -> str:
        """Delete objects; those that are gone already are left out."""
        return self._in("delete", "--ignore-not-found", "-f", "-", stdin=yaml.safe_dump_all(objects))

    def start_waiting(self, kind: str, name: str, seconds: int) -> subprocess.Popen[str]:
        """Start to wait until a Deployment or StatefulSet is ready; the process ends with 0 when it is."""
        words = ["--namespace", self._namespace, "rollout", "status", f"{kind}/{name}", f"--timeout={seconds}s"]
        return subprocess.Popen([*self._command, *words], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)

    def _in(self, *arguments: str, **options: Any) -> str:
        return self._run("--namespace", self._namespace, *arguments, **options)

    def _run(self, *arguments: str, stdin: str | None = None) -> str:
        done = subprocess.run([*self._command, *arguments], input=stdin, capture_output=True, text=True)
        if done.returncode == 0:
            return done.stdout
        lines = [line.strip() for line in done.stderr.splitlines() if line.strip()] or ["ended without a word"]
        if any(sign in done.stderr.lower() for sign in _UNREACHABLE):
            raise UnavailableError(f"no cluster answers: {lines[-1]} (kubectl config get-contexts lists what you have)")
        verb = next(argument for argument in arguments if argument not in ("--namespace", self._namespace))
        raise InputError(f"kubectl {verb}: {lines[-1]}")
