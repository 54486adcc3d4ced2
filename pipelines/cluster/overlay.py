"""An overlay of ``k8s/overlays``: the one folder that says where and how the project runs on a cluster."""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError

from components.contracts.errors import InputError
from components.contracts.overrides import describe
from components.contracts.section import Positive, Section
from pipelines.images import image_references
from pipelines.platform import Cluster, Resources, TrainingKind

OVERLAYS = Path(__file__).resolve().parents[2] / "k8s" / "overlays"
OVERLAY_HELP = "Folder of k8s/overlays, or the path of one of your own."


@dataclass(frozen=True)
class Overlay:
    """``images``: STAGE=REFERENCE for every stage that it names; ``defaults``: of a run's parameters; ``cluster``: what
    the pipeline is compiled for."""

    path: Path
    namespace: str
    images: tuple[str, ...]
    defaults: dict[str, Any]
    cluster: Cluster

    @property
    def shown(self) -> str:
        """The path as people type it."""
        return os.path.relpath(self.path)


def load_overlay(name: str) -> Overlay:
    """Read an overlay by its name or path; ``InputError`` names the file and what is wrong in it."""
    path = OVERLAYS / name if (OVERLAYS / name).is_dir() else Path(name)
    if not (path / "kustomization.yaml").is_file():
        known = ", ".join(sorted(folder.name for folder in OVERLAYS.iterdir()))
        raise InputError(f"overlay {name}: no such folder with a kustomization.yaml; there are {known}")
    document = _mapping(path / "kustomization.yaml")
    namespace = document.get("namespace")
    if not isinstance(namespace, str):
        raise InputError(f"{path}/kustomization.yaml: namespace: missing; it names where the runs' pods are")
    defaults = _mapping(path / "run.yaml") if (path / "run.yaml").is_file() else {}
    images = tuple(_images(document))
    return Overlay(path, namespace, images, defaults, _cluster(path / "compile.yaml", images))


def _mapping(path: Path) -> dict[str, Any]:
    try:
        document = yaml.safe_load(path.read_text(encoding="utf-8")) or {}
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}", at=path) from None
    except yaml.YAMLError as error:
        raise InputError(f"not valid YAML: {getattr(error, 'problem', error)}", at=path) from None
    if not isinstance(document, dict):
        raise InputError(f"found {type(document).__name__}, expected a mapping", at=path)
    return document


def _cluster(file: Path, images: tuple[str, ...]) -> Cluster:
    """Return what the pipeline is compiled for: the images, and what ``compile.yaml`` says, if there is one."""
    try:
        compiled = _Compile.model_validate(_mapping(file) if file.is_file() else {})
    except ValidationError as error:
        raise InputError(describe(str(file), error)) from None
    resources = {str(stage): Resources(asked.cpu, asked.memory) for stage, asked in compiled.resources.items()}
    return Cluster(image_references(list(images), None), resources, compiled.trainer, compiled.nodes)


class _Resources(Section):
    """What a stage's pods ask for, as Kubernetes writes it."""

    cpu: Annotated[str, Field(pattern=r"^\d+(\.\d+)?$|^\d+m$")]
    memory: Annotated[str, Field(pattern=r"^\d+(\.\d+)?([kMGT]|[KMGT]i)?$")]


class _Compile(Section):
    """What ``compile.yaml`` may say."""

    resources: dict[
        Literal["configure", "preprocess", "agent", "train", "train-job", "baseline", "model", "evaluate"], _Resources
    ] = Field(default_factory=dict)
    trainer: TrainingKind = TrainingKind.POD
    nodes: Positive = 1


def _images(document: dict[str, Any]) -> list[str]:
    """Return what kustomize makes of each ``skeletonagent-STAGE``, in the form of ``--image``; others are not ours."""
    found = []
    for entry in document.get("images") or []:
        prefix, ours, stage = entry["name"].partition("skeletonagent-")
        if ours and not prefix:
            end = f"@{entry['digest']}" if "digest" in entry else f":{entry.get('newTag', '')}"
            found.append(f"{stage}={entry.get('newName', entry['name'])}{end}")
    return found
