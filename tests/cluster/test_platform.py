"""What the compiled pipeline asks of Kubernetes, as KFP's backend reads it."""

from __future__ import annotations

import re
from decimal import Decimal
from pathlib import Path
from typing import Any

import pytest
import yaml
from google.protobuf import json_format
from kfp import compiler
from kfp.kubernetes import kubernetes_executor_config_pb2 as kubernetes_pb2
from kfp.pipeline_spec import pipeline_spec_pb2
from kubernetes.utils.quantity import parse_quantity
from manifests import NAMES, of_kind, pod_specs

from components.contracts.errors import InputError
from pipelines.cluster.overlay import load_overlay
from pipelines.cluster.package import compile_package
from pipelines.cluster.replay import Target, make_replay
from pipelines.images import STAGES, image_references
from pipelines.platform import CONFIG_MAP, RESOURCES, SECRETS, STAGE_LABEL, Cluster, Resources

Document = dict[str, Any]
DIGEST = "registry.example/lab/train@sha256:" + "a" * 64
CLUSTER = Cluster(image_references([f"train={DIGEST}"], "7.1"), {"train": Resources("6", "20Gi")})


@pytest.fixture(scope="module")
def documents(tmp_path_factory: pytest.TempPathFactory) -> tuple[Document, Document]:
    file = tmp_path_factory.mktemp("ir") / "pipeline.yaml"
    compile_package(file, rounds=2, cluster=CLUSTER)
    spec, platform = yaml.safe_load_all(file.read_text())
    return spec, platform


def stage(label: str) -> str:
    return re.sub(r"-\d+$", "", label.removeprefix("exec-"))


def executors(documents: tuple[Document, Document]) -> dict[str, tuple[Document, Document]]:
    spec, platform = documents
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    return {
        label: (executor["container"], settings[label])
        for label, executor in spec["deploymentSpec"]["executors"].items()
    }


def test_both_documents_parse(documents: tuple[Document, Document]) -> None:
    spec, platform = documents
    json_format.ParseDict(spec, pipeline_spec_pb2.PipelineSpec())
    json_format.ParseDict(platform, pipeline_spec_pb2.PlatformSpec())
    for _, settings in executors(documents).values():
        json_format.ParseDict(settings, kubernetes_pb2.KubernetesExecutorConfig())


def test_every_task_is_tried_again_later_and_never_hangs(documents: tuple[Document, Document]) -> None:
    spec, _ = documents
    tasks = [
        task
        for component in [spec["root"], *spec["components"].values()]
        for task in component.get("dag", {}).get("tasks", {}).values()
        if "executorLabel" in spec["components"][task["componentRef"]["name"]]
    ]
    assert len(tasks) == 9
    for task in tasks:
        policy = task["retryPolicy"]
        assert policy["maxRetryCount"] == 3 and policy["backoffDuration"] == "30s" and policy["backoffFactor"] == 2
        assert task["cachingOptions"] == {"enableCache": True}
    for label, (_, settings) in executors(documents).items():
        assert 0 < int(settings["activeDeadlineSeconds"]) <= 4 * 24 * 3600, label


def test_training_gets_its_devices_memory_and_place(documents: tuple[Document, Document]) -> None:
    for label, (container, settings) in executors(documents).items():
        resources = container["resources"]
        if stage(label) != "train":
            assert "accelerator" not in resources and "nodeSelector" not in settings, label
            continue
        assert resources["resourceCpuRequest"] == "6"
        assert resources["resourceMemoryRequest"] == resources["resourceMemoryLimit"] == "20Gi"
        assert "pipelinechannel--gpus" in resources["accelerator"]["resourceCount"]
        assert settings["nodeSelector"]["nodeSelectorJson"] == {"componentInputParameter": "node_selector"}
        assert settings["tolerations"] == [{"tolerationJson": {"componentInputParameter": "tolerations"}}]
        (memory,) = settings["emptyDirMounts"]
        assert (memory["mountPath"], memory["medium"]) == ("/dev/shm", "Memory")


def test_settings_of_kubernetes_name_parameters_that_their_pipeline_has(documents: tuple[Document, Document]) -> None:
    """A reference to nothing compiles, and fails on the cluster; within a loop KFP makes such ones."""
    spec, _ = documents
    inputs = spec["components"]["comp-for-loop-1"]["inputDefinitions"]["parameters"]
    for label, (_, settings) in executors(documents).items():
        named = re.findall(r"'componentInputParameter': '([^']+)'", str(settings))
        assert set(named) <= inputs.keys(), label
        assert "pipelinechannel" not in str(settings), label
    assert inputs["gpus"]["parameterType"] == "STRING", "the driver takes a number for nothing"


def test_secrets_come_by_reference_and_only_where_they_are_needed(documents: tuple[Document, Document]) -> None:
    needed = {
        "configure": {"skeletonagent-s3"},  # an experiment may be in the bucket
        "evaluate": set(),
        "baseline": set(),
        "model": set(),
        "preprocess": {"skeletonagent-s3"},
        "train": {"skeletonagent-s3"},
        "agent": set(SECRETS),
        "agent-prior": set(SECRETS),
    }
    maps = {item["metadata"]["name"]: item["data"] for item in of_kind("local", "ConfigMap")}
    for label, (_, settings) in executors(documents).items():
        used = {entry["secretName"]: entry for entry in settings.get("secretAsEnv", [])}
        assert used.keys() == needed[stage(label)], label
        for name, entry in used.items():
            assert entry["optional"] is True, "an offline run must start without secrets"
            assert {item["secretKey"] for item in entry["keyToEnv"]} <= set(SECRETS[name])
        for entry in settings.get("configMapAsEnv", []):
            assert entry["configMapName"] == CONFIG_MAP
            assert {item["configMapKey"] for item in entry["keyToEnv"]} <= maps[CONFIG_MAP].keys()


def test_pods_carry_the_labels_that_policies_and_monitors_select(documents: tuple[Document, Document]) -> None:
    labels = {stage(label): settings["podMetadata"]["labels"] for label, (_, settings) in executors(documents).items()}
    assert labels["train"] == {STAGE_LABEL: "train"} and labels["agent"] == labels["agent-prior"] == {
        STAGE_LABEL: "agent"
    }
    assert {"local", "gpu"} <= set(NAMES)


def test_images_are_those_that_were_asked_for(documents: tuple[Document, Document]) -> None:
    images = {stage(label): container["image"] for label, (container, _) in executors(documents).items()}
    assert images["train"] == DIGEST
    assert images["agent"] == images["agent-prior"] == "skeletonagent-agent:7.1"
    assert images["configure"] == images["preprocess"] == "skeletonagent-preprocess:7.1"


@pytest.mark.parametrize(
    ("given", "tag", "message"),
    [
        (["train=lab/train:latest"], None, "expected a fixed tag (not latest) or a digest"),
        (["train=lab/train"], None, "expected a fixed tag"),
        (["trainer=lab/train:1"], None, "expected STAGE=REFERENCE with one of preprocess, train, agent, evaluate"),
        ([], "latest", "expected a fixed tag"),
    ],
)
def test_images_that_change_under_their_name_are_refused(given: list[str], tag: str | None, message: str) -> None:
    with pytest.raises(InputError, match=re.escape(message)):
        image_references(given, tag)


def test_every_parameter_has_a_description_and_all_but_two_a_default(documents: tuple[Document, Document]) -> None:
    parameters = documents[0]["root"]["inputDefinitions"]["parameters"]
    assert all(about.get("description") for about in parameters.values())
    assert {name for name, about in parameters.items() if "defaultValue" not in about} == {"data", "config"}


def test_tasks_are_named_for_people(documents: tuple[Document, Document]) -> None:
    tasks = documents[0]["components"]["comp-for-loop-1"]["dag"]["tasks"]
    names = {task["taskInfo"]["name"] for task in tasks.values()}
    assert names == {"train round 1", "train round 2", "agent round 1"}


@pytest.mark.parametrize("name", [*STAGES, "baseline", "model"])
def test_a_repeated_task_asks_for_the_same_as_in_the_pipeline(
    documents: tuple[Document, Document], tmp_path: Path, name: str
) -> None:
    target = Target(name, "j", 1, 2, ("j", "b"))
    uris = {need: f"s3://lab/{need.name}-{need.stream}" for need in target.needs()}
    compiler.Compiler().compile(make_replay(target, uris, CLUSTER), str(tmp_path / "replay.yaml"))
    spec, platform = yaml.safe_load_all((tmp_path / "replay.yaml").read_text())
    label = f"exec-{name}"
    settings = platform["platforms"]["kubernetes"]["deploymentSpec"]["executors"][label]
    container = spec["deploymentSpec"]["executors"][label]["container"]
    before, before_settings = executors(documents)[label]
    assert container["image"] == before["image"]
    assert container["resources"] == before["resources"]
    for key in ("secretAsEnv", "configMapAsEnv", "emptyDirMounts", "activeDeadlineSeconds", "podMetadata"):
        assert settings.get(key) == before_settings.get(key), key
    for where in [spec["root"], *spec["components"].values()]:
        for task_name, task in where.get("dag", {}).get("tasks", {}).items():
            if "importer" in task["componentRef"]["name"]:
                assert task["taskInfo"]["name"] == task_name, "KFP does not find the output of one with another name"
                assert "parameterExpressionSelector" not in str(task["inputs"]), "an importer passes over it"


def test_every_overlay_says_what_each_stage_asks_for() -> None:
    for name in NAMES:
        assert load_overlay(name).cluster.resources.keys() == RESOURCES.keys(), name


def test_the_local_overlay_fits_two_cores_and_6_gib_beside_kfp() -> None:
    """KFP asks for 0.55 CPU; the services of the overlay, and what runs at once of two streams, get the rest."""
    asked = load_overlay("local").cluster.resources
    services = [container for _, spec in pod_specs("local") for container in spec["containers"]]
    for resource, limit in (("cpu", Decimal(2) - Decimal("0.55")), ("memory", Decimal(6 * 2**30))):
        standing = sum(parse_quantity(each["resources"]["requests"][resource]) for each in services)
        at_once = [
            [*2 * ["train"], "baseline"],
            ["preprocess", "agent"],
            2 * ["agent"],
            ["evaluate", "model"],
            ["configure"],
            ["train-job", "train", "train"],
        ]
        for stages in at_once:
            tasks = sum(parse_quantity(getattr(asked[stage], resource)) for stage in stages)
            assert standing + tasks <= limit, (resource, stages)
