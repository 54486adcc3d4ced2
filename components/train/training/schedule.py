"""The learning-rate schedule: linear warm-up, then a cosine to zero over all rounds of a stream together."""

from __future__ import annotations

import math

from components.contracts.config import TrainConfig


def learning_rate(config: TrainConfig, step: int, steps_per_epoch: int) -> float:
    """Return the rate of a step.

    Args:
        config: epochs, warm-up epochs and the highest rate.
        step: 0-based, counted over all rounds.
        steps_per_epoch: steps of an epoch.
    """
    warmup = config.warmup_epochs * steps_per_epoch
    if step < warmup:
        return config.learning_rate * (step + 1) / warmup
    total = config.epochs * steps_per_epoch
    return config.learning_rate * (1 + math.cos(math.pi * (step - warmup) / (total - warmup))) / 2
