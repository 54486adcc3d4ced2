"""Multi-scale temporal convolution with a global joint.

Source: DG-STGCN (Duan et al. 2022), section 3.3. The branches' 1×1 convolutions are one convolution here,
and the mean joint is appended after it: both rearrangements are exact.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn


class MultiScaleTemporalConv(nn.Module):
    """Parallel temporal branches, ``[N, C, T, V]`` → ``[N, C, ⌈T/stride⌉, V]``, without final ReLU.

    ``branches``: ``"KxD"`` is a convolution of kernel K and dilation D, ``"max3"`` a max-pooling over 3
    frames, ``"1x1"`` the projection alone, without batch norm. A virtual joint, the mean of all, goes
    through the same branches and is added back to each joint v, weighted by a learned coefficient.
    """

    def __init__(self, channels: int, joints: int, branches: tuple[str, ...], stride: int) -> None:
        super().__init__()
        # The plain branch has no batch norm, so it is kept last.
        ordered = [b for b in branches if b != "1x1"] + [b for b in branches if b == "1x1"]
        width = channels // len(ordered)
        self.widths = [channels - width * (len(ordered) - 1)] + [width] * (len(ordered) - 1)
        self.stride = stride
        self.project = nn.Conv2d(channels, channels, 1)
        self.normed = sum(w for w, b in zip(self.widths, ordered, strict=True) if b != "1x1")
        self.project_norm = nn.BatchNorm2d(self.normed)
        self.branches = nn.ModuleList(
            _branch(branch, w, stride) for branch, w in zip(ordered, self.widths, strict=True)
        )
        self.global_weight = nn.Parameter(torch.zeros(joints))
        self.merge_norm = nn.BatchNorm2d(channels)
        self.merge = nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        projected = self.project(x)
        projected = torch.cat([projected, projected.mean(dim=-1, keepdim=True)], dim=-1)
        active = self.project_norm(projected[:, : self.normed]).relu()
        projected = torch.cat([active, projected[:, self.normed :]], dim=1)
        parts = projected.split(self.widths, dim=1)
        out = torch.cat([branch(part) for branch, part in zip(self.branches, parts, strict=True)], dim=1)
        local, virtual = out[..., :-1], out[..., -1:]
        return self.norm(self.merge(self.merge_norm(local + virtual * self.global_weight).relu()))


def _branch(kind: str, width: int, stride: int) -> nn.Module:
    if kind == "1x1":
        return _EveryNth(stride)
    if kind == "max3":
        return nn.MaxPool2d((3, 1), stride=(stride, 1), padding=(1, 0))
    kernel, dilation = (int(number) for number in kind.split("x"))
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(width, width, (kernel, 1), (stride, 1), (padding, 0), (dilation, 1))


class _EveryNth(nn.Module):
    """Keeps every n-th frame: what the stride of a 1×1 convolution does."""

    def __init__(self, stride: int) -> None:
        super().__init__()
        self.stride = stride

    def forward(self, x: Tensor) -> Tensor:
        return x[:, :, :: self.stride]
