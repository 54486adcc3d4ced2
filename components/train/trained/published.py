"""Checkpoints from elsewhere: a reference ``.pth`` becomes a ``checkpoint`` artifact."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import torch

from components.contracts import checkpoint
from components.contracts.artifact import sha256_file
from components.contracts.checkpoint import Checkpoint, TrainState
from components.contracts.config import TrainStage
from components.contracts.errors import InputError
from components.train.trained.reference_weights import from_reference
from components.train.trained.scoring import fitted


def import_reference(source: Path, stage: TrainStage, output: Path, *, stream: str) -> list[str]:
    """Turn a reference checkpoint into a ``checkpoint`` artifact at ``output``, all epochs done, no momentum.

    Args:
        source: ``.pth``: a state dict, or one within ``{"state_dict": …}`` as mmcv writes it.
        stage: the configuration of the network that the file holds.
        stream: the stream that it was trained on; the file does not say.

    Returns:
        The names in the file that have no counterpart here (the text tower, the fixed constraint matrix).

    Raises:
        InputError: the file cannot be read as plain tensors, or its tensors do not fit the configuration.
    """
    weights, unmapped = from_reference(_state_dict(source))
    dimensions = len(weights["alignment.bias"])
    model = fitted(source, stage, weights, dimensions)
    epochs = stage.train.epochs
    state = TrainState(stream=stream, round=stage.rounds, epoch=epochs, step=0, text_dimensions=dimensions)
    arrays = {name: tensor.numpy() for name, tensor in model.state_dict().items()}
    imported = Checkpoint(arrays, {}, state, stage)
    checkpoint.write(output, imported, made_from={"reference": sha256_file(source)})
    return unmapped


class _Ignored:
    """Stands for what mmcv's trainer keeps beside the weights, such as the best accuracy as a NumPy scalar."""

    def __init__(self, *_: Any) -> None: ...

    def __setstate__(self, _: Any) -> None: ...


_BESIDE_WEIGHTS = ("numpy.core.multiarray.scalar", "numpy._core.multiarray.scalar", "numpy.dtype", "_codecs.encode")


def _state_dict(source: Path) -> dict[str, np.ndarray]:
    try:
        # Not what the file names is called in the end, but our stand-in.
        with torch.serialization.safe_globals([(_Ignored, name) for name in _BESIDE_WEIGHTS]):
            loaded: Any = torch.load(source, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise InputError("no such file", at=source) from None
    except Exception as error:  # a hostile file makes torch raise nearly anything
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"cannot be read as plain tensors (weights_only): {reason}", at=source) from None
    state = loaded.get("state_dict", loaded) if isinstance(loaded, dict) else None
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise InputError(f"found {type(loaded).__name__}, expected a state dict of tensors", at=source)
    return {str(name).removeprefix("module."): tensor.numpy() for name, tensor in state.items()}
