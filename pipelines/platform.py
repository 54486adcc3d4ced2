"""What the pipeline asks of Kubernetes: resources, retries, time-outs, secrets, images.

The local run knows nothing of this: its pipeline is made without a ``Cluster``. The names of the Secrets and of the
ConfigMap are those of ``k8s/base``; a test compares them.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
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
    "evaluate": HOUR,
}
"""Longest life of a task's pod; a pod that hangs must not hold a GPU for ever."""
MEMORY = {"configure": "512Mi", "preprocess": "4Gi", "agent": "2Gi", "train-job": "2Gi", "evaluate": "4Gi"}
CPU = {"configure": "250m", "preprocess": "2", "agent": "1", "train-job": "250m", "evaluate": "1"}
IMAGE_OF = {"configure": "preprocess", "train-job": "train"}

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


class Trainer(StrEnum):
    """What trains: the task's own pod, or a TrainJob of Kubeflow Trainer."""

    POD = "pod"
    TORCHJOB = "torchjob"


@dataclass(frozen=True)
class Cluster:
    """Dresses tasks for a cluster.

    ``images``: reference of each stage's image. ``train_cpu`` and
    ``train_memory`` (Kubernetes quantities) are fixed when the pipeline is compiled: as parameters of a run they would
    be part of the cache key, and more memory for one stream would train all others again. ``nodes`` counts for
    TrainJobs.
    """

    images: Mapping[str, str]
    train_cpu: str = "4"
    train_memory: str = "24Gi"
    trainer: Trainer = Trainer.POD
    nodes: int = 1

    def dress(self, task: PipelineTask, stage: str) -> PipelineTask:
        """Set what every task of a stage needs, and return it."""
        image = self.images[IMAGE_OF.get(stage, stage)]
        task.set_container_image(image)
        # A node that goes away or a pod that is evicted is worth another try; each waits twice as long as the last.
        task.set_retry(num_retries=3, backoff_duration="30s", backoff_factor=2, backoff_max_duration="1800s")
        task.set_caching_options(True)
        kubernetes.set_timeout(task, TIMEOUT_S[stage])
        kubernetes.add_pod_label(task, STAGE_LABEL, stage)
        memory = MEMORY.get(stage, self.train_memory)
        task.set_cpu_request(CPU.get(stage, self.train_cpu)).set_memory_request(memory).set_memory_limit(memory)
        if stage in ("preprocess", "train", "train-job", "agent"):
            kubernetes.use_config_map_as_env(task, CONFIG_MAP, {key: key for key in CONFIG_KEYS}, optional=True)
            _secret(task, S3_SECRET)
        if stage == "train-job":
            for name, value in {"CPU": self.train_cpu, "MEMORY": self.train_memory, "IMAGE": image}.items():
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
