"""Adaptive graph convolution over the joints: learned, relation and attention graphs added up.

Source: DG-STGCN (Duan et al. 2022), section 3.2, as the SkeletonAgent reference configures it. The two
projections that build the data-dependent graphs are applied to the temporal mean: a 1×1 convolution
commutes with it, so the function is unchanged and T times cheaper.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import Tensor, nn

from components.train.model.layers import BatchNorm, Pointwise, Projection


class AdaptiveGraphConv(nn.Module):
    """Multi-branch graph convolution, ``[N, C_in, T, V]`` → ``[N, C_out, T, V]``.

    The output width is split over ``subsets`` branches of c = C_out / subsets channels. Branch k mixes
    joints with A_k + s_r · tanh(p_v − q_w) + s_a · softmax_v(⟨p_v, q_w⟩), where p and q are projections
    of the temporal mean. Both scales start at zero, so training starts from the learned graph alone.
    """

    def __init__(self, channels_in: int, channels_out: int, joints: int, subsets: int, graph: Tensor) -> None:
        super().__init__()
        self.subsets = subsets
        self.graph = nn.Parameter(graph.clone())
        self.relation_scale = nn.Parameter(torch.zeros(()))
        self.attention_scale = nn.Parameter(torch.zeros(()))
        self.pre = Pointwise(channels_in, channels_out)
        self.pre_norm = BatchNorm(channels_out)
        self.source = nn.Conv1d(channels_in, channels_out, 1)
        self.target = nn.Conv1d(channels_in, channels_out, 1)
        self.post = Pointwise(channels_out, channels_out)
        self.norm = BatchNorm(channels_out)
        self.shortcut = Projection(channels_in, channels_out) if channels_in != channels_out else None

    def forward(self, x: Tensor, copies: int, apply: Callable[[Tensor], Tensor]) -> Tensor:
        """Return ``apply`` of the output, which is not kept for the backward pass (see ``layers``).

        Args:
            copies: how many persons the last row stands for.
        """
        mean = x.mean(dim=2)

        def mix(features: Tensor) -> Tensor:
            split = features.unflatten(1, (self.subsets, -1))
            return self.post((split @ self._graphs(mean)).flatten(1, 2))

        mixed = self.pre_norm.normalise_relu_apply(mix, x, copies, before=self.pre)
        if self.shortcut is None:
            return self.norm.normalise_relu_apply(apply, mixed, copies, added=x)
        return self.norm.normalise_relu_apply(
            apply, mixed, copies, added=self.shortcut.conv(x), added_norm=self.shortcut.norm
        )

    def _graphs(self, mean: Tensor) -> Tensor:
        """Return the graphs of every sample, branch and channel: ``[N, K, c, V, V]``."""
        batch, _, joints = mean.shape
        source = self.source(mean).view(batch, self.subsets, -1, joints)
        target = self.target(mean).view(batch, self.subsets, -1, joints)
        relation = (source.unsqueeze(-1) - target.unsqueeze(-2)).tanh_()
        attention = (source.transpose(-1, -2) @ target).softmax(dim=-2)
        shared = self.graph + self.attention_scale * attention
        return torch.addcmul(shared.unsqueeze(2), relation, self.relation_scale)
