"""The recogniser with the reference's recorded weights."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from safetensors.numpy import load_file

from components.contracts.config import ModelConfig
from components.train.model.recogniser import Recogniser
from components.train.trained.reference_weights import from_reference

VARIANTS = {
    "ntu60": (ModelConfig(), 25, 60),
    "k400": (ModelConfig(stem="plain", blocks=10, inflate_at=(4, 7)), 20, 400),
}


def reference_model(golden: Path, variant: str) -> tuple[Recogniser, torch.Tensor, dict[str, np.ndarray]]:
    config, joints, classes = VARIANTS[variant]
    state = load_file(golden / f"a_{variant}_state_dict_fp16.safetensors")
    weights, unmapped = from_reference(state)
    assert unmapped == ["backbone.examplar"]
    model = Recogniser(config, joints, 2, classes, 512)
    model.load_state_dict({name: torch.from_numpy(np.asarray(array)) for name, array in weights.items()}, strict=True)
    mask = torch.from_numpy(state["backbone.examplar"].astype(np.float32).max(axis=-1))
    with np.load(golden / f"a_{variant}_io.npz") as recorded:
        return model, mask, dict(recorded)
