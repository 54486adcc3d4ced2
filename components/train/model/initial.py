"""The weights before training: our choice, and the reference's."""

from __future__ import annotations

from typing import cast

import torch
from torch import nn


def initialise(model: nn.Module, kind: str) -> None:
    """Draw the weights of a new recogniser from torch's generator.

    Args:
        model: a ``Recogniser``, as PyTorch's own layers initialise themselves.
        kind: ``kaiming`` draws convolutions by He et al. (2015), fan out, without bias, and small positions;
            ``published`` keeps what PyTorch drew but for the classifier, the alignment head and the positions.
    """
    if kind == "kaiming":
        model.apply(_kaiming)
        return
    classifier, alignment = (cast(nn.Linear, getattr(model, name)) for name in ("classifier", "alignment"))
    nn.init.normal_(classifier.weight, std=0.01)
    nn.init.kaiming_normal_(alignment.weight, mode="fan_out")
    for layer in (classifier, alignment):
        nn.init.zeros_(layer.bias)
    position = getattr(model.stem, "position", None)
    if isinstance(position, torch.Tensor):
        nn.init.normal_(position)


def _kaiming(module: nn.Module) -> None:
    if isinstance(module, nn.Conv1d | nn.Conv2d):
        nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")
        if module.bias is not None:
            nn.init.zeros_(module.bias)
