"""The ``checkpoint`` artifact: everything that training needs to go on as if it had never stopped.

``model.safetensors`` holds parameters and batch-norm statistics, ``state.safetensors`` what the optimiser remembers
of them (SGD: the momentum; AdamW: both moments and the number of steps), ``state.json`` the position in the schedule
and the history. Random numbers need no state of their own: every epoch draws from a generator seeded by (seed,
stream, epoch), so the epoch is the state. ``best.safetensors``, where epochs are tested while training, holds the
weights of the best one so far.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from pydantic import BaseModel, ConfigDict, ValidationError
from safetensors import SafetensorError
from safetensors.numpy import load_file, save_file

from components.contracts.artifact import Artifact, Manifest, Schema, seal, staged
from components.contracts.artifact import verify as verify_artifact
from components.contracts.config import TrainStage
from components.contracts.errors import InputError, ResourceError
from components.contracts.history import EpochRecord

SCHEMA = Schema("checkpoint", 1, 1)

_BEST = "best.safetensors"

Tensors = dict[str, npt.NDArray[Any]]


class TrainState(BaseModel):
    """Where training stands: ``epoch`` epochs are done; ``text_dimensions`` is the alignment head's D.

    ``best_epoch`` had the highest top-1 on the test split, the first among equals; None where no epoch was tested.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    stream: str
    round: int
    epoch: int
    step: int
    text_dimensions: int
    history: tuple[EpochRecord, ...] = ()
    best_epoch: int | None = None


@dataclass(frozen=True)
class Checkpoint(Artifact):
    """An open checkpoint: named float arrays and the training state; ``best``: the weights of its best epoch."""

    model: Tensors
    optimiser: Tensors
    state: TrainState
    config: TrainStage
    best: Tensors = field(default_factory=dict)


def write(path: Path, checkpoint: Checkpoint, *, made_from: Mapping[str, str]) -> None:
    """Write the artifact at ``path``, atomically."""
    with staged(path) as scratch:
        try:
            save_file(_contiguous(checkpoint.model), scratch / "model.safetensors")
            save_file(_contiguous(checkpoint.optimiser), scratch / "state.safetensors")
            if checkpoint.best:
                save_file(_contiguous(checkpoint.best), scratch / _BEST)
        except SafetensorError as error:
            raise ResourceError(f"cannot be written: {error}", at=path) from None
        text = json.dumps(checkpoint.state.model_dump(mode="json"), indent=1, sort_keys=True)
        (scratch / "state.json").write_text(text + "\n", encoding="utf-8")
        about = {
            "stream": checkpoint.state.stream,
            "round": checkpoint.state.round,
            "epoch": checkpoint.state.epoch,
            "parameters": int(sum(array.size for array in checkpoint.model.values())),
        }
        config = checkpoint.config.model_dump(mode="json")
        seal(scratch, SCHEMA, made_from=made_from, config=config, about=about)


def _contiguous(tensors: Tensors) -> Tensors:
    return {name: np.ascontiguousarray(array).reshape(array.shape) for name, array in tensors.items()}


def open(path: Path) -> Checkpoint:
    """Verify and read the artifact; ``InputError`` if it is not one, newer, or damaged."""
    manifest = verify(path)
    try:
        return Checkpoint(
            model=load_file(path / "model.safetensors"),
            optimiser=load_file(path / "state.safetensors"),
            state=TrainState.model_validate_json((path / "state.json").read_bytes()),
            config=TrainStage.model_validate(manifest.config),
            best=load_file(path / _BEST) if _BEST in manifest.files else {},
            manifest=manifest,
        )
    except (SafetensorError, ValidationError, OSError) as error:
        raise InputError(f"not a checkpoint: {' '.join(str(error).split())}", at=path) from None


def verify(path: Path) -> Manifest:
    """Check every file against the manifest; see ``artifact.verify`` for the errors."""
    return verify_artifact(path, SCHEMA)
