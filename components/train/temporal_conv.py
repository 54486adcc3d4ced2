"""Multi-scale temporal convolution with a global joint.

Source: DG-STGCN (Duan et al. 2022), section 3.3. The branches' 1×1 convolutions are one convolution here,
and the mean joint is appended after it: both rearrangements are exact. In-place ReLUs follow operations
whose gradient does not need their output.
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
        # The plain branch has neither batch norm nor ReLU, so its projection stands apart.
        normed = [branch for branch in branches if branch != "1x1"]
        width = channels // len(branches)
        self.widths = [channels - width * (len(branches) - 1)] + [width] * (len(normed) - 1)
        self.project = nn.Conv2d(channels, sum(self.widths), 1)
        self.project_norm = nn.BatchNorm2d(sum(self.widths))
        self.branches = nn.ModuleList(_branch(branch, w, stride) for branch, w in zip(normed, self.widths, strict=True))
        self.stride = stride
        self.plain = nn.Conv2d(channels, width, 1, stride=(stride, 1)) if "1x1" in branches else None
        self.global_weight = nn.Parameter(torch.zeros(joints))
        self.merge_norm = nn.BatchNorm2d(channels)
        self.merge = nn.Conv2d(channels, channels, 1)
        self.norm = nn.BatchNorm2d(channels)

    def forward(self, x: Tensor) -> Tensor:
        active = self.project_norm(_with_mean(self.project(x))).relu_()
        parts = [branch(part) for branch, part in zip(self.branches, active.split(self.widths, dim=1), strict=True)]
        if self.plain is not None:
            parts.append(_with_mean(self.plain(x)))
        local, virtual = torch.cat(parts, dim=1).split([x.shape[-1], 1], dim=-1)
        merged = torch.addcmul(local, virtual, self.global_weight)
        return self.norm(self.merge(self.merge_norm(merged).relu_()))


def _with_mean(x: Tensor) -> Tensor:
    """Append the virtual joint, the mean of all joints: ``[N, C, T, V]`` → ``[N, C, T, V + 1]``."""
    return torch.cat([x, x.mean(dim=-1, keepdim=True)], dim=-1)


def _branch(kind: str, width: int, stride: int) -> nn.Module:
    if kind == "max3":
        return nn.MaxPool2d((3, 1), stride=(stride, 1), padding=(1, 0))
    kernel, dilation = (int(number) for number in kind.split("x"))
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(width, width, (kernel, 1), (stride, 1), (padding, 0), (dilation, 1))
