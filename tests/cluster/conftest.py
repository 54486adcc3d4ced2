"""A KFP server for the tests, and commands that talk to it."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import kfp_recordings
import kubernetes_server
import pytest
from click.testing import Result
from kfp_server import Backend, Command, serving
from kubernetes_server import Kubernetes, write_kubeconfig
from typer.testing import CliRunner

from pipelines.__main__ import app
from pipelines.cluster.package import Package, compile_package


@pytest.fixture
def backend() -> Backend:
    if not kfp_recordings.there():
        pytest.skip(kfp_recordings.ABSENT)
    return Backend()


@pytest.fixture
def cluster_of_pods(tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch) -> Iterator[Kubernetes]:
    """A Kubernetes that the kubeconfig of the test names."""
    cluster = Kubernetes()
    with kubernetes_server.serving(cluster) as address:
        write_kubeconfig(tmp_path / "kubeconfig", {"test": address})
        monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "kubeconfig"))
        yield cluster


@pytest.fixture
def host(backend: Backend) -> Iterator[str]:
    with serving(backend) as address:
        yield address


@pytest.fixture
def command(
    host: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, compiled_once: Callable[..., Package]
) -> Command:
    """Run ``python -m pipelines`` in an empty folder, with the test's KFP and no cluster."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("KUBECONFIG", str(tmp_path / "none"))
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.setenv("COLUMNS", "200")
    monkeypatch.setattr("pipelines.cluster.watch.POLL_S", 0.001)
    monkeypatch.setattr("kubernetes.config.kube_config.KUBE_CONFIG_DEFAULT_LOCATION", str(tmp_path / "none"))
    monkeypatch.delenv("KFP_UI", raising=False)
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "S3_ENDPOINT"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("KFP_HOST", host)
    monkeypatch.setattr("pipelines.cluster.commands.compile_package", compiled_once)

    def run(*arguments: str) -> Result:
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


@pytest.fixture(scope="session")
def compiled_once() -> Callable[..., Package]:
    """``compile_package``, which for equal arguments compiles once: the same arguments give the same file."""
    known: dict[str, tuple[Package, bytes]] = {}

    def compile_once(output: Path, **arguments: Any) -> Package:
        key = repr(sorted(arguments.items()))
        if key not in known:
            package = compile_package(output, **arguments)
            known[key] = package, output.read_bytes()
        package, content = known[key]
        output.parent.mkdir(parents=True, exist_ok=True)
        output.write_bytes(content)
        return replace(package, file=output)

    return compile_once
