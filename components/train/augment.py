"""Random changes of training clips, as batched tensor operations."""

from __future__ import annotations

import torch
from torch import Tensor

from components.contracts.config import Augmentation
from components.contracts.skeleton import Layout


def augment(
    joints: Tensor, layout: Layout, config: Augmentation, generator: torch.Generator, *, three_d: bool
) -> Tensor:
    """Rotate, scale, mirror and blank joints, each sample by its own draw.

    Args:
        joints: ``[B, M, T, V, 3]``.
        three_d: whether channel 3 is a coordinate (else it is a score, which only mirroring leaves alone).
    """
    batch, device = len(joints), joints.device
    if config.rotation and three_d:
        angles = (torch.rand(batch, 3, generator=generator) * 2 - 1) * config.rotation
        joints = torch.einsum("bmtvc,bdc->bmtvd", joints, rotations(angles).to(device))
    if config.scale:
        factors = 1 + (torch.rand(batch, 3, generator=generator) * 2 - 1) * config.scale
        if not three_d:
            factors[:, 2] = 1
        joints = joints * factors.to(device)[:, None, None, None, :]
    if config.flip:
        chosen = torch.rand(batch, generator=generator) < config.flip
        joints = torch.where(chosen.to(device)[:, None, None, None, None], mirror(joints, layout), joints)
    if config.part_drop:
        joints = joints * _kept_joints(batch, layout, config.part_drop, generator).to(device)[:, None, None, :, None]
    return joints


def rotations(angles: Tensor) -> Tensor:
    """Return rotation matrices ``[B, 3, 3]`` for angles about x, y and z in radians, ``[B, 3]``, z applied last."""
    cos, sin = angles.cos(), angles.sin()
    one, zero = torch.ones(len(angles)), torch.zeros(len(angles))

    def matrix(*rows: Tensor) -> Tensor:
        return torch.stack(rows, dim=1).view(-1, 3, 3)

    about_x = matrix(one, zero, zero, zero, cos[:, 0], -sin[:, 0], zero, sin[:, 0], cos[:, 0])
    about_y = matrix(cos[:, 1], zero, sin[:, 1], zero, one, zero, -sin[:, 1], zero, cos[:, 1])
    about_z = matrix(cos[:, 2], -sin[:, 2], zero, sin[:, 2], cos[:, 2], zero, zero, zero, one)
    return about_z @ about_y @ about_x


def mirror(joints: Tensor, layout: Layout) -> Tensor:
    """Swap left and right joints and negate x.

    The reference's flip for 3D data leaves x as it is (QUIRKS 20), which makes bodies that cannot be.
    """
    mirrored = joints[..., torch.as_tensor(layout.mirrored, device=joints.device), :].clone()
    mirrored[..., 0] = -mirrored[..., 0]
    return mirrored


def _kept_joints(batch: int, layout: Layout, probability: float, generator: torch.Generator) -> Tensor:
    """Return 0/1 ``[B, V]``: with this probability one body part of a sample is zero."""
    parts = list(layout.part_numbers.values())
    dropped = torch.rand(batch, generator=generator) < probability
    which = torch.randint(len(parts), (batch,), generator=generator)
    members = torch.zeros(len(parts), len(layout.joints))
    for row, joints in enumerate(parts):
        members[row, list(joints)] = 1.0
    return 1 - members[which] * dropped[:, None]
