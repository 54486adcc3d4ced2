"""status and submit, as a real KFP reports a run and with the run's pods: tasks, reasons, logs, results."""

from __future__ import annotations

import json
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import kfp_recordings
import kfp_server_api as models
import pytest
from kfp_server import Backend, Command
from kubernetes_server import Kubernetes, pod

from components.contracts import report as report_contract
from pipelines.cluster.pods import Pod
from pipelines.cluster.tasks import Task, is_stale, tasks_of

SUBMIT = ("submit", "--data", "s3://lab/my.pkl", "--config", "nw_ucla_quick", "--streams", "j,b")
UNSCHEDULED = [
    {
        "type": "PodScheduled",
        "status": "False",
        "reason": "Unschedulable",
        "message": "0/1 nodes are available: 1 Insufficient cpu. no new claims to deallocate, preemption: 0/1 nodes "
        "are available: 1 No preemption victims found for incoming pod.",
    }
]
pytestmark = pytest.mark.skipif(not kfp_recordings.there(), reason=kfp_recordings.ABSENT)


def read(answer: dict[str, Any]) -> Any:
    """Return an answer as the client of KFP reads it."""
    response = type("Response", (), {"data": json.dumps(answer)})
    return models.ApiClient().deserialize(response, "V2beta1Run")


def lines(run: dict[str, Any], *pods: dict[str, Any]) -> list[str]:
    now = kfp_recordings.moment("2026-11-29T07:30:00Z")
    return [f"{task.label}: {task.state}" for task in tasks_of(read(run), [Pod(each) for each in pods], now)]


def test_the_tasks_of_a_run_are_shown_without_drivers_loops_and_retries() -> None:
    assert lines(kfp_recordings.recorded("run-failed-preprocess")) == [
        "configure: succeeded",
        "preprocess: failed",
        "agent prior: cached",
    ]
    assert lines(kfp_recordings.recorded("run-failed-train")) == [
        "configure: succeeded",
        "preprocess: cached",
        "agent prior: cached",
        "train round 1: failed",
    ]
    cached = lines(kfp_recordings.recorded("run-all-cached"))
    assert "train round 1 (2 streams): cached" in cached and "train round 2 (2 streams): cached" in cached
    assert "evaluate: cached" in cached and len(cached) == 7


def test_what_only_waits_or_was_never_started_is_told_apart() -> None:
    assert "preprocess: stopped" not in lines(kfp_recordings.recorded("run-terminated"))
    running = kfp_recordings.at(kfp_recordings.recorded("run-succeeded"), kfp_recordings.moment("2026-11-29T06:29:00Z"))
    assert lines(running)[-1] == "train round 1 (2 streams): running"


def test_a_driver_that_failed_is_shown_as_its_task() -> None:
    tasks = tasks_of(read(kfp_recordings.recorded("run-replay-driver-failed")))
    (train,) = (task for task in tasks if task.name == "train")
    assert (train.state, train.of_driver, train.label) == ("failed", True, "train")


def test_a_list_of_tasks_that_is_older_than_the_end_of_its_run_is_no_running_run() -> None:
    run = read(kfp_recordings.recorded("run-succeeded"))
    assert is_stale(run) and "running" not in {task.state for task in tasks_of(run)}
    assert not is_stale(read(kfp_recordings.recorded("run-all-cached")))


def training(run: str, stream: str, began: str, **more: Any) -> dict[str, Any]:
    inputs = {"stream": stream, "round_number": 1, "stage": "{}"}
    moment = kfp_recordings.moment(began)
    return pod(f"impl-{stream}-{moment:%H%M}", run=run, stage="train", inputs=inputs, created=moment, **more)


def test_pods_say_which_stream_and_how_often_it_was_tried() -> None:
    run = kfp_recordings.at(kfp_recordings.recorded("run-succeeded"), kfp_recordings.moment("2026-11-29T06:32:30Z"))
    pods = [
        training("r", "j", "2026-11-29T06:28:36Z", phase="Succeeded"),
        training("r", "b", "2026-11-29T06:28:36Z", phase="Failed"),
        training("r", "b", "2026-11-29T06:32:00Z"),
    ]
    tasks = {task.label: task for task in tasks_of(read(run), [Pod(each) for each in pods])}
    assert (tasks["train j round 1"].state, tasks["train b round 1"].state) == ("succeeded", "running")
    assert len(tasks["train b round 1"].pods) == 2 and "train round 1" not in tasks


def status(command: Command, backend: Backend, recording: str) -> tuple[str, dict[str, Any], Any]:
    """Start a run that goes like a recorded one; return its id, its last report, and what asks for its status."""
    backend.recording = recording
    run_id = command(*SUBMIT, "--no-follow").output.split()[-1]
    backend.reports[run_id] = backend.reports[run_id][-1:]
    return run_id, backend.reports[run_id][0], lambda: command("status", run_id)


def test_a_failure_ends_with_its_task_its_log_and_the_way_to_the_rest(
    command: Command, backend: Backend, cluster_of_pods: Kubernetes
) -> None:
    run_id, _, ask = status(command, backend, "run-failed-train")
    killed = {"state": {"terminated": {"exitCode": 1, "reason": "Error", "finishedAt": "2026-11-29T06:53:50Z"}}}
    cluster_of_pods.pods = [training(run_id, "km", "2026-11-29T06:53:24Z", phase="Failed", main=killed)]
    log = [f"epoch {number}" for number in range(40)] + ["error: the training was killed (-9)"]
    cluster_of_pods.logs["impl-km-0653"] = "\n".join(log)
    said = ask().output
    assert "train km round 1         failed" in said
    assert "train km round 1: failed (exit code 1); the end of its log:" in said
    assert "    error: the training was killed (-9)" in said and "epoch 39" in said and "epoch 5\n" not in said
    assert "kubectl -n kubeflow logs impl-km-0653 -c main" in said


def test_a_failed_driver_ends_with_the_drivers_log(
    command: Command, backend: Backend, cluster_of_pods: Kubernetes
) -> None:
    run_id, _, ask = status(command, backend, "run-replay-driver-failed")
    node = "skeletonagent-replay-train-8tqjg.root(0).train-driver(0)"
    cluster_of_pods.pods = [pod("driver-1", run=run_id, phase="Failed", node=node)]
    cluster_of_pods.logs["driver-1"] = 'cannot find producer task "importer-2_41"'
    said = ask().output
    assert "KFP's driver for it failed; the end of its log" in said or "KFP's driver for it failed" in said
    assert 'cannot find producer task "importer-2_41"' in said


def test_a_run_that_fails_before_its_first_pod_says_what_argo_says(
    command: Command, backend: Backend, cluster_of_pods: Kubernetes
) -> None:
    run_id, report, ask = status(command, backend, "run-failed-preprocess")
    del report["run_details"]
    cluster_of_pods.workflows = [
        {
            "metadata": {"name": "skeletonagent-x7", "labels": {"pipeline/runid": run_id}},
            "status": {"phase": "Error", "message": "configmaps is forbidden"},
        }
    ]
    event = {"type": "Warning", "reason": "WorkflowFailed", "message": "cannot create resource configmaps"}
    cluster_of_pods.events["skeletonagent-x7"] = [event]
    said = ask().output
    assert "Argo: configmaps is forbidden" in said and "Argo: WorkflowFailed: cannot create resource configmaps" in said


def test_a_pod_that_waits_is_told_with_its_reason_and_the_numbers(
    command: Command, backend: Backend, cluster_of_pods: Kubernetes
) -> None:
    backend.recording = "run-terminated"
    run_id = command(*SUBMIT, "--no-follow").output.split()[-1]
    backend.reports[run_id] = [r for r in backend.reports[run_id] if r["state"] == "RUNNING"][-1:]
    asks = {"phase": "Pending", "conditions": UNSCHEDULED, "requests": {"cpu": "4"}}
    waiting = datetime.now(UTC) - timedelta(seconds=40)
    cluster_of_pods.pods = [pod("impl-1", run=run_id, stage="preprocess", created=waiting, **asks)]
    said = command("status", run_id).output
    assert "preprocess               waiting" in said
    assert "preprocess waits: Insufficient CPU: asks 4, the node has 2\n" in said
    cluster_of_pods.pods = [pod("impl-1", run=run_id, stage="preprocess", created=datetime.now(UTC), **asks)]
    assert "Insufficient" not in command("status", run_id).output, "a pod that has just come is not in trouble"


def test_without_the_right_to_see_pods_there_is_less_to_tell(
    command: Command, backend: Backend, cluster_of_pods: Kubernetes
) -> None:
    cluster_of_pods.forbidden = True
    _, _, ask = status(command, backend, "run-failed-train")
    result = ask()
    assert result.exit_code == 0 and "train round 1: failed; its pod is gone" in result.output


def test_success_ends_with_accuracy_and_report(
    command: Command, backend: Backend, cluster_of_pods: Kubernetes, tmp_path: Path
) -> None:
    run_id, _, ask = status(command, backend, "run-all-cached")
    made = tmp_path / "store" / "report"
    metrics = {"headline": {"streams": ["j", "b"], "top1": 0.875}}
    made.mkdir(parents=True)
    (made / "metrics.json").write_text(json.dumps(metrics))
    (made / "report.html").write_text("<html>")
    outputs = {"report": str(made)}
    cluster_of_pods.pods = [pod("impl-9", run=run_id, stage="evaluate", phase="Succeeded", outputs=outputs)]
    said = ask().output
    assert "ensemble of j, b: top-1 87.5%" in said
    assert (
        f"report: build/runs/{run_id}/report.html" in said
        and (tmp_path / "build/runs" / run_id / "report.html").is_file()
    )
    assert report_contract.SCHEMA


def test_success_without_a_store_here_says_where_the_report_is(command: Command, backend: Backend) -> None:
    _, _, ask = status(command, backend, "run-all-cached")
    said = ask().output
    assert "in the user interface" in said and "not fetched here: S3 credentials: environment variable not set" in said


@pytest.mark.parametrize(
    ("pages", "variable", "expected"),
    [
        (False, "", "kubectl -n kubeflow port-forward svc/ml-pipeline-ui 8080:80, then http://localhost:8080/#/runs/"),
        (True, "", "{host}/#/runs/details/"),
        (False, "https://lab/pipeline/", "https://lab/pipeline/#/runs/details/"),
    ],
)
def test_the_link_leads_to_the_user_interface(
    command: Command,
    backend: Backend,
    host: str,
    monkeypatch: pytest.MonkeyPatch,
    pages: bool,
    variable: str,
    expected: str,
) -> None:
    backend.pages = pages
    monkeypatch.setenv("KFP_UI", variable)
    _, _, ask = status(command, backend, "run-all-cached")
    assert expected.format(host=host) in ask().output


def test_the_stand_in_answers_nothing_that_a_real_one_does_not(command: Command, backend: Backend) -> None:
    """Every field of its runs, pipelines and experiments is one of the recordings."""
    known = {
        "runs": set().union(
            *(kfp_recordings.fields(kfp_recordings.recorded(f.stem)) for f in kfp_recordings.FOLDER.glob("run-*.json"))
        ),
        "pipelines": kfp_recordings.fields(kfp_recordings.recorded("pipelines")["pipelines"][0]),
        "experiments": kfp_recordings.fields(kfp_recordings.recorded("experiments")["experiments"][-1]),
    }
    assert command(*SUBMIT).exit_code == 0 and command("status").exit_code == 0
    seen = set()
    for path, answer in backend.answered:
        kind = path.removeprefix("/apis/v2beta1/").partition("/")[0]
        if kind not in known or path.endswith("/versions") or "upload" in path:
            continue
        items = answer.get(kind, [answer]) if isinstance(answer, dict) else []
        for item in items:
            if "total_size" not in item and "code" not in item:
                seen.add(kind)
                assert kfp_recordings.fields(item) <= known[kind], path
    assert seen == known.keys()


def test_labels_of_tasks() -> None:
    def label(name: str, number: int, stream: str) -> str:
        return Task(name, number, stream, "running", None, 0).label

    assert label("agent-prior", 0, "") == "agent prior" and label("train-job", 2, "jm") == "train jm round 2"
