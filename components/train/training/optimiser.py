"""The optimisers: SGD as the reference has it, and AdamW, which learns more from few samples."""

from __future__ import annotations

import torch
from torch import nn

from components.contracts.config import TrainConfig


def build_optimiser(config: TrainConfig, model: nn.Module) -> torch.optim.Optimizer:
    """Return the optimiser of all parameters.

    SGD decays all of them, as the reference does; AdamW (Loshchilov and Hutter 2019) only those of more than one
    dimension: the scales and offsets of norms, and biases, have nothing to lose.
    """
    parameters = list(model.parameters())
    if config.optimizer == "sgd":
        return torch.optim.SGD(
            parameters,
            lr=config.learning_rate,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            nesterov=config.momentum > 0,
        )
    groups = [
        {"params": [one for one in parameters if one.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [one for one in parameters if one.ndim <= 1], "weight_decay": 0.0},
    ]
    return torch.optim.AdamW(groups, lr=config.learning_rate, betas=(config.momentum, 0.999))
