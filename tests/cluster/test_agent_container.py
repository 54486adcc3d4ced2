"""The agent's container as the Deployment describes it: its real command, environment, probes and metrics."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import urllib3
from manifests import of_kind
from prometheus_client.parser import text_string_to_metric_families
from test_monitoring import exported

from components.agent.service.messages import ROUNDS

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="module")
def container() -> dict[str, Any]:
    (deployment,) = of_kind("local", "Deployment")
    (found,) = deployment["spec"]["template"]["spec"]["containers"]
    return dict(found)


@pytest.fixture(scope="module")
def address(container: dict[str, Any], tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """Start the Deployment's command with a folder for the bucket, and its port and host exchanged for free ones."""
    with socket.create_server(("127.0.0.1", 0)) as probe:
        port = probe.getsockname()[1]
    folder = tmp_path_factory.mktemp("store")
    exchanged = {"s3://$(SKELETONAGENT_BUCKET)/agent": str(folder), "0.0.0.0": "127.0.0.1", "8080": str(port)}
    assert exchanged.keys() <= set(container["args"])
    command = [sys.executable, *container["command"][1:], *(exchanged.get(word, word) for word in container["args"])]
    (settings,) = (
        item["data"]
        for item in of_kind("local", "ConfigMap")
        if item["metadata"]["name"] == container["envFrom"][0]["configMapRef"]["name"]
    )
    keys = ("PATH", "HOME", "PYTHONPATH")
    environment = {key: os.environ[key] for key in keys if key in os.environ} | settings
    environment |= {item["name"]: item.get("value", "secret") for item in container["env"]}
    environment.pop("OPENAI_API_KEY")  # optional, and a key would make the service look for the hosted LLM
    process = subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)
    try:
        yield wait_for(f"http://127.0.0.1:{port}", process)
    finally:
        process.terminate()
        process.wait(timeout=30)


def wait_for(address: str, process: subprocess.Popen[bytes]) -> str:
    for _ in range(900):
        if process.poll() is not None:
            pytest.fail(f"the service ended: {process.stderr.read().decode() if process.stderr else ''}")
        try:
            urllib3.request("GET", f"{address}/healthz", retries=False, timeout=5)
        except urllib3.exceptions.HTTPError:
            time.sleep(0.1)
        else:
            return address
    pytest.fail("the service did not start within a minute and a half")


def test_probes_answer(container: dict[str, Any], address: str) -> None:
    for probe in ("startupProbe", "livenessProbe", "readinessProbe"):
        path = container[probe]["httpGet"]["path"]
        assert urllib3.request("GET", f"{address}{path}", retries=False).status == 200, probe


def test_metrics_are_served_where_the_monitor_looks_and_are_those_of_the_dashboard(address: str) -> None:
    (monitor,) = of_kind("gpu", "ServiceMonitor")
    path = monitor["spec"]["endpoints"][0]["path"]
    text = urllib3.request("GET", f"{address}{path}", retries=False).data.decode()
    served = {family.name for family in text_string_to_metric_families(text)}
    ours = {name for name in exported() if not name.startswith("skeletonagent_train")}
    for name in ours:
        assert any(name.startswith(family) for family in served), f"{name} is not served"


def test_rounds_want_the_token(address: str) -> None:
    for header, expected in (
        ({}, 401),
        ({"Authorization": "Bearer wrong"}, 401),
        ({"Authorization": "Bearer secret"}, 404),
    ):
        answer = urllib3.request("GET", f"{address}{ROUNDS}/none", headers=header, retries=False)
        assert answer.status in (expected, 422 if expected == 404 else expected), header
