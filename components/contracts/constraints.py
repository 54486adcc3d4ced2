"""The ``constraints`` artifact: what the agent tells the recogniser about each class.

``constraints.json`` holds, per class, a description, its critical joints, the classes it was told apart
from, and where the answer came from. ``text.npy`` is the description's embedding, ``[classes, D]``.
``plan.json`` (from schema 1.1) says which classes were asked this round and why; see ``plan``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, Literal

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.contracts.arrays import expect_shape, read_npy
from components.contracts.artifact import Artifact, Manifest, Schema, seal, staged
from components.contracts.artifact import verify as verify_artifact
from components.contracts.config import AgentConfig, AgentStage
from components.contracts.documents import read_json, reading
from components.contracts.errors import DamagedError, InputError
from components.contracts.overrides import describe
from components.contracts.plan import Plan
from components.contracts.skeleton import load_layout

SCHEMA = Schema("constraints", 1, 3)
MOST_TEXT = 128 << 20
"""Bytes of ``text.npy``."""

Status = Literal["prior", "no-prior", "data", "answered", "kept"]
"""prior: from the written priors; no-prior: class name and all joints; data (from schema 1.3): the joints that separate
the class best in the training data; answered: by the LLM this round; kept: not asked, or the answer was unusable, so
the previous round's constraint stands."""


class Provenance(BaseModel):
    """Where a class's constraint came from. ``note`` says why, where there is something to say.

    ``agreement`` (from schema 1.3): of the k joints that an answer named, the share that is among the k joints that
    separate the class best in the training data; ``None`` where it was not asked this round, or nothing was measured.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    status: Status
    provider: str
    model: str = ""
    prompt_version: str = ""
    request_hash: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    round: int = 0
    note: str = ""
    agreement: Annotated[float, Field(ge=0, le=1)] | None = None


class ClassConstraint(BaseModel):
    """One class: ``label`` and ``told_apart_from`` are class numbers, ``joints`` joint numbers of the layout.

    ``shares`` (from schema 1.1; empty if unknown): per class of ``told_apart_from``, the pair's mistakes per
    sample of this class when it was asked about.

    ``weights`` (from schema 1.2; empty if all are 1): per joint, above 0 and at most 1, how sure it is.
    ``votes``: the number of answers, the prior among them, that the weights are shares of.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    label: int
    name: str
    description: str = Field(min_length=1)
    joints: tuple[int, ...] = Field(min_length=1)
    told_apart_from: tuple[int, ...] = ()
    shares: tuple[float, ...] = ()
    weights: tuple[Annotated[float, Field(gt=0, le=1)], ...] = ()
    votes: int = Field(default=1, ge=1)
    provenance: Provenance


class _Head(BaseModel):
    """What a document says of all classes."""

    layout: str = Field(max_length=100_000, description="a name, or the text of a layout of one's own")
    round: int = Field(ge=0, le=1_000_000)
    stream: str = Field(max_length=100)
    encoder: str = Field(max_length=200)


@dataclass(frozen=True)
class Constraints(Artifact):
    """All classes in label order; ``text`` is float32 ``[classes, D]``; round 0 is the prior.

    ``plan`` is ``None`` in artifacts of schema 1.0, which had none.
    """

    layout: str
    round: int
    stream: str
    encoder: str
    classes: tuple[ClassConstraint, ...]
    text: npt.NDArray[np.float32]
    plan: Plan | None = None

    def joint_mask(self) -> npt.NDArray[np.float32]:
        """Return the critical joints as 0/1: float32 ``[classes, V]``."""
        mask = np.zeros((len(self.classes), len(load_layout(self.layout).joints)), dtype=np.float32)
        for row, constraint in enumerate(self.classes):
            mask[row, list(constraint.joints)] = 1.0
        return mask

    def joint_weights(self) -> npt.NDArray[np.float32]:
        """Return how much each joint counts: float32 ``[classes, V]``, 0 off the mask, 1 on it unless weighted."""
        weights = self.joint_mask()
        for row, constraint in enumerate(self.classes):
            if constraint.weights:
                weights[row, list(constraint.joints)] = constraint.weights
        return weights


def write(path: Path, constraints: Constraints, *, made_from: Mapping[str, str], config: AgentStage) -> None:
    """Write the artifact at ``path``, atomically. ``ValueError`` if the classes and the text do not fit."""
    _check(path, constraints)
    document = {
        "layout": constraints.layout,
        "round": constraints.round,
        "stream": constraints.stream,
        "encoder": constraints.encoder,
        "classes": [constraint.model_dump(mode="json") for constraint in constraints.classes],
    }
    about = {
        "round": constraints.round,
        "stream": constraints.stream,
        "encoder": constraints.encoder,
        "text_dimensions": int(constraints.text.shape[1]),
        "status": _count([constraint.provenance.status for constraint in constraints.classes]),
        **_spent(constraints.classes, config.agent),
    }
    with staged(path) as scratch:
        _write_json(scratch / "constraints.json", document)
        if constraints.plan is not None:
            _write_json(scratch / "plan.json", constraints.plan.model_dump(mode="json"))
        np.save(scratch / "text.npy", constraints.text.astype(np.float32), allow_pickle=False)
        seal(scratch, SCHEMA, made_from=made_from, config=config.model_dump(mode="json"), about=about)


def _write_json(file: Path, document: Mapping[str, Any]) -> None:
    text = json.dumps(document, indent=1, ensure_ascii=False, sort_keys=True)
    file.write_text(text + "\n", encoding="utf-8")


def _spent(classes: tuple[ClassConstraint, ...], config: AgentConfig) -> dict[str, int | float]:
    """Return the round's tokens and, if the model has a price, its cost.

    An answer that came from a cache counts as when it was bought: the same inputs give the same bytes.
    """
    prompt = sum(constraint.provenance.prompt_tokens for constraint in classes)
    completion = sum(constraint.provenance.completion_tokens for constraint in classes)
    price = config.prices.get(config.model)
    cost = {"cost": price.of(prompt, completion)} if price else {}
    return {"tokens": prompt + completion, **cost}


def _count(values: list[str]) -> dict[str, int]:
    return {value: values.count(value) for value in sorted(set(values))}


def open(path: Path) -> Constraints:
    """Verify and read the artifact.

    Raises:
        InputError: not constraints, a newer major version, damaged, or contradictory within itself.
    """
    manifest = verify(path)
    with reading(path, SCHEMA.name):
        constraints = _read(path, manifest)
        _check(path, constraints)
    return constraints


def _read(path: Path, manifest: Manifest) -> Constraints:
    file, plan = path / "constraints.json", path / "plan.json"
    document = read_json(file)
    if not isinstance(document, dict) or not isinstance(document.get("classes"), list):
        raise DamagedError("damaged: not a constraints document", at=file)
    try:
        head = _Head.model_validate(document)
        # One by one, so that the first that is wrong is the last that is looked at.
        classes = tuple(ClassConstraint.model_validate(entry) for entry in document["classes"])
        made = Plan.model_validate(read_json(plan)) if plan.is_file() else None
    except ValidationError as error:
        raise DamagedError(describe("damaged", error)[:500], at=file) from None
    text = read_npy(path / "text.npy", most_bytes=MOST_TEXT)
    if text.dtype != np.float32 or not np.isfinite(text).all():
        raise DamagedError(f"{text.dtype} found, finite float32 expected", at=path / "text.npy")
    return Constraints(**head.model_dump(), classes=classes, text=text, plan=made, manifest=manifest)


def _check(path: Path, constraints: Constraints) -> None:
    joints = len(load_layout(constraints.layout).joints)
    count = len(constraints.classes)
    expect_shape(path / "text.npy", "text", constraints.text, (count, None))
    for row, constraint in enumerate(constraints.classes):
        where = f"{path}: class {row} ({constraint.name})"
        if constraint.label != row:
            raise InputError(f"label {constraint.label} found, {row} expected", at=where)
        if len(set(constraint.joints)) != len(constraint.joints):
            raise InputError("joints: a joint stands twice", at=where)
        if not all(0 <= joint < joints for joint in constraint.joints):
            raise InputError(f"joints: {list(constraint.joints)} found, numbers 0 to {joints - 1} expected", at=where)
        if not all(0 <= other < count for other in constraint.told_apart_from):
            raise InputError(f"told_apart_from: a number is not a class, expected 0 to {count - 1}", at=where)
        if constraint.shares and len(constraint.shares) != len(constraint.told_apart_from):
            raise InputError(
                f"shares: {len(constraint.shares)} found, {len(constraint.told_apart_from)} expected", at=where
            )
        if constraint.weights and len(constraint.weights) != len(constraint.joints):
            raise InputError(f"weights: {len(constraint.weights)} found, {len(constraint.joints)} expected", at=where)
    if constraints.plan is not None and len(constraints.plan.classes) != count:
        raise InputError(f"{len(constraints.plan.classes)} classes found, {count} expected", at=path / "plan.json")


def verify(path: Path) -> Manifest:
    """Check every file against the manifest; see ``artifact.verify`` for the errors."""
    return verify_artifact(path, SCHEMA)
