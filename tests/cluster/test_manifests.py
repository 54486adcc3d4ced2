"""Every overlay builds, every object is valid, and what refers to something finds it."""

from __future__ import annotations

import re
from ipaddress import ip_address, ip_network
from pathlib import Path
from typing import Any

import jsonschema
import kubernetes_validate
import pytest
from kubeflow_trainer_api.models.trainer_v1alpha1_training_runtime import TrainerV1alpha1TrainingRuntime
from manifests import NAMES, built, of_kind, pod_specs, walk
from schemas import SCHEMAS

from components.runtime.store.connection import Settings
from components.runtime.task import image
from pipelines.cluster.overlay import load_overlay
from pipelines.dag import make_pipeline
from pipelines.images import STAGES
from pipelines.platform import CONFIG_KEYS, CONFIG_MAP, METRICS_PORT, SECRETS, STAGE_LABEL

VERSIONS = ("1.28", "1.31", "1.34", "1.37")
every_overlay = pytest.mark.parametrize("name", NAMES)


def test_the_overlays_are_those_that_the_documentation_names(repository: Path) -> None:
    assert set(NAMES) == {"local", "gpu", "byo-s3"}
    text = (repository / "k8s" / "README.md").read_text()
    assert all(f"overlays/{name}" in text for name in NAMES)


@every_overlay
@pytest.mark.parametrize("version", VERSIONS)
def test_objects_are_valid_for_kubernetes(name: str, version: str) -> None:
    """Strict: a field that Kubernetes does not know is an error, since the API server would drop it silently."""
    for item in built(name):
        if item["kind"] not in {*SCHEMAS, "TrainingRuntime"}:
            kubernetes_validate.validate(item, version, strict=True)


@every_overlay
def test_objects_of_other_kinds_are_valid(name: str) -> None:
    for item in built(name):
        if item["kind"] in SCHEMAS:
            jsonschema.validate(item, SCHEMAS[item["kind"]])


def test_the_training_runtime_is_valid_for_kubeflow_trainer() -> None:
    (runtime,) = of_kind("gpu", "TrainingRuntime")
    parsed = TrainerV1alpha1TrainingRuntime.from_dict(runtime)
    assert parsed is not None
    assert parsed.to_dict() == runtime, "a field that the API does not know was dropped"


@every_overlay
def test_names_do_not_collide_and_everything_is_in_the_namespace(name: str) -> None:
    overlay = load_overlay(name)
    keys = [(item["kind"], item["metadata"]["name"]) for item in built(name)]
    assert len(keys) == len(set(keys))
    for item in built(name):
        if item["kind"] != "PriorityClass":
            assert item["metadata"]["namespace"] == overlay.namespace
        for subject in item.get("subjects", []):
            assert subject["namespace"] == overlay.namespace, "a RoleBinding's account is in the runs' namespace"


@every_overlay
def test_every_referenced_key_is_defined(name: str) -> None:
    """Secrets are those that deploy looks for; ConfigMaps are part of the overlay."""
    maps = {item["metadata"]["name"]: item.get("data", {}).keys() for item in of_kind(name, "ConfigMap")}
    for item in built(name):
        for inner in walk(item):
            if reference := inner.get("secretKeyRef"):
                assert reference["key"] in SECRETS[reference["name"]]
            if reference := inner.get("configMapKeyRef"):
                assert reference["key"] in maps[reference["name"]]
            if reference := inner.get("configMapRef"):
                assert reference["name"] in maps
    assert set(CONFIG_KEYS) <= maps[CONFIG_MAP]
    assert not of_kind(name, "Secret"), "no secret is ever part of the manifests"


@every_overlay
def test_settings_and_secrets_are_what_the_object_store_reads(name: str) -> None:
    (config,) = (item for item in of_kind(name, "ConfigMap") if item["metadata"]["name"] == CONFIG_MAP)
    secret = dict.fromkeys(SECRETS["skeletonagent-s3"], "x")
    settings = Settings.read({**config["data"], **secret})
    assert settings.endpoint == config["data"]["S3_ENDPOINT"]
    assert settings.region == config["data"]["AWS_REGION"]
    assert settings.path_style == (config["data"]["S3_PATH_STYLE"] == "true")


@every_overlay
def test_pods_meet_the_restricted_security_standard(name: str) -> None:
    for what, spec in pod_specs(name):
        pod = spec["securityContext"]
        assert pod["runAsNonRoot"] and pod["runAsUser"] and pod["seccompProfile"]["type"] == "RuntimeDefault", what
        assert spec["automountServiceAccountToken"] is False, what
        for container in spec["containers"]:
            context = container["securityContext"]
            assert context["allowPrivilegeEscalation"] is False and context["capabilities"] == {"drop": ["ALL"]}, what
        assert not any("hostPath" in volume for volume in spec.get("volumes", [])), what


@every_overlay
def test_pods_have_probes_requests_limits_and_a_fixed_image(name: str) -> None:
    for what, spec in pod_specs(name):
        for container in spec["containers"]:
            assert re.search(r":[\w][\w.-]*$|@sha256:", container["image"]) and ":latest" not in container["image"], (
                what
            )
            if "TrainingRuntime" not in what:  # a TrainJob says what each node asks for, and ends by itself
                assert {"readinessProbe", "livenessProbe"} <= container.keys(), what
                for kind in ("requests", "limits"):
                    assert {"cpu", "memory"} <= container["resources"][kind].keys(), what


@every_overlay
def test_selectors_find_the_pods_that_they_mean(name: str) -> None:
    labels = [
        (item["spec"]["template"]["metadata"]["labels"], item["metadata"]["name"])
        for item in of_kind(name, "Deployment", "StatefulSet")
    ]

    def matches(selector: dict[str, str], name: str) -> bool:
        return any(selector.items() <= pod.items() for pod, owner in labels if owner == name)

    for item in of_kind(name, "Service"):
        assert matches(item["spec"]["selector"], item["metadata"]["name"])
    for item in of_kind(name, "NetworkPolicy"):
        assert matches(item["spec"]["podSelector"]["matchLabels"], item["metadata"]["name"])


@every_overlay
def test_ports_and_probes_name_ports_that_exist(name: str) -> None:
    for _, spec in pod_specs(name):
        for container in spec["containers"]:
            ports = {port["name"] for port in container.get("ports", [])}
            for inner in walk([container.get(key, {}) for key in ("readinessProbe", "livenessProbe", "startupProbe")]):
                if "port" in inner:
                    assert inner["port"] in ports


@every_overlay
def test_the_tasks_of_the_pipeline_reach_what_they_are_told(name: str) -> None:
    """Defaults of a run name parameters of the pipeline, and its agent_url is the Service of the overlay."""
    defaults = load_overlay(name).defaults
    assert defaults.keys() <= make_pipeline(1).component_spec.inputs.keys()
    (service,) = (item for item in of_kind(name, "Service") if item["metadata"]["name"] == "skeletonagent-agent")
    assert defaults["agent_url"] == f"http://{service['metadata']['name']}:{service['spec']['ports'][0]['port']}"
    (policy,) = of_kind(name, "NetworkPolicy")
    allowed = [source.get("podSelector", {}).get("matchLabels") for source in policy["spec"]["ingress"][0]["from"]]
    assert {STAGE_LABEL: "agent"} in allowed


@every_overlay
def test_the_agent_is_one_process_and_never_two(name: str) -> None:
    (agent,) = (item for item in of_kind(name, "Deployment") if item["metadata"]["name"] == "skeletonagent-agent")
    assert (agent["spec"]["replicas"], agent["spec"]["strategy"]) == (1, {"type": "Recreate"})
    assert not of_kind(name, "HorizontalPodAutoscaler", "PodDisruptionBudget")


@every_overlay
def test_the_agent_reaches_no_metadata_service_of_a_cloud(name: str) -> None:
    """They hand out the node's credentials: 169.254.169.254 and, at one, an address of IPv6."""
    (policy,) = (item for item in of_kind(name, "NetworkPolicy") if item["metadata"]["name"] == "skeletonagent-agent")
    for rule in policy["spec"]["egress"]:
        assert rule["to"], "a rule without addresses allows all"
        for block in (peer["ipBlock"] for peer in rule["to"] if "ipBlock" in peer):
            for address in map(ip_address, ("169.254.169.254", "fd00:ec2::254", "100.100.100.200")):
                if address in ip_network(block["cidr"]):
                    assert any(address in ip_network(excepted) for excepted in block["except"])


@every_overlay
def test_images_are_those_of_the_stages(name: str) -> None:
    given = dict(reference.split("=", 1) for reference in load_overlay(name).images)
    assert given == {stage: image(stage) for stage in STAGES}
    used = {container["image"] for _, spec in pod_specs(name) for container in spec["containers"]}
    assert {reference for reference in used if "seaweedfs" not in reference} <= set(given.values())


def test_images_exist_as_build_targets(repository: Path) -> None:
    file = repository / "docker" / "Dockerfile"
    if not file.is_file():
        pytest.skip("docker/Dockerfile does not exist yet")
    targets = set(re.findall(r"^FROM\s.*\sAS\s+(\S+)", file.read_text(), re.MULTILINE | re.IGNORECASE))
    assert set(STAGES) <= targets


def test_training_pods_are_scraped_where_they_serve() -> None:
    (monitor,) = of_kind("gpu", "PodMonitor")
    assert monitor["spec"]["selector"]["matchLabels"] == {STAGE_LABEL: "train"}
    rules: list[dict[str, Any]] = monitor["spec"]["podMetricsEndpoints"][0]["relabelings"]
    assert f"$1:{METRICS_PORT}" in [rule.get("replacement") for rule in rules]
    (runtime,) = of_kind("gpu", "TrainingRuntime")
    ports = [inner["value"] for inner in walk(runtime) if inner.get("name") == "METRICS_PORT"]
    assert ports == [str(METRICS_PORT)]
