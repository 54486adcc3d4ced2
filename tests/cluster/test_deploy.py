"""deploy and undeploy with a kubectl that answers from a folder: what is asked of it, and what is said."""

from __future__ import annotations

import json
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml
from kfp_server import Backend, Command
from kubernetes_server import Kubernetes, pod
from manifests import built

from components.contracts.errors import InputError, UnavailableError

KUBECTL = """\
#!PYTHON -IS
import json, os, pathlib, sys
home = pathlib.Path(os.environ["FAKE_CLUSTER"])
words = sys.argv[1:]
state = json.loads((home / "state.json").read_text())
if words[0] == "kustomize":
    print((home / (pathlib.Path(words[1]).name + ".yaml")).read_text())
    sys.exit()
with (home / "calls").open("a") as calls:
    calls.write(" ".join(words) + "\\n")
if state["down"]:
    print("E1122 memcache.go: couldn't get current server API group list", file=sys.stderr)
    sys.exit("The connection to the server 127.0.0.1:1 was refused - did you specify the right host or port?")
words = words[2:] if words[0] == "--namespace" else words
if words[:2] == ["get", "namespace"] and words[2] in state["namespaces"]:
    print("namespace/" + words[2])
elif words[:2] == ["get", "secret"] and words[2] in state["secrets"]:
    print(" ".join(state["secrets"][words[2]]) if "go-template" in words[3] else "secret/" + words[2])
elif words[0] == "create":
    made = json.loads(sys.stdin.read())
    state["secrets"][made["metadata"]["name"]] = sorted(made["stringData"])
    (home / "state.json").write_text(json.dumps(state))
    (home / "created.json").write_text(json.dumps(made))
elif words[0] == "api-resources":
    print("deployments deploy apps/v1 true Deployment\\nservices svc v1 true Service")
    print("\\n".join("x " + group + "/v1 true " + kind for group, kind in state["kinds"]))
elif words[0] == "apply":
    print("deployment.apps/skeletonagent-agent " + ("unchanged" if state["applied"] else "created"))
    (home / "state.json").write_text(json.dumps({**state, "applied": True}))
elif words[0] == "delete":
    (home / "deleted.yaml").write_text(sys.stdin.read())
    print("deployment.apps/skeletonagent-agent deleted")
elif words[0] == "rollout" and state["unready"]:
    sys.exit("error: timed out waiting for the condition")
"""
KINDS = [
    ("apps", "StatefulSet"), ("policy", "PodDisruptionBudget"), ("autoscaling", "HorizontalPodAutoscaler"),
    ("networking.k8s.io", "NetworkPolicy"),
]  # fmt: skip
SECRETS = {
    "skeletonagent-s3": ["AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"],
    "skeletonagent-agent": ["SKELETONAGENT_AGENT_TOKEN"],
}


class FakeCluster:
    def __init__(self, home: Path) -> None:
        self.home = home
        self.set(down=False, namespaces=["kubeflow"], secrets=SECRETS, kinds=KINDS, applied=False,
                 unready=False)  # fmt: skip

    def set(self, **state: Any) -> None:
        file = self.home / "state.json"
        before = json.loads(file.read_text()) if file.is_file() else {}
        file.write_text(json.dumps({**before, **state}))

    @property
    def calls(self) -> str:
        file = self.home / "calls"
        return file.read_text() if file.is_file() else ""


@pytest.fixture
def cluster(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> FakeCluster:
    home = tmp_path / "fake"
    home.mkdir()
    for name in ("local", "gpu"):
        (home / f"{name}.yaml").write_text(yaml.safe_dump_all(built(name)))
    (home / "kubectl").write_text(KUBECTL.replace("PYTHON", sys.executable))
    (home / "kubectl").chmod(0o755)
    monkeypatch.setenv("FAKE_CLUSTER", str(home))
    monkeypatch.setattr("pipelines.cluster.deploy.POLL_S", 0.02)
    monkeypatch.setenv("PATH", f"{home}{os.pathsep}{os.environ['PATH']}")
    return FakeCluster(home)


def test_deploy_applies_waits_and_uploads_and_a_second_call_changes_nothing(
    command: Command, cluster: FakeCluster, backend: Backend
) -> None:
    first = command("deploy")
    assert first.exit_code == 0, first.output or first.exception
    assert "skeletonagent-agent created" in first.output and ": uploaded" in first.output
    for kind in ("deployment/skeletonagent-agent", "statefulset/skeletonagent-s3"):
        assert f"--namespace kubeflow rollout status {kind} --timeout=300s" in cluster.calls
    second = command("deploy")
    assert "skeletonagent-agent unchanged" in second.output and ": unchanged" in second.output
    assert len(backend.versions) == 1


def test_dry_run_asks_neither_the_cluster_nor_kfp(command: Command, cluster: FakeCluster, backend: Backend) -> None:
    result = command("deploy", "--overlay", "gpu", "--dry-run")
    assert result.exit_code == 0 and not cluster.calls and not backend.requests
    for text in ("Deployment               skeletonagent-agent", "TrainingRuntime          skeletonagent-torch",
                 "OPENAI_API_KEY  (optional", "train=skeletonagent-train:0.1.0", "to namespace kubeflow"):  # fmt: skip
        assert text in result.output


@pytest.mark.parametrize(
    ("state", "message"),
    [
        ({"down": True}, "no cluster answers: The connection to the server 127.0.0.1:1 was refused"),
        ({"namespaces": []}, "namespace kubeflow: not in this cluster; install Kubeflow Pipelines first"),
        ({"kinds": KINDS[:-1]}, "the cluster has no NetworkPolicy.networking.k8s.io"),
        ({"secrets": {}}, "secret skeletonagent-s3: not there; kubectl -n kubeflow create secret generic"),
        (
            {"secrets": {**SECRETS, "skeletonagent-agent": ["x"]}},
            "has no key SKELETONAGENT_AGENT_TOKEN; kubectl -n kubeflow patch secret skeletonagent-agent",
        ),
        ({"unready": True}, "skeletonagent-s3: not ready: timed out waiting for the condition"),
    ],
)
def test_what_is_missing_is_said_in_one_line(
    command: Command, cluster: FakeCluster, state: dict[str, Any], message: str
) -> None:
    cluster.set(**state)
    result = command("deploy")
    assert isinstance(result.exception, InputError | UnavailableError), result.output
    assert message in str(result.exception) and "\n" not in str(result.exception)
    assert "--create-secrets" not in str(result.exception) or "has no key" not in str(result.exception)
    if "unready" not in state:
        assert " apply " not in cluster.calls, "something was applied before the mistake was found"


CRASHED = {
    "ready": False, "restartCount": 3, "state": {"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 40s"}},
    "lastState": {"terminated": {"exitCode": 2, "reason": "Error"}},
}  # fmt: skip
UNPULLED = {"state": {"waiting": {"reason": "ImagePullBackOff", "message": 'Back-off pulling image "lab/agent:9"'}}}
UNSCHEDULED = [{"type": "PodScheduled", "status": "False", "message": "0/1 nodes are available: 1 Insufficient cpu."}]
RUNNING = {"ready": False, "restartCount": 0, "state": {"running": {"startedAt": "2026-11-29T06:00:00Z"}}}


@pytest.mark.parametrize(
    ("shape", "message"),
    [
        ({"main": CRASHED}, "CrashLoopBackOff: back-off 40s; its log ends: error: no bucket 'skeletonagent'"),
        ({"main": UNPULLED, "phase": "Pending"}, 'ImagePullBackOff: Back-off pulling image "lab/agent:9"'),
        (
            {"conditions": UNSCHEDULED, "phase": "Pending", "requests": {"cpu": "4"}},
            "Insufficient CPU: asks 4, the node has 2",
        ),
        ({"main": RUNNING}, "Unhealthy: Readiness probe failed: HTTP probe failed with statuscode: 503; its log ends"),
    ],
)
def test_what_keeps_a_pod_from_being_ready_is_told(
    command: Command, cluster: FakeCluster, cluster_of_pods: Kubernetes, shape: dict[str, Any], message: str
) -> None:
    cluster.set(unready=True)
    labels = {"app.kubernetes.io/name": "skeletonagent-s3"}
    cluster_of_pods.pods = [
        pod(
            "old",
            labels={**labels, "controller-revision-hash": "1"},
            main=UNPULLED,
            created=datetime(2026, 1, 1, tzinfo=UTC),
        ),
        pod("skeletonagent-s3-0", labels={**labels, "controller-revision-hash": "2"}, **shape),
    ]
    cluster_of_pods.logs["skeletonagent-s3-0"] = "starting\nerror: no bucket 'skeletonagent'\n"
    probe = {
        "reason": "Unhealthy",
        "type": "Warning",
        "message": "Readiness probe failed: HTTP probe failed with statuscode: 503",
    }
    cluster_of_pods.events["skeletonagent-s3-0"] = [probe]
    result = command("deploy")
    assert isinstance(result.exception, UnavailableError), result.output
    assert str(result.exception).startswith(f"skeletonagent-s3: not ready: skeletonagent-s3-0: {message}")
    assert message in result.output and "old" not in result.output


def test_a_kfp_that_is_not_there_is_found_before_anything_is_applied(command: Command, cluster: FakeCluster) -> None:
    error = command("deploy", "--host", "http://127.0.0.1:9").exception
    assert "cannot be reached" in str(error) and " apply " not in cluster.calls


def test_secrets_are_created_from_the_environment_and_pass_through_standard_input_only(
    command: Command, cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    cluster.set(secrets={})
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "key")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "never-shown")
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    result = command("deploy", "--create-secrets")
    assert result.exit_code == 0, result.exception
    assert "never-shown" not in result.output + cluster.calls
    made = json.loads((cluster.home / "created.json").read_text())
    assert made["metadata"]["name"] == "skeletonagent-agent"
    assert len(made["stringData"]["SKELETONAGENT_AGENT_TOKEN"]) >= 32, "a token was to be made up"


def test_undeploy_leaves_data_and_secrets(command: Command, cluster: FakeCluster) -> None:
    planned = command("undeploy", "--dry-run")
    assert "Deployment" in planned.output and "PersistentVolumeClaim " not in planned.output and not cluster.calls
    assert command("undeploy").exit_code == 0
    deleted = (cluster.home / "deleted.yaml").read_text()
    assert "kind: Deployment" in deleted
    assert "kind: PersistentVolumeClaim" not in deleted and "kind: Secret\n" not in deleted


def test_without_kubectl(command: Command, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", "")
    monkeypatch.setattr("sys.executable", "/nowhere/python")
    assert "kubectl: not found on PATH" in str(command("undeploy").exception)
