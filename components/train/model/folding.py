"""A recogniser for inference: batch norms that follow a 1×1 convolution become part of it.

With fixed statistics both are linear, and averaging over joints in between does not change that: the function is the
same to rounding. The batch norm after the temporal branches stays; a max-pooling before it has no weights to take it.
"""

from __future__ import annotations

import copy
from typing import cast

from torch import nn
from torch.nn.utils.fusion import fuse_conv_bn_eval

from components.train.model.layers import BatchNorm, Projection
from components.train.model.recogniser import Block, Recogniser


def fold(model: Recogniser) -> Recogniser:
    """Return a copy of the model in evaluation mode with its batch norms folded; the model itself is not changed."""
    folded = copy.deepcopy(model).eval()
    for block in folded.blocks:
        assert isinstance(block, Block)
        for part, convolution, norm in (
            (block.graph_conv, "pre", "pre_norm"),
            (block.graph_conv, "post", "norm"),
            (block.temporal_conv, "project", "project_norm"),
            (block.temporal_conv, "merge", "norm"),
        ):
            _fold(part, convolution, norm)
        for projection in (block.graph_conv.shortcut, block.residual):
            if isinstance(projection, Projection):
                _fold(projection, "0", "1")
    return folded


def _fold(part: nn.Module, convolution: str, norm: str) -> None:
    batch_norm = cast(BatchNorm, getattr(part, norm))
    setattr(part, convolution, fuse_conv_bn_eval(cast(nn.Conv2d, getattr(part, convolution)), batch_norm))
    batch_norm.folded = True
