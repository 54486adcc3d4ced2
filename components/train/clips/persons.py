"""Two persons who change places: who comes first in a file is chance, or the camera's side, more often than a role."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from components.contracts.config import DataConfig
from components.contracts.skeleton import Layout
from components.train.clips.augment import rotations


@dataclass(frozen=True)
class Exchange:
    """What makes the second person the first, clip by clip.

    ``chosen`` bool ``[B]``; ``origin`` ``[B, 3]`` is subtracted from joints that are there, then ``turn``
    ``[B, 3, 3]`` applied. ``centre`` is the joint that normalisation moves to zero, where it is not missing.
    """

    chosen: Tensor
    origin: Tensor
    turn: Tensor
    centre: int

    @classmethod
    def of(cls, joints: Tensor, layout: Layout, data: DataConfig, wanted: Tensor) -> Exchange:
        """Return the exchange in clips ``[B, M, T, V, 3]`` where it is ``wanted`` and both persons are in every frame.

        As normalisation did by the first person and the whole sequence: with ``body`` the new first person's centre
        in the first frame moves to the origin, and with ``align`` the bodies turn about z by that person's shoulders.
        """
        second, centre = joints[:, 1], layout.number(layout.centre)
        batch, device = len(joints), joints.device
        chosen = wanted.to(device, non_blocking=True) & _there(joints[:, :2]).any(dim=3).all(dim=(1, 2))
        origin, angles = second.new_zeros(batch, 3), second.new_zeros(batch, 3)
        if data.normalisation == "body":
            origin = second[:, 0, centre]
        if data.align:
            angles[:, 2] = -_facing(second, layout)
        return cls(chosen, origin, rotations(angles), centre)

    def apply(self, joints: Tensor) -> Tensor:
        """Return ``[B, M, T, V, 3]`` with the first two persons exchanged where that was chosen."""
        others = torch.cat([joints[:, :2].flip(1), joints[:, 2:]], dim=1)
        there = _there(others)
        there[..., self.centre] |= there.any(dim=-1)
        moved = (others - self.origin[:, None, None, None]) * there[..., None]
        turned = torch.einsum("bmtvc,bdc->bmtvd", moved, self.turn)
        return torch.where(self.chosen[:, None, None, None, None], turned, joints)


def _there(joints: Tensor) -> Tensor:
    """Return which joints are not exactly zero: bool ``[..., V]``."""
    return (joints != 0).any(dim=-1)


def _facing(person: Tensor, layout: Layout) -> Tensor:
    """Return the angle about z ``[B]`` of ``across`` of one person ``[B, T, V, 3]``: that of its mean over the clip."""
    right, left = (layout.number(joint) for joint in layout.across)
    across = person[:, :, left, :2] - person[:, :, right, :2]
    known = _there(person)[:, :, [right, left]].all(dim=2, keepdim=True)
    mean = (torch.nn.functional.normalize(across, dim=-1) * known).mean(dim=1)
    return torch.atan2(mean[:, 1], mean[:, 0])
