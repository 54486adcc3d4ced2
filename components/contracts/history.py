"""The record of one training epoch, kept by checkpoints and shown by the report."""

from __future__ import annotations

from pydantic import BaseModel, ConfigDict


class EpochRecord(BaseModel):
    """Means over one epoch of training; ``loss`` is the sum of its weighted parts.

    ``test_top1`` is the top-1 accuracy on the test split after the epoch, where ``evaluate_every`` asks for it.
    """

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
    test_top1: float | None = None
