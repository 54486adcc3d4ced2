"""The cluster of the live tests: our commands as a user types them, ``kubectl`` beside them, ways to its stores."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import secrets
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from urllib.parse import urlsplit

from minio import Minio

from pipelines.cluster.kubectl import Kubectl
from pipelines.cluster.overlay import load_overlay
from pipelines.platform import CONFIG_MAP, S3_SECRET, SECRETS, STAGE_LABEL

ROOT = Path(__file__).resolve().parents[3]
SEEN: list[tuple[str, float, str]] = []
"""What was done, its seconds, and what came of it."""
KFP_SECRET, KFP_STORE = "mlpipeline-minio-artifact", ("seaweedfs", "minio-service")
AGENT = "skeletonagent-agent"
EXPERIMENT = "skeletonagent"
POLL_S = 2.0


def kubectl_command(context: str) -> list[str]:
    return [*Kubectl("", context)._command]


def why_not() -> str:
    """Return why the live tests cannot run here; empty if they can."""
    context = os.environ.get("CONTEXT", "")
    try:
        namespace = load_overlay(os.environ.get("OVERLAY") or "local").namespace
        command = [*kubectl_command(context), "-n", namespace, "get", "service", "ml-pipeline", "-o", "name"]
        done = subprocess.run([*command, "--request-timeout=10s"], capture_output=True, text=True, timeout=60)
    except Exception as error:
        return f"no cluster: {error}"
    if done.returncode:
        said = done.stderr.strip().splitlines() or ["kubectl said nothing"]
        return f"no Kubeflow Pipelines in namespace {namespace} of the kubeconfig's cluster: {said[-1]}"
    return ""


@contextlib.contextmanager
def timed(what: str) -> Iterator[list[str]]:
    """Remember how long something took; what is put into the list stands beside it."""
    began, notes = time.monotonic(), list[str]()
    try:
        yield notes
    except BaseException:
        SEEN.append((what, time.monotonic() - began, "FAILED"))
        raise
    SEEN.append((what, time.monotonic() - began, "; ".join(notes)))


def until(condition: Callable[[], object], what: str, seconds: float) -> None:
    """Wait for something that the cluster does."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end, f"{what}: not within {seconds:.0f} s"
        time.sleep(POLL_S)


@dataclass
class Lab:
    overlay: str
    context: str
    folder: Path
    runs: list[str] = field(default_factory=list)
    made: list[tuple[Minio, str, str]] = field(default_factory=list)
    _made_secrets: list[str] = field(default_factory=list)
    _forwards: list[subprocess.Popen[str]] = field(default_factory=list)
    _environment: dict[str, str] = field(default_factory=dict)
    _before: bool = False
    _volumes: set[str] = field(default_factory=set)

    def __post_init__(self) -> None:
        self.namespace = load_overlay(self.overlay).namespace

    def prepare(self) -> None:
        """Look what is there, and reach KFP: at KFP_HOST, or through a port of its user interface."""
        self._before = bool(self.kubectl("get", "deployment", AGENT, "--ignore-not-found", "-o", "name").strip())
        self._volumes = set(self.kubectl("get", "pvc", "-o", "name").split())
        known = {"AWS_ACCESS_KEY_ID": "test", "AWS_SECRET_ACCESS_KEY": secrets.token_hex(16)}
        self._environment = {**{name: os.environ.get(name) or value for name, value in known.items()}}
        self._made_secrets = [
            name
            for name in SECRETS
            if not self.kubectl("get", "secret", name, "--ignore-not-found", "-o", "name").strip()
        ]
        if not os.environ.get("KFP_HOST"):
            port = self.forward("ml-pipeline-ui", 80)
            self._environment["KFP_HOST"] = f"http://127.0.0.1:{port}"

    def clean(self) -> None:
        """Leave the cluster as it was found: runs, versions, objects, Secrets, volumes."""
        with contextlib.suppress(Exception):
            self._forget_runs()
        with contextlib.suppress(Exception):
            self._remove_objects()
        if self._before:
            self.pipelines("deploy", "--overlay", self.overlay)
        else:
            self.pipelines("undeploy", "--overlay", self.overlay)
            for name in self._made_secrets:
                self.kubectl("delete", "secret", name, "--ignore-not-found")
            for volume in set(self.kubectl("get", "pvc", "-o", "name").split()) - self._volumes:
                self.kubectl("delete", volume, "--ignore-not-found", "--wait=false")
        for forward in self._forwards:
            forward.terminate()
            forward.communicate()

    def pipelines(self, *arguments: str, check: bool = True, **environment: str) -> subprocess.CompletedProcess[str]:
        """Run ``python -m pipelines`` as a user does."""
        more = ["--context", self.context] if self.context and arguments[0] != "compile" else []
        done = subprocess.run(
            [sys.executable, "-m", "pipelines", *arguments, *more],
            cwd=self.folder,
            env={**os.environ, "PYTHONPATH": str(ROOT), **self._environment, **environment},
            capture_output=True,
            text=True,
            timeout=1800,
        )
        assert not check or done.returncode == 0, f"{' '.join(arguments)}:\n{done.stdout}\n{done.stderr}"
        return done

    def kubectl(self, *arguments: str, check: bool = True) -> str:
        command = [*kubectl_command(self.context), "-n", self.namespace, *arguments]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300)
        assert not check or done.returncode == 0, f"kubectl {' '.join(arguments)}: {done.stderr}"
        return done.stdout

    def forward(self, service: str, port: int, namespace: str = "") -> int:
        """Forward a local port to a service; return it."""
        place = ["-n", namespace or self.namespace, "port-forward", f"service/{service}", f":{port}"]
        forward = subprocess.Popen(
            [*kubectl_command(self.context), *place], stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True
        )
        self._forwards.append(forward)
        assert forward.stdout is not None
        line = forward.stdout.readline()
        found = re.search(r"127\.0\.0\.1:(\d+)", line)
        assert found, f"port-forward {service}: {line}"
        return int(found[1])

    def secret(self, name: str) -> dict[str, str]:
        data = json.loads(self.kubectl("get", "secret", name, "-o", "json"))["data"]
        return {key: base64.b64decode(value).decode() for key, value in data.items()}

    def data_store(self) -> tuple[Minio, str]:
        """Return a client of the overlay's object store and its bucket; call it after ``deploy``."""
        settings = json.loads(self.kubectl("get", "configmap", CONFIG_MAP, "-o", "json"))["data"]
        keys, parts = self.secret(S3_SECRET), urlsplit(settings["S3_ENDPOINT"])
        service, _, place = (parts.hostname or "").partition(".")
        host, secure = parts.netloc, parts.scheme == "https"
        inside = self.kubectl("get", "service", service, "--ignore-not-found", "-o", "name") if not secure else ""
        if inside.strip():
            namespace = place.partition(".")[0]
            host = f"127.0.0.1:{self.forward(service, parts.port or 80, namespace)}"
        access_key, secret_key = (keys[key] for key in SECRETS[S3_SECRET])
        region = settings["AWS_REGION"]
        client = Minio(host, access_key=access_key, secret_key=secret_key, secure=secure, region=region)
        return client, settings["SKELETONAGENT_BUCKET"]

    def artifact_store(self) -> dict[str, str]:
        """Return the environment in which our commands reach the server where KFP keeps artifacts."""
        keys = self.secret(KFP_SECRET)
        service, _, port = self.kfp_store.partition(":")
        return {
            "S3_ENDPOINT": f"http://127.0.0.1:{self.forward(service.partition('.')[0], int(port))}",
            "AWS_ACCESS_KEY_ID": keys["accesskey"],
            "AWS_SECRET_ACCESS_KEY": keys["secretkey"],
        }

    @property
    def kfp_store(self) -> str:
        """Where the cluster's pods find the server with KFP's artifacts, such as ``seaweedfs.kubeflow:8333``."""
        for service in KFP_STORE:
            found = self.kubectl("get", "service", service, "--ignore-not-found", "-o", "json")
            if found.strip():
                ports = [port["port"] for port in json.loads(found)["spec"]["ports"]]
                port = next((known for known in (8333, 9000) if known in ports), ports[0])
                return f"{service}.{self.namespace}:{port}"
        raise AssertionError(f"KFP's object store: none of the services {', '.join(KFP_STORE)}")

    @contextlib.contextmanager
    def with_store_of_kfp(self) -> Iterator[str]:
        """Have our Secret hold the keys of KFP's store for a while, and the tiny data lie there; yield their URI."""
        before, theirs = self.secret(S3_SECRET), self.secret(KFP_SECRET)
        client = self._client_of_kfp()
        client.fput_object("mlpipeline", "live/small.pkl", str(self.folder / "small.pkl"))
        try:
            self._write_secret({"AWS_ACCESS_KEY_ID": theirs["accesskey"], "AWS_SECRET_ACCESS_KEY": theirs["secretkey"]})
            yield "s3://mlpipeline/live/small.pkl"
        finally:
            self._write_secret(before)
            for found in client.list_objects("mlpipeline", "live/", recursive=True):
                client.remove_object("mlpipeline", str(found.object_name))

    def _client_of_kfp(self) -> Minio:
        store = self.artifact_store()
        host = urlsplit(store["S3_ENDPOINT"]).netloc
        access_key, secret_key = store["AWS_ACCESS_KEY_ID"], store["AWS_SECRET_ACCESS_KEY"]
        return Minio(host, access_key=access_key, secret_key=secret_key, secure=False, region="us-east-1")

    def _write_secret(self, values: dict[str, str]) -> None:
        body = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": S3_SECRET}, "stringData": values}
        command = [*kubectl_command(self.context), "-n", self.namespace, "apply", "-f", "-"]
        subprocess.run(command, input=json.dumps(body), capture_output=True, text=True, check=True, timeout=60)

    def submit(self, *arguments: str) -> str:
        """Start a run and return its id."""
        done = self.pipelines("submit", "--overlay", self.overlay, "--no-follow", *arguments)
        self.runs.append(done.stdout.split()[-1])
        return self.runs[-1]

    def training_pod(self, run: str, *, without: tuple[str, ...] = ()) -> str:
        """Return the training pod of a run that is running now, other than those named; empty if there is none."""
        selector = f"pipeline/runid={run},{STAGE_LABEL}=train"
        found = json.loads(self.kubectl("get", "pods", "-l", selector, "-o", "json"))["items"]
        names = [pod["metadata"]["name"] for pod in found if pod["status"]["phase"] == "Running"]
        return next((name for name in names if name not in without), "")

    def log(self, pod: str) -> str:
        return self.kubectl("logs", pod, "-c", "main", check=False)

    def _remove_objects(self) -> None:
        """Remove the data, and what the runs left in KFP's store; no cache of others refers to it."""
        for client, bucket, name in self.made:
            client.remove_object(bucket, name)
        client = self._client_of_kfp()
        for found in client.list_objects("mlpipeline", "v2/artifacts/skeletonagent", recursive=True):
            if any(f"/{run}/" in str(found.object_name) for run in self.runs):
                client.remove_object("mlpipeline", str(found.object_name))

    def _forget_runs(self) -> None:
        import kfp

        client = kfp.Client(host=self._environment.get("KFP_HOST") or os.environ["KFP_HOST"])
        for run in self.runs:
            with contextlib.suppress(Exception):
                client.delete_run(run)
        if self._before:
            return
        with contextlib.suppress(Exception):
            pipeline = client.get_pipeline_id(EXPERIMENT)
            while versions := client.list_pipeline_versions(pipeline, page_size=50).pipeline_versions:
                for version in versions:
                    client.delete_pipeline_version(pipeline, version.pipeline_version_id)
            client.delete_pipeline(pipeline)
        with contextlib.suppress(Exception):
            client.delete_experiment(client.get_experiment(experiment_name=EXPERIMENT).experiment_id)
