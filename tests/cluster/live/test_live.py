"""The whole of it on a real cluster, in the order in which a user meets it: about half an hour on two cores."""

from __future__ import annotations

import json
import os
import re
import time
from pathlib import Path
from typing import Any

import pytest
import yaml
from lab import Lab, timed, until
from small_experiment import CONFIG, write_pickle

from pipelines.cluster.overlay import load_overlay

FAST = ("--streams", "j", "--param", "gpus=0")
LONG = "train.epochs=800"
SEED = int(time.time()) % 1_000_000
"""KFP's cache outlives these tests, and would pass over what they are to see."""
TASKS = (
    "configure", "preprocess", "agent prior", "baseline", "train j round 1", "agent j round 1", "train j round 2",
    "model", "evaluate",
)  # fmt: skip
KILL_TRAINER = (
    # The process that has used most CPU time is the one that trains.
    "import os, re, signal\n"
    "def cpu(pid):\n"
    "    fields = open(f'/proc/{pid}/stat').read().rpartition(')')[2].split()\n"
    "    return int(fields[11]) + int(fields[12])\n"
    "pids = [int(name) for name in os.listdir('/proc') if re.fullmatch('[0-9]+', name)]\n"
    "pids = [pid for pid in pids if pid not in (1, os.getpid())]\n"
    "pids = [pid for pid in pids if b'python' in open(f'/proc/{pid}/cmdline', 'rb').read()]\n"
    "os.kill(max(pids, key=cpu), signal.SIGKILL)\n"
)


@pytest.fixture(scope="module")
def data(lab: Lab) -> str:
    """The tiny data in the overlay's bucket."""
    client, bucket = lab.data_store()
    file = write_pickle(lab.folder / "small.pkl")
    name = f"live/small-{SEED}.pkl"
    client.fput_object(bucket, name, str(file))
    lab.made.append((client, bucket, name))
    return f"s3://{bucket}/{name}"


@pytest.fixture(scope="module")
def config(lab: Lab) -> str:
    file = lab.folder / "small.yaml"
    ours = CONFIG.replace("small and synthetic", f"small and synthetic {SEED}")  # part of every stage's configuration
    file.write_text(f"{ours}\nseed: {SEED}\n")
    return str(file)


@pytest.fixture(scope="module")
def artifacts(lab: Lab) -> dict[str, str]:
    return lab.artifact_store()


def test_deploy_twice_changes_nothing_the_second_time(lab: Lab) -> None:
    with timed("deploy"):
        lab.pipelines("deploy", "--overlay", lab.overlay, "--create-secrets")
    with timed("deploy again") as notes:
        said = lab.pipelines("deploy", "--overlay", lab.overlay).stdout
        assert not re.search(r" (created|configured)$", said, re.MULTILINE), said
        assert "pipeline version" in said and ": unchanged" in said
        notes.append("unchanged")


def test_a_run_shows_its_tasks_and_ends_with_accuracy_and_report(
    lab: Lab, data: str, config: str, artifacts: dict[str, str]
) -> None:
    with timed("run of one stream, two rounds") as notes:
        arguments = ("submit", "--overlay", lab.overlay, "--data", data, "--config", config, *FAST)
        done = lab.pipelines(*arguments, **artifacts)
        lab.runs.append(re.findall(r"run ([0-9a-f-]{36}):", done.stdout)[0])
        lines = [line.split() for line in done.stdout.splitlines()]
        for task in (
            "configure",
            "preprocess",
            "agent prior",
            "baseline",
            "train j round 1",
            "agent j round 1",
            "train j round 2",
            "model",
            "evaluate",
        ):
            words = task.split()
            assert any(line[: len(words)] == words and "succeeded" in line for line in lines), f"{task}:\n{done.stdout}"
        (accuracy,) = re.findall(r"ensemble of j: top-1 ([\d.]+%)", done.stdout)
        (page,) = re.findall(r"report: (\S+)", done.stdout)
        assert "<html" in (lab.folder / page).read_text()[:500]
        notes.append(f"top-1 {accuracy}")


def test_the_same_again_comes_from_the_cache(lab: Lab, data: str, config: str) -> None:
    with timed("the same again, wholly cached") as notes:
        done = lab.pipelines("submit", "--overlay", lab.overlay, "--data", data, "--config", config, *FAST)
        run = re.findall(r"run ([0-9a-f-]{36}):", done.stdout)[0]
        lab.runs.append(run)
        pods = json.loads(lab.kubectl("get", "pods", "-l", f"pipeline/runid={run}", "-o", "json"))["items"]
        ours = [pod["metadata"]["name"] for pod in pods if "skeletonagent.io/stage" in pod["metadata"]["labels"]]
        started = [line for line in done.stdout.splitlines() if re.search(r" (running|waiting) ", line)]
        assert not ours and not started, (ours, started)
        notes.append(f"{len(pods)} pods of KFP's own")


@pytest.mark.parametrize(
    "task",
    [("preprocess",), ("agent", "--round", "0"), ("agent", "--stream", "j", "--round", "1"),
     ("train", "--stream", "j", "--round", "2"), ("baseline",), ("model",), ("evaluate",)],
    ids=" ".join,
)  # fmt: skip
def test_each_stage_is_repeated_around_the_artifacts_of_the_run(
    lab: Lab, artifacts: dict[str, str], task: tuple[str, ...]
) -> None:
    with timed(f"replay {' '.join(task)}"):
        done = lab.pipelines("replay", *task, "--run", lab.runs[0], "--overlay", lab.overlay, **artifacts)
        lab.runs.append(re.findall(r"run ([0-9a-f-]{36}): ", done.stdout)[-1])
        assert re.search(rf"^{task[0]}.* succeeded ", done.stdout, re.MULTILINE), done.stdout


def started(lab: Lab, data: str, config: str, seed: int) -> tuple[str, str]:
    """Start a long round; return the run and its training pod, once that has trained an epoch."""
    more = ("--rounds", "1", "--set", LONG, "--set", f"seed={SEED + seed}")
    run = lab.submit("--data", data, "--config", config, *FAST, *more)
    until(lambda: lab.training_pod(run), "a training pod", 420)
    pod = lab.training_pod(run)
    until(lambda: " s left" in lab.log(pod), "the first epochs", 180)
    return run, pod


def test_a_pod_that_is_deleted_in_mid_training_goes_on(lab: Lab, data: str, config: str) -> None:
    with timed("training pod deleted") as notes:
        run, pod = started(lab, data, config, seed=1)
        lab.kubectl("delete", "pod", pod, "--wait=false")
        until(lambda: lab.training_pod(run, without=(pod,)), "its successor", 300)
        successor = lab.training_pod(run, without=(pod,))
        until(lambda: "resuming after epoch" in lab.log(successor), "going on after an epoch", 180)
        notes.append(re.findall(r"resuming after epoch \d+", lab.log(successor))[0])
        assert lab.pipelines("status", run, "--follow", "--overlay", lab.overlay).returncode == 0


def test_a_trainer_that_is_killed_goes_on_in_its_pod(lab: Lab, data: str, config: str) -> None:
    with timed("trainer killed") as notes:
        run, pod = started(lab, data, config, seed=2)
        lab.kubectl("exec", pod, "-c", "main", "--", "python3", "-c", KILL_TRAINER)
        until(lambda: "resuming after epoch" in lab.log(pod), "going on after an epoch", 180)
        notes.append(re.findall(r"resuming after epoch \d+", lab.log(pod))[0])
        assert lab.pipelines("status", run, "--follow", "--overlay", lab.overlay).returncode == 0


def test_wrong_data_fail_with_their_reason_on_the_terminal(lab: Lab, data: str, config: str) -> None:
    with timed("data that do not exist") as notes:
        wrong = data.replace("small-", "absent-")
        arguments = ("submit", "--overlay", lab.overlay, "--data", wrong, "--config", config, *FAST)
        done = lab.pipelines(*arguments, check=False)
        lab.runs.append(re.findall(r"run ([0-9a-f-]{36}):", done.stdout)[0])
        assert done.returncode == 1, done.stdout
        (line,) = re.findall(r"^ +(error: .*absent-\d+\.pkl.*)$", done.stdout, re.MULTILINE)
        assert "preprocess: failed" in done.stdout and "kubectl -n" in done.stdout
        notes.append(line)


def test_a_trainjob_trains_on_two_nodes(lab: Lab, config: str, artifacts: dict[str, str], tmp_path: Path) -> None:
    if "trainjobs" not in lab.kubectl("api-resources", "--api-group=trainer.kubeflow.org", "-o", "name", check=False):
        pytest.skip("no Kubeflow Trainer in this cluster")
    with timed("round in a TrainJob of two nodes"), lab.with_store_of_kfp() as data:
        overlay = str(overlay_with_trainjobs(lab, tmp_path))
        lab.pipelines("deploy", "--overlay", overlay)
        try:
            arguments = ("submit", "--overlay", overlay, "--data", data, "--config", config, "--rounds", "1", *FAST)
            done = lab.pipelines(*arguments, "--set", f"seed={SEED + 3}", **artifacts)
            lab.runs.append(re.findall(r"run ([0-9a-f-]{36}):", done.stdout)[0])
            assert "ensemble of j" in done.stdout, done.stdout
        finally:
            ours = ("trainingruntimes.trainer.kubeflow.org/skeletonagent-torch", "role/skeletonagent-trainer")
            if "../../trainer" not in kustomization(lab).get("components", []):
                for name in (*ours, "rolebinding/skeletonagent-trainer"):
                    lab.kubectl("delete", name, "--ignore-not-found")
    lab.pipelines("deploy", "--overlay", lab.overlay)


def kustomization(lab: Lab) -> dict[str, Any]:
    document: dict[str, Any] = yaml.safe_load((load_overlay(lab.overlay).path / "kustomization.yaml").read_text())
    return document


def overlay_with_trainjobs(lab: Lab, folder: Path) -> Path:
    """Write an overlay on top of the given one whose rounds are TrainJobs, on the store where KFP keeps artifacts: the
    nodes read them by their URIs."""
    base = load_overlay(lab.overlay).path
    there = "../../trainer" in kustomization(lab).get("components", [])
    trainer = [] if there else [os.path.relpath(base.parents[1] / "trainer", folder)]
    literals = [f"S3_ENDPOINT=http://{lab.kfp_store}", "S3_PATH_STYLE=true", "SKELETONAGENT_BUCKET=mlpipeline",
                "SKELETONAGENT_RESUME=s3://mlpipeline/live/unfinished"]  # fmt: skip
    document = {
        "apiVersion": "kustomize.config.k8s.io/v1beta1",
        "kind": "Kustomization",
        "namespace": lab.namespace,
        "resources": [os.path.relpath(base, folder)],
        "components": trainer,
        "images": kustomization(lab)["images"],
        "configMapGenerator": [
            {
                "name": "skeletonagent",
                "behavior": "merge",
                "literals": literals,
                "options": {"disableNameSuffixHash": True},
            },
            {"name": "skeletonagent-settings", "behavior": "merge", "literals": literals},
        ],
    }
    (folder / "kustomization.yaml").write_text(yaml.safe_dump(document))
    compiled = yaml.safe_load((base / "compile.yaml").read_text()) | {"trainer": "trainjob", "nodes": 2}
    (folder / "compile.yaml").write_text(yaml.safe_dump(compiled))
    (folder / "run.yaml").write_text((base / "run.yaml").read_text())
    return folder


def test_undeploy_leaves_data_only(lab: Lab) -> None:
    with timed("undeploy") as notes:
        lab.pipelines("undeploy", "--overlay", lab.overlay)
        kinds = "deployment,statefulset,service,configmap,networkpolicy"
        left = lab.kubectl("get", kinds, "-l", "app.kubernetes.io/part-of=skeletonagent", "-o", "name").split()
        assert not left, left
        assert lab.kubectl("get", "secret", "skeletonagent-s3", "-o", "name").strip()
        notes.append("Secrets and volumes are left")
