"""What the pipeline asks of Kubernetes: resources, retries, time-outs, secrets, images.

The local run knows nothing of this: its pipeline is made without a ``Cluster``. The names of the Secrets and of the
ConfigMap are those of ``k8s/base``; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum
from typing import Any

from kfp import kubernetes
from kfp.dsl import PipelineTask

CONFIG_MAP = "skeletonagent"
CONFIG_KEYS = ("S3_ENDPOINT", "AWS_REGION", "S3_PATH_STYLE", "SKELETONAGENT_BUCKET", "SKELETONAGENT_RESUME")
S3_SECRET, TOKEN_SECRET, LLM_SECRET = "skeletonagent-s3", "skeletonagent-agent", "skeletonagent-llm"
SECRETS = {
    S3_SECRET: ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"),
    TOKEN_SECRET: ("SKELETONAGENT_AGENT_TOKEN",),
    LLM_SECRET: ("OPENAI_API_KEY",),
}
"""Every Secret with its keys, which are the names of the environment variables too."""

STAGE_LABEL = "skeletonagent.io/stage"
METRICS_PORT = 9400
SHARED_MEMORY = "2Gi"

HOUR = 3600
TIMEOUT_S = {
    "configure": HOUR // 4,
    "preprocess": 12 * HOUR,
    "agent": 6 * HOUR,
    "train": 96 * HOUR,
    "train-job": 96 * HOUR,
    "baseline": HOUR,
    "model": HOUR,
    "evaluate": HOUR,
}
"""Longest life of a task's pod; a pod that hangs must not hold a GPU for ever."""
IMAGE_OF = {"configure": "preprocess", "train-job": "train", "baseline": "train", "model": "train"}
USING_STORE = ("configure", "preprocess", "train", "train-job", "agent")
"""Stages that read or write the object store themselves: the experiment, the data, what survives a kill, answers."""

# glibc gives every large tensor back to the kernel and takes it anew; keeping it halves the time of a step on CPU.
ALLOCATOR = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": str(2**40)}


@dataclass(frozen=True)
class Placement:
    """Where the training runs: values, or parameters of the pipeline that it is part of.

    ``gpus`` is text: KFP's driver reads what becomes part of a pod as text, and takes a number for nothing, without
    a word. It also makes ``gpus`` and ``accelerator`` part of the cache key, but not the other two.
    """

    gpus: Any
    accelerator: Any
    node_selector: Any
    tolerations: Any


class TrainingKind(StrEnum):
    """What trains: the task's own pod, or a TrainJob of Kubeflow Trainer."""

    POD = "pod"
    TRAINJOB = "trainjob"


@dataclass(frozen=True)
class Resources:
    """What a pod asks for (Kubernetes quantities); its memory is its limit too."""

    cpu: str
    memory: str


RESOURCES = {
    "configure": Resources("250m", "512Mi"),
    "preprocess": Resources("2", "4Gi"),
    "agent": Resources("1", "2Gi"),
    "train": Resources("4", "24Gi"),
    "train-job": Resources("250m", "2Gi"),
    "baseline": Resources("1", "4Gi"),
    "model": Resources("250m", "2Gi"),
    "evaluate": Resources("1", "4Gi"),
}
"""By stage, where an overlay says nothing else; ``train`` is also each node of a TrainJob, ``train-job`` the task that
waits for it."""


@dataclass(frozen=True)
class Cluster:
    """Dresses tasks for a cluster.

    ``images``: reference of each stage's image. ``resources`` (by stage; those of ``RESOURCES`` where it says nothing)
    are fixed when the pipeline is compiled: as parameters of a run they would be part of the cache key, and more memory
    for one stream would train all others again. ``nodes`` counts for TrainJobs.
    """

    images: Mapping[str, str]
    resources: Mapping[str, Resources] = field(default_factory=dict)
    trainer: TrainingKind = TrainingKind.POD
    nodes: int = 1

    def resources_of(self, stage: str) -> Resources:
        """Return what a stage's pods ask for."""
        return self.resources.get(stage, RESOURCES[stage])

    def dress(self, task: PipelineTask, stage: str) -> PipelineTask:
        """Set what every task of a stage needs, and return it."""
        image = self.images[IMAGE_OF.get(stage, stage)]
        task.set_container_image(image)
        # For a node that goes away or a pod that is evicted; each waits twice as long as the last. KFP's installation
        # sets Argo's policy to OnError, which leaves out processes that end by themselves with an error.
        task.set_retry(num_retries=3, backoff_duration="30s", backoff_factor=2, backoff_max_duration="1800s")
        task.set_caching_options(True)
        kubernetes.set_timeout(task, TIMEOUT_S[stage])
        kubernetes.add_pod_label(task, STAGE_LABEL, stage)
        asked = self.resources_of(stage)
        task.set_cpu_request(asked.cpu).set_memory_request(asked.memory).set_memory_limit(asked.memory)
        if stage in USING_STORE:
            kubernetes.use_config_map_as_env(task, CONFIG_MAP, {key: key for key in CONFIG_KEYS}, optional=True)
            _secret(task, S3_SECRET)
        if stage == "train-job":
            node = self.resources_of("train")
            for name, value in {"CPU": node.cpu, "MEMORY": node.memory, "IMAGE": image}.items():
                task.set_env_variable(f"SKELETONAGENT_TRAIN_{name}", value)
        if stage == "agent":
            _secret(task, TOKEN_SECRET)
            _secret(task, LLM_SECRET)
        return task

    def place(self, task: PipelineTask, placement: Placement) -> PipelineTask:
        """Set what a training task needs on top."""
        task.set_accelerator_type(placement.accelerator).set_accelerator_limit(placement.gpus)
        kubernetes.add_node_selector_json(task, placement.node_selector)
        kubernetes.add_toleration_json(task, placement.tolerations)
        # DDP's processes and torch's workers exchange tensors in /dev/shm, of which a container has 64 MB by default.
        kubernetes.empty_dir_mount(task, "shared-memory", "/dev/shm", medium="Memory", size_limit=SHARED_MEMORY)
        for name, value in {**ALLOCATOR, "METRICS_PORT": str(METRICS_PORT)}.items():
            task.set_env_variable(name, value)
        return task


def _secret(task: PipelineTask, name: str) -> None:
    """Refer to a Secret. It may be absent: a run that needs none of it starts without."""
    kubernetes.use_secret_as_env(task, name, {key: key for key in SECRETS[name]}, optional=True)
