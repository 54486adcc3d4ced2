"""The recogniser: a stem, spatio-temporal graph blocks, and three heads.

Source: SkeletonAgent's recogniser on DG-STGCN (Duan et al. 2022). Parameters correspond one to one to the
reference's (its per-branch 1×1 convolutions are concatenated here, its unused graph scales left out).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.contracts.config import ModelConfig, TrainConfig
from components.contracts.dataset import CHANNELS
from components.train.model.graph_conv import AdaptiveGraphConv
from components.train.model.initial import initialise
from components.train.model.layers import Projection, recomputed
from components.train.model.temporal_conv import MultiScaleTemporalConv

_GRAPH_MEAN, _GRAPH_STD = 0.04, 0.02
_LOGIT_SCALE = 2.6592600  # ln(1/0.07), used without exp as in the reference (QUIRKS 13)


@dataclass
class Output:
    """Class logits ``[N, classes]``, constraint logits ``[N, classes]``, text-space features ``[N, D]``.

    ``constraint`` is None where there is no mask: without constraints that differ between classes it says nothing.
    """

    logits: Tensor
    constraint: Tensor | None
    alignment: Tensor


class EmbeddingStem(nn.Module):
    """Joint embedding plus position embedding plus batch norm over (person, joint, channel): C becomes ``width``.

    With ``velocity`` the displacement to the next frame (none after the last), embedded and normalised by itself, is
    added: the "dynamics representation" of SGN (Zhang et al. 2020, "Semantics-guided neural networks"). Small as it is
    beside the positions, one norm over both would hide it.
    """

    def __init__(self, width: int, joints: int, persons: int, *, velocity: bool = False) -> None:
        super().__init__()
        self.embed = nn.Linear(CHANNELS, width)
        self.position = nn.Parameter(torch.zeros(joints, width))
        self.norm = nn.BatchNorm1d(persons * joints * width)
        nn.init.trunc_normal_(self.position, std=0.02)
        self.velocity = nn.Linear(CHANNELS, width) if velocity else None
        self.velocity_norm = nn.BatchNorm1d(persons * joints * width) if velocity else None

    def forward(self, x: Tensor) -> Tensor:
        batch, persons, frames, joints, _ = x.shape
        out = self.norm(_by_channel(self.embed(x) + self.position))
        if self.velocity is not None and self.velocity_norm is not None:
            displacement = F.pad(x[:, :, 1:] - x[:, :, :-1], (0, 0, 0, 0, 0, 1))
            out = out + self.velocity_norm(_by_channel(self.velocity(displacement)))
        return out.view(batch * persons, joints, -1, frames).permute(0, 2, 3, 1).contiguous()


def _by_channel(x: Tensor) -> Tensor:
    """``[N, M, T, V, C]`` → ``[N, M · V · C, T]``."""
    return x.permute(0, 1, 3, 4, 2).flatten(1, 3)


class PlainStem(nn.Module):
    """Batch norm over (joint, channel) of the coordinates, persons counted as samples."""

    def __init__(self, joints: int) -> None:
        super().__init__()
        self.norm = nn.BatchNorm1d(joints * CHANNELS)

    def forward(self, x: Tensor) -> Tensor:
        batch, persons, frames, joints, channels = x.shape
        x = x.permute(0, 1, 3, 4, 2).reshape(batch * persons, joints * channels, frames)
        return self.norm(x).view(batch * persons, joints, channels, frames).permute(0, 2, 3, 1).contiguous()


class Block(nn.Module):
    """Graph convolution, temporal convolution, residual: ``[N, C_in, T, V]`` → ``[N, C_out, ⌈T/stride⌉, V]``."""

    def __init__(
        self, channels_in: int, channels_out: int, stride: int, graph: Tensor, config: ModelConfig, *, residual: bool
    ) -> None:
        super().__init__()
        joints = graph.shape[-1]
        self.graph_conv = AdaptiveGraphConv(channels_in, channels_out, joints, config.subsets, graph)
        self.temporal_conv = MultiScaleTemporalConv(channels_out, joints, config.temporal, stride)
        self.has_residual = residual
        widens = residual and (channels_in != channels_out or stride != 1)
        self.residual = Projection(channels_in, channels_out, stride) if widens else None

    def forward(self, x: Tensor, copies: int = 1) -> Tensor:
        projected = self.graph_conv(x, copies, self.temporal_conv.project_branches)
        out = self.temporal_conv.norm(self.temporal_conv(projected, copies), copies)
        if self.has_residual:
            out += x if self.residual is None else self.residual(x, copies)
        return out.relu_()


class Recogniser(nn.Module):
    """Skeletons to class logits, and in training to constraint logits and text-space features.

    Args:
        config: depth, width, branches.
        joints: V of the layout.
        persons: M, the persons per sample (the embedding stem's batch norm depends on it).
        classes: number of classes.
        text_dimensions: D of the text embeddings.
    """

    def __init__(self, config: ModelConfig, joints: int, persons: int, classes: int, text_dimensions: int) -> None:
        super().__init__()
        self.together = config.persons == "together"
        if self.together:
            joints, persons = persons * joints, 1
        # One random start is shared by all blocks and then trained per block.
        graph = torch.randn(config.subsets, joints, joints) * _GRAPH_STD + _GRAPH_MEAN
        embeds = config.stem == "embedding"
        self.stem: nn.Module = (
            EmbeddingStem(config.width, joints, persons, velocity=config.velocity) if embeds else PlainStem(joints)
        )
        width_in, width = (config.width if embeds else CHANNELS), config.width
        blocks = []
        for number in range(config.blocks):
            inflates = number in config.inflate_at
            width = width * 2 if inflates else width
            residual = embeds or number > 0
            blocks.append(Block(width_in, width, 2 if inflates else 1, graph, config, residual=residual))
            width_in = width
        self.blocks = nn.ModuleList(blocks)
        self.bf16 = self.checkpoints = False
        self.classifier = nn.Linear(width, classes)
        self.constraint = nn.Linear(width, 1)
        self.alignment = nn.Linear(width, text_dimensions)
        self.logit_scale = nn.Parameter(torch.tensor(_LOGIT_SCALE))
        initialise(self, config.initial_weights)

    def tune(self, config: TrainConfig) -> None:
        """Compute as the configuration says: precision, compilation, checkpointing."""
        self.bf16 = config.precision == "bf16"
        self.checkpoints = config.activation_checkpointing
        if config.compile:
            for block in self.blocks:
                block.compile(dynamic=True)

    def features(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Return the features of each person and joint, averaged over time: ``[N, M, C, V]``.

        Args:
            x: one stream of skeletons ``[N, M, T, V, 3]``.
            present: bool ``[N, M]`` in main memory, False only where a person is all zero. All such persons have the
                same features: they are computed once and counted in the batch statistics as often as they occur.
                Default: all are computed, and so they are where persons are together.
        """
        if not self.together:
            return self._of_persons(x, present)
        persons, joints = x.shape[1], x.shape[3]
        one_graph = x.transpose(1, 2).flatten(2, 3).unsqueeze(1)
        return self._of_persons(one_graph, None).squeeze(1).unflatten(2, (persons, joints)).transpose(1, 2)

    def _of_persons(self, x: Tensor, present: Tensor | None) -> Tensor:
        batch, persons = x.shape[:2]
        # The embedding stem's batch norm knows a third person from a second one, absent or not.
        alike = persons <= 2 or isinstance(self.stem, PlainStem)
        rows, copies, back = _shared_rows(present if alike else None)
        with torch.autocast(x.device.type, torch.bfloat16, enabled=self.bf16):
            x = self.stem(x)
            if rows is not None:
                x = x.index_select(0, rows.to(x.device, non_blocking=True))
            for block in self.blocks:
                x = recomputed(block, x, copies) if self.checkpoints and torch.is_grad_enabled() else block(x, copies)
            x = x.mean(dim=2, dtype=self.classifier.weight.dtype)
        if back is not None:
            x = x.index_select(0, back.to(x.device, non_blocking=True))
        return x.view(batch, persons, *x.shape[1:])

    def classify(self, x: Tensor, present: Tensor | None = None) -> Tensor:
        """Return class logits ``[N, classes]`` of skeletons ``[N, M, T, V, 3]``; the other heads are not computed."""
        return self.classifier(self.features(x, present).mean(dim=(1, 3)))

    def forward(self, x: Tensor, mask: Tensor | None, present: Tensor | None = None) -> Output:
        """Compute all heads.

        Args:
            x: one stream of skeletons ``[N, M, T, V, 3]``.
            mask: 0/1 ``[classes, V]``, the critical positions of each class in this stream; None leaves the constraint
                head out.
            present: as for ``features``.
        """
        return self.heads(self.features(x, present), mask)

    def heads(self, features: Tensor, mask: Tensor | None) -> Output:
        """Compute all heads from the features ``[N, M, C, V]``.

        The constraint logit of class c is the sum of w·feature over its critical positions, averaged over
        persons, plus a bias: the reference's ``classes × V × V`` tensor says the same (QUIRKS 8).
        """
        features = features.mean(dim=1)
        pooled = features.mean(dim=2)
        constraint = None
        if mask is not None:
            per_joint = self.constraint.weight[0] @ features
            constraint = per_joint @ mask.T + self.constraint.bias
        return Output(self.classifier(pooled), constraint, self.alignment(pooled))


def _shared_rows(present: Tensor | None) -> tuple[Tensor | None, int, Tensor | None]:
    """Return which rows to compute, how many persons the last one stands for, and the row of every person."""
    if present is None or int((~present).sum()) < 2:
        return None, 1, None
    chosen = present.flatten()
    rows, absent = chosen.nonzero()[:, 0], (~chosen).nonzero()[:, 0]
    back = torch.where(chosen, chosen.cumsum(0) - 1, len(rows))
    return torch.cat([rows, absent[:1]]), len(absent), back
