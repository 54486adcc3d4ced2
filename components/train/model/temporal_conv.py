"""Multi-scale temporal convolution with a global joint.

Source: DG-STGCN (Duan et al. 2022), section 3.3. The branches' 1×1 convolutions are one matrix product here: exact.
"""

from __future__ import annotations

import torch
from torch import Tensor, nn

from components.train.model.layers import BatchNorm, Pointwise, project


class MultiScaleTemporalConv(nn.Module):
    """Parallel temporal branches, ``[N, C, T, V]`` → ``[N, C, ⌈T/stride⌉, V]``, without final batch norm and ReLU.

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
        self.project = Pointwise(channels, sum(self.widths))
        self.project_norm = BatchNorm(sum(self.widths))
        self.branches = nn.ModuleList(_branch(branch, w, stride) for branch, w in zip(normed, self.widths, strict=True))
        self.stride = stride
        self.plain = Pointwise(channels, width, stride) if "1x1" in branches else None
        self.global_weight = nn.Parameter(torch.zeros(joints))
        self.merge_norm = BatchNorm(channels)
        self.merge = Pointwise(channels, channels)
        self.norm = BatchNorm(channels)

    def project_branches(self, x: Tensor) -> Tensor:
        """Project ``[N, C, T, V]`` for all branches, the virtual joint appended: ``[N, C, T, V + 1]``."""
        x = torch.cat([x, x.mean(dim=-1, keepdim=True)], dim=-1)
        parts = [self.project] if self.plain is None else [self.project, self.plain]
        return project(x, torch.cat([part.weight for part in parts]), torch.cat([part.bias for part in parts]))

    def forward(self, projected: Tensor, copies: int) -> Tensor:
        """Run the branches on what ``project_branches`` made.

        Args:
            copies: how many persons the last row stands for.
        """
        width = sum(self.widths)
        parts = [self.project_norm.normalise_relu_apply(self._scales, projected[:, :width], copies)]
        if self.plain is not None:
            parts.append(projected[:, width:, :: self.stride])
        whole = torch.cat(parts, dim=1)
        joints = whole.shape[-1] - 1
        local, virtual = whole.view(-1, joints + 1).split([joints, 1], dim=1)
        # A copy of the virtual joint is what the backward pass keeps, not the whole behind a view of it.
        merged = torch.addmm(local, virtual.contiguous(), self.global_weight[None]).view(*whole.shape[:-1], joints)
        return self.merge_norm.normalise_relu_apply(self.merge, merged, copies)

    def _scales(self, active: Tensor) -> Tensor:
        split = active.split(self.widths, dim=1)
        return torch.cat([branch(part) for branch, part in zip(self.branches, split, strict=True)], dim=1)


def _branch(kind: str, width: int, stride: int) -> nn.Module:
    if kind == "max3":
        return nn.MaxPool2d((3, 1), stride=(stride, 1), padding=(1, 0))
    kernel, dilation = (int(number) for number in kind.split("x"))
    padding = dilation * (kernel - 1) // 2
    return nn.Conv2d(width, width, (kernel, 1), (stride, 1), (padding, 0), (dilation, 1))
