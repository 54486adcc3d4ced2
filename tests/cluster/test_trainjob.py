"""Training on several nodes: the TrainJob, its command, and the task that creates it, waits and collects."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from http_servers import served_at
from kubeflow_trainer_api.models.trainer_v1alpha1_train_job import TrainerV1alpha1TrainJob
from kubernetes import client
from manifests import of_kind
from small_experiment import CONFIG

from components.contracts.config import load_experiment, parse_experiment
from components.contracts.errors import InputError
from components.train.distributed import trainjob
from components.train.round import Round
from pipelines.cluster.overlay import load_overlay
from pipelines.cluster.package import compile_package
from pipelines.images import image_references
from pipelines.platform import Cluster, TrainingKind

NODES = trainjob.Nodes(2, 4, "nvidia.com/gpu", "8", "32Gi", "registry.example/train@sha256:" + "0" * 64)
STAGE = parse_experiment(CONFIG, "small").stage_train("b")


def a_round(**changed: Any) -> trainjob.Job:
    what = Round(STAGE, "b", 2, "s3://lab/dataset", "s3://lab/constraints", "s3://lab/checkpoint")
    given: dict[str, Any] = {
        "what": what,
        "folder": "s3://lab/trainjobs",
        "identity": ("stage", "code", 2, "4", ["a", "b"]),
    }
    return trainjob.Job(**{**given, **changed})


def test_the_job_is_valid_for_kubeflow_trainer() -> None:
    body = trainjob.manifest(a_round(), NODES)
    parsed = TrainerV1alpha1TrainJob.from_dict(body)
    assert parsed is not None
    assert parsed.to_dict() == body, "a field that the API does not know was dropped"
    assert re.fullmatch(r"[a-z]([-a-z0-9]{0,61}[a-z0-9])?", body["metadata"]["name"])


def test_the_job_runs_in_the_runtime_that_the_overlay_brings() -> None:
    (runtime,) = of_kind("gpu", "TrainingRuntime")
    reference = trainjob.manifest(a_round(), NODES)["spec"]["runtimeRef"]
    assert (reference["kind"], reference["name"]) == (runtime["kind"], runtime["metadata"]["name"])
    assert runtime["apiVersion"] == f"{trainjob.GROUP}/{trainjob.VERSION}"
    (job,) = runtime["spec"]["template"]["spec"]["replicatedJobs"]
    (container,) = job["template"]["spec"]["template"]["spec"]["containers"]
    assert job["name"] == container["name"] == "node", "the trainer's step and its container are so named"
    (role,) = of_kind("gpu", "Role")
    (rule,) = role["rules"]
    assert (rule["apiGroups"], rule["resources"]) == ([trainjob.GROUP], [trainjob.PLURAL])
    assert {"create", "get", "delete"} <= set(rule["verbs"])


def test_nodes_and_devices() -> None:
    trainer = trainjob.manifest(a_round(), NODES)["spec"]["trainer"]
    assert (trainer["numNodes"], trainer["numProcPerNode"]) == (2, 4)
    assert trainer["resourcesPerNode"]["limits"] == {"memory": "32Gi", "nvidia.com/gpu": "4"}
    alone = trainjob.Nodes(1, 0, "nvidia.com/gpu", "8", "32Gi", "x:1")
    assert trainjob.manifest(a_round(), alone)["spec"]["trainer"]["numProcPerNode"] == 1
    assert "nvidia.com/gpu" not in str(trainjob.manifest(a_round(), alone))


def test_the_experiment_of_the_job_gives_the_very_stage(tmp_path: Path) -> None:
    """The artifacts carry the stage's configuration; through a job it must be the same."""
    (variable,) = trainjob.manifest(a_round(), NODES)["spec"]["trainer"]["env"]
    (tmp_path / "experiment.yaml").write_text(variable["value"])
    assert load_experiment(tmp_path / "experiment.yaml").stage_train("b") == STAGE


def test_the_same_inputs_name_the_same_job() -> None:
    assert a_round().name == a_round(folder="s3://other").name != a_round(identity=("other",)).name


@pytest.mark.parametrize(
    ("number", "gpus", "environment", "message"),
    [
        (0, "1", {}, "nodes: found 0"),
        (1, "many", {}, "'many' GPUs"),
        (1, "1", {}, "SKELETONAGENT_TRAIN_CPU: not set"),
    ],
)
def test_wrong_numbers(number: int, gpus: str, environment: dict[str, str], message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        trainjob.Nodes.read(number, gpus, "nvidia.com/gpu", environment)


def test_the_bucket_is_that_of_the_overlay() -> None:
    assert trainjob.folder({"SKELETONAGENT_BUCKET": "lab"}) == "s3://lab/trainjobs"
    with pytest.raises(InputError, match="SKELETONAGENT_BUCKET: not set"):
        trainjob.folder({})


def test_the_pipeline_with_trainjobs(tmp_path: Path) -> None:
    file = tmp_path / "pipeline.yaml"
    cluster = Cluster(image_references([], None), trainer=TrainingKind.TRAINJOB, nodes=2)
    compile_package(file, rounds=2, cluster=cluster)
    spec, platform = yaml.safe_load_all(file.read_text())
    container = spec["deploymentSpec"]["executors"]["exec-train-job"]["container"]
    environment = {item["name"]: item["value"] for item in container["env"]}
    assert trainjob.Nodes.read(2, "4", "nvidia.com/gpu", environment).image == container["image"]
    assert "accelerator" not in container["resources"], "the task only waits; the nodes have the GPUs"
    tasks = spec["components"]["comp-for-loop-1"]["dag"]["tasks"]
    assert tasks["train-job"]["inputs"]["parameters"]["gpus"] == {"componentInputParameter": "gpus"}
    assert tasks["train-job"]["inputs"]["parameters"]["nodes"]["runtimeValue"]["constant"] == 2
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]["exec-train-job"]
    assert "SKELETONAGENT_BUCKET" in str(settings["configMapAsEnv"])


def test_an_overlay_chooses_the_trainer(tmp_path: Path) -> None:
    (tmp_path / "kustomization.yaml").write_text("namespace: lab\n")
    (tmp_path / "compile.yaml").write_text("trainer: trainjob\nnodes: 3\n")
    cluster = load_overlay(str(tmp_path)).cluster
    assert (cluster.trainer, cluster.nodes) == (TrainingKind.TRAINJOB, 3)
    (tmp_path / "compile.yaml").write_text("trainer: rocket\n")
    with pytest.raises(InputError, match=r"trainer: Input should be 'pod' or 'trainjob' \(found 'rocket'\)"):
        load_overlay(str(tmp_path))


class FakeApi:
    """A Kubernetes API that knows TrainJobs; ``ends``: conditions after so many questions."""

    def __init__(self, *ends: dict[str, Any]) -> None:
        self.ends = list(ends)
        self.jobs: dict[str, Any] = {}
        self.deleted: list[str] = []
        self.refuse = 0

    def answer(self, method: str, path: str, body: Any) -> tuple[int, Any]:
        if self.refuse:
            return self.refuse, {}
        prefix = "/apis/trainer.kubeflow.org/v1alpha1/namespaces/lab/trainjobs"
        assert path.startswith(prefix), path
        name = path.removeprefix(prefix).strip("/")
        if method == "POST":
            made = body["metadata"]["name"]
            if made in self.jobs:
                return 409, {"reason": "AlreadyExists"}
            self.jobs[made] = body
            return 201, body
        if name not in self.jobs:
            return 404, {}
        if method == "DELETE":
            self.deleted.append(name)
            return 200, self.jobs.pop(name)
        status = self.ends.pop(0) if len(self.ends) > 1 else self.ends[0]
        return 200, {**self.jobs[name], "status": {"conditions": [status]} if status else {}}


@pytest.fixture
def kubernetes(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[tuple[FakeApi, client.CustomObjectsApi]]:
    cluster = FakeApi({})

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            status, answer = cluster.answer(self.command, self.path, json.loads(body) if body else None)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = do_DELETE = _handle  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    (tmp_path / "namespace").write_text("lab")
    monkeypatch.setattr(trainjob, "_NAMESPACE_FILE", tmp_path / "namespace")
    monkeypatch.setattr(trainjob, "POLL_S", 0.01)
    with served_at(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield cluster, client.CustomObjectsApi(client.ApiClient(client.Configuration(host=url)))


def condition(kind: str, message: str = "") -> dict[str, Any]:
    return {"type": kind, "status": "True", "reason": "x", "message": message}


def finished(folder: Path, job: trainjob.Round) -> dict[str, Path]:
    for name in trainjob.OUTPUTS:
        made = folder / job.name / name
        made.mkdir(parents=True)
        (made / "manifest.json").write_text(name)
    return {name: folder / "collected" / name for name in trainjob.OUTPUTS}


def test_a_round_is_created_awaited_collected_and_cleared(
    kubernetes: tuple[FakeApi, client.CustomObjectsApi], tmp_path: Path
) -> None:
    cluster, api = kubernetes
    cluster.ends = [{}, {**condition("Suspended"), "status": "False"}, condition("Complete")]
    job = a_round(folder=str(tmp_path))
    outputs = finished(tmp_path, job)
    trainjob.run(job, NODES, outputs, api)
    assert [(path / "manifest.json").read_text() for path in outputs.values()] == list(trainjob.OUTPUTS)
    assert cluster.deleted == [job.name] and not cluster.jobs
    assert not list((tmp_path / job.name).iterdir()), "the job's copies stay in the bucket"


def test_a_task_that_was_evicted_finds_its_job_again(
    kubernetes: tuple[FakeApi, client.CustomObjectsApi], tmp_path: Path
) -> None:
    cluster, api = kubernetes
    job = a_round(folder=str(tmp_path))
    cluster.jobs[job.name] = {"there": "already"}
    cluster.ends = [condition("Complete")]
    trainjob.run(job, NODES, finished(tmp_path, job), api)
    assert cluster.deleted == [job.name]


def test_a_failed_job_says_why_and_makes_room_for_another_try(
    kubernetes: tuple[FakeApi, client.CustomObjectsApi], tmp_path: Path
) -> None:
    cluster, api = kubernetes
    cluster.ends = [condition("Failed", "jobset failed due to one or more job failures")]
    job = a_round(folder=str(tmp_path))
    with pytest.raises(trainjob.TrainJobError, match="jobset failed due to one or more job failures"):
        trainjob.run(job, NODES, {}, api)
    assert cluster.deleted == [job.name]


@pytest.mark.parametrize(
    ("status", "message"), [(404, "install Kubeflow Trainer"), (403, "Role skeletonagent-trainer"), (500, "HTTP 500")]
)
def test_what_the_cluster_refuses_is_one_line(
    kubernetes: tuple[FakeApi, client.CustomObjectsApi], status: int, message: str
) -> None:
    cluster, api = kubernetes
    cluster.refuse = status
    with pytest.raises(InputError, match=message):
        trainjob.run(a_round(), NODES, {}, api)


def test_outside_of_a_cluster(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(trainjob, "_NAMESPACE_FILE", Path("/nowhere"))
    with pytest.raises(InputError, match="created from within a cluster"):
        trainjob.run(a_round(), NODES, {}, client.CustomObjectsApi())
