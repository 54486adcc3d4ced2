"""The experiment of a run on a cluster: by the name of a preset, by URI, or as text; and its parts, one per stage."""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from components.contracts.artifact import sha256_file
from components.contracts.config import Experiment, parse_experiment
from components.contracts.errors import InputError
from components.runtime.cli import Exchange
from components.runtime.store import S3_SCHEMES

PRESETS = Path(__file__).resolve().parents[2] / "pipelines" / "configs"
"""The experiments that come with the project; the image of ``preprocess`` has them at the same place."""
LARGEST_PARAMETER = 100_000
"""Bytes of one stage's configuration. Linux takes 131,072 bytes as one argument of a process, and Argo keeps a task
that is larger in a ConfigMap, which KFP's role for it may not create; the rest is for the other inputs."""

_URI = re.compile(r"(?P<uri>\S+?)(@sha256:(?P<sha256>[0-9a-f]{64}))?")


@dataclass(frozen=True)
class Parts:
    """What the stages are given, each as ``Section.to_parameter`` writes it; ``train`` by stream."""

    preprocess: str
    agent: str
    evaluate: str
    baseline: str
    train: dict[str, str]


def presets() -> dict[str, Path]:
    """Return the files of the experiments that come with the project, by their names."""
    return {file.stem: file for file in sorted(PRESETS.glob("*.yaml"))}


def presets_digest() -> str:
    """Return the SHA-256 (hex) of all presets: a cache that knows it never serves those of another version."""
    digest = hashlib.sha256()
    for name, file in presets().items():
        digest.update(f"{name}\0".encode() + file.read_bytes() + b"\0")
    return digest.hexdigest()


def is_uri(config: str) -> bool:
    """Tell whether an experiment is named by a URI of the object store."""
    return config.strip().partition("://")[0] in S3_SCHEMES


def read_experiment_of_run(config: str, overrides: dict[str, Any]) -> Experiment:
    """Return the experiment that the parameter ``config`` of a run means.

    Args:
        config: the name of a preset; ``s3://bucket/my.yaml``, with ``@sha256:<hex>`` after it if its content is to be
            checked; or YAML text.
        overrides: dotted keys that replace values of the experiment.

    Raises:
        InputError: none of the three, or not valid.
        UnavailableError: the object store does not serve now.
    """
    given = config.strip()
    if is_uri(given):
        return _fetched(given, overrides)
    if file := presets().get(given):
        return parse_experiment(file.read_text(encoding="utf-8"), given, overrides)
    if ":" not in given:
        known = ", ".join(presets())
        raise InputError(f"found {given!r}, expected s3://bucket/my.yaml, YAML text, or one of {known}", at="config")
    return parse_experiment(config, "config", overrides)


def cut(experiment: Experiment) -> Parts:
    """Give every stage its own part of an experiment, so that each stage's cache knows only its own.

    Raises:
        InputError: a part is too large for a parameter of KFP, even when it is compressed.
    """
    parts = Parts(
        experiment.stage_preprocess().to_parameter(),
        experiment.stage_agent().to_parameter(),
        experiment.stage_evaluate().to_parameter(),
        experiment.stage_baseline().to_parameter(),
        {stream: experiment.stage_train(stream).to_parameter() for stream in experiment.streams},
    )
    largest = max(map(len, (parts.preprocess, parts.agent, parts.evaluate, parts.baseline, *parts.train.values())))
    if largest > LARGEST_PARAMETER:
        raise InputError(
            f"{len(experiment.data.classes)} classes make a configuration of {largest // 1000} kB for each task, "
            f"compressed; Kubernetes takes {LARGEST_PARAMETER // 1000} kB: shorter names of classes are the way round",
            at="config",
        )
    return parts


def _fetched(config: str, overrides: dict[str, Any]) -> Experiment:
    named = _URI.fullmatch(config)
    if not named:
        raise InputError(f"found {config!r}, expected s3://bucket/my.yaml or s3://bucket/my.yaml@sha256:…", at="config")
    with Exchange() as exchange:
        file = exchange.input(named["uri"])
        if named["sha256"] and (found := sha256_file(file)) != named["sha256"]:
            raise InputError(f"SHA-256 {found} found, {named['sha256']} expected", at=named["uri"])
        return parse_experiment(file.read_text(encoding="utf-8"), named["uri"], overrides)
