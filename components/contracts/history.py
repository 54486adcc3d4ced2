"""The record of one training epoch, kept by checkpoints and shown by the report."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class EpochRecord(BaseModel):
    """Means over one epoch of training; ``loss`` is the sum of its weighted parts."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    epoch: int
    round: int
    learning_rate: float
    loss: float
    loss_clean: float
    loss_mixed: float
    loss_constraint: float
    loss_alignment: float
    top1: float
