"""Adaptive graph convolution over the joints: learned, relation and attention graphs added up.

Source: DG-STGCN (Duan et al. 2022), section 3.2, as the SkeletonAgent reference configures it. The two
projections that build the data-dependent graphs are applied to the temporal mean: a 1×1 convolution
commutes with it, so the function is unchanged and T times cheaper.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class AdaptiveGraphConv(nn.Module):
    """Multi-branch graph convolution, ``[N, C_in, T, V]`` → ``[N, C_out, T, V]``, without final ReLU.

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
        self.pre = nn.Conv2d(channels_in, channels_out, 1)
        self.pre_norm = nn.BatchNorm2d(channels_out)
        self.source = nn.Conv1d(channels_in, channels_out, 1)
        self.target = nn.Conv1d(channels_in, channels_out, 1)
        self.post = nn.Conv2d(channels_out, channels_out, 1)
        self.norm = nn.BatchNorm2d(channels_out)
        if channels_in == channels_out:
            self.shortcut: nn.Module = nn.Identity()
        else:
            self.shortcut = nn.Sequential(nn.Conv2d(channels_in, channels_out, 1), nn.BatchNorm2d(channels_out))

    def forward(self, x: Tensor) -> Tensor:
        batch, _, frames, joints = x.shape
        features = self.pre_norm(self.pre(x)).relu_().view(batch, self.subsets, -1, frames, joints)
        mixed = features @ self._graphs(x.mean(dim=2))
        return self.norm(self.post(mixed.reshape(batch, -1, frames, joints))).add_(self.shortcut(x))

    def _graphs(self, mean: Tensor) -> Tensor:
        """Return the graphs of every sample, branch and channel: ``[N, K, c, V, V]``."""
        batch, _, joints = mean.shape
        source = self.source(mean).view(batch, self.subsets, -1, joints)
        target = self.target(mean).view(batch, self.subsets, -1, joints)
        relation = (source.unsqueeze(-1) - target.unsqueeze(-2)).tanh_()
        attention = (source.transpose(-1, -2) @ target).softmax(dim=-2)
        shared = self.graph + self.attention_scale * attention
        return torch.addcmul(shared.unsqueeze(2), relation, self.relation_scale)
