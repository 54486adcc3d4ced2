"""Random changes of training clips, as batched tensor operations: what chance decides, and what follows from it."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from components.contracts.config import Augmentation
from components.contracts.skeleton import Layout


@dataclass(frozen=True)
class Draws:
    """The chance in augmentation, sample by sample; None where a change is not wanted.

    ``angles`` about x, y and z in radians ``[B, 3]``; ``factors`` of the channels ``[B, 3]``; ``flipped``
    bool ``[B]``; ``kept`` 0/1 ``[B, V]``, 0 for the joints that are dropped.
    """

    angles: Tensor | None = None
    factors: Tensor | None = None
    flipped: Tensor | None = None
    kept: Tensor | None = None


def draw(batch: int, layout: Layout, config: Augmentation, generator: torch.Generator, *, three_d: bool) -> Draws:
    """Draw the changes of ``batch`` samples.

    Args:
        three_d: whether channel 3 is a coordinate (else it is a score, which only dropping changes).
    """
    angles = factors = flipped = kept = None
    if config.rotation and three_d:
        angles = (torch.rand(batch, 3, generator=generator) * 2 - 1) * torch.tensor(config.rotation)
    if config.scale:
        factors = 1 + (torch.rand(batch, 3, generator=generator) * 2 - 1) * config.scale
        if not three_d:
            factors[:, 2] = 1
    if config.flip:
        flipped = torch.rand(batch, generator=generator) < config.flip
    if config.part_drop:
        kept = _kept_joints(batch, layout, config.part_drop, generator)
    return Draws(angles, factors, flipped, kept)


def augment(joints: Tensor, layout: Layout, draws: Draws, *, mirrored_x: Tensor | None = None) -> Tensor:
    """Rotate, scale, flip and drop joints, each sample by its own draw.

    Args:
        joints: ``[B, M, T, V, 3]``.
        mirrored_x: the widths ``[B]`` of ``mirror``; None: a flip only swaps left and right.
    """
    device = joints.device
    if draws.angles is not None:
        joints = torch.einsum("bmtvc,bdc->bmtvd", joints, rotations(draws.angles).to(device, non_blocking=True))
    if draws.factors is not None:
        joints = joints * draws.factors.to(device, non_blocking=True)[:, None, None, None, :]
    if draws.flipped is not None:
        other = (
            swap(joints, layout)
            if mirrored_x is None
            else mirror(joints, layout, mirrored_x.to(device, non_blocking=True))
        )
        joints = torch.where(draws.flipped.to(device, non_blocking=True)[:, None, None, None, None], other, joints)
    if draws.kept is not None:
        joints = joints * draws.kept.to(device, non_blocking=True)[:, None, None, :, None]
    return joints


def rotations(angles: Tensor) -> Tensor:
    """Return rotation matrices ``[B, 3, 3]`` for angles about x, y and z in radians, ``[B, 3]``, z applied last."""
    cos, sin = angles.cos(), angles.sin()
    one, zero = torch.ones_like(angles[:, 0]), torch.zeros_like(angles[:, 0])

    def matrix(*rows: Tensor) -> Tensor:
        return torch.stack(rows, dim=1).view(-1, 3, 3)

    about_x = matrix(one, zero, zero, zero, cos[:, 0], -sin[:, 0], zero, sin[:, 0], cos[:, 0])
    about_y = matrix(cos[:, 1], zero, sin[:, 1], zero, one, zero, -sin[:, 1], zero, cos[:, 1])
    about_z = matrix(cos[:, 2], -sin[:, 2], zero, sin[:, 2], cos[:, 2], zero, zero, zero, one)
    return about_z @ about_y @ about_x


def swap(joints: Tensor, layout: Layout) -> Tensor:
    """Swap left and right joints where they are: in 3d a body that cannot be, as the reference has it (QUIRKS 20)."""
    return joints[..., torch.as_tensor(layout.mirrored).to(joints.device, non_blocking=True), :]


def mirror(joints: Tensor, layout: Layout, widths: Tensor) -> Tensor:
    """Swap left and right joints and reflect them.

    Args:
        widths: ``[B]``; x becomes width − x. It is 0 where x = 0 lies in the middle, and the image's width where x
            counts pixels; x at exactly zero is a missing joint and stays.
    """
    mirrored = swap(joints, layout)
    x = mirrored[..., 0]
    reflected = widths[:, None, None, None] - x
    mirrored[..., 0] = torch.where(x != 0, reflected, x)
    return mirrored


def _kept_joints(batch: int, layout: Layout, probability: float, generator: torch.Generator) -> Tensor:
    """Return 0/1 ``[B, V]``: with this probability one limb of a sample is zero."""
    limbs = [numbers for part, numbers in layout.part_numbers.items() if part != "trunk"]
    dropped = torch.rand(batch, generator=generator) < probability
    which = torch.randint(len(limbs), (batch,), generator=generator)
    members = torch.zeros(len(limbs), len(layout.joints))
    for row, joints in enumerate(limbs):
        members[row, list(joints)] = 1.0
    return 1 - members[which] * dropped[:, None]
