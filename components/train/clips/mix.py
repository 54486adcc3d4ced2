"""Skeleton mix-up: paste a partner's body parts for a while, or blend two skeletons.

Source: SkeletonAgent reference, ``recognizers/tools.py`` (QUIRKS 17). One partner shift, one region and one
draw serve the whole batch, as there; clip lengths other than its hard-coded 100 frames work here.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor
from torch.nn import functional as F

from components.contracts.skeleton import Layout

_PASTE_SHARE = 0.75  # probability of pasting parts rather than blending
_SLOT = 4  # frames per time slot
_SHORTEST, _LONGEST = 13, 20  # pasted time slots of every 25


@dataclass(frozen=True)
class Region:
    """``joints`` to paste, from frame ``start`` for ``length``; the partner's ``source_length`` frames fill them."""

    joints: tuple[int, ...]
    start: int
    length: int
    source_start: int
    source_length: int


@dataclass(frozen=True)
class Draw:
    """The chance in mixing a batch: sample i meets sample i + ``shift`` (modulo the batch).

    ``region``: what the partner's parts take, or None to blend the two by ``blend``, the partner's weight.
    """

    shift: int
    region: Region | None = None
    blend: float = 0.0


def draw_mix(batch: int, frames: int, layout: Layout, generator: torch.Generator) -> Draw:
    """Draw how a batch of clips of ``frames`` frames is mixed; a batch of one or two mixes each with itself."""
    shift = _integer(1, batch - 1, generator) if batch > 2 else 0
    if float(torch.rand((), generator=generator)) >= _PASTE_SHARE:
        return Draw(shift, blend=float(torch.rand((), generator=generator)))
    return Draw(shift, draw_region(frames, layout, generator))


def mix(clips: Tensor, labels: Tensor, classes: int, draw: Draw) -> tuple[Tensor, Tensor]:
    """Mix every sample with another of the batch, as drawn.

    Args:
        clips: one stream, ``[B, M, T, V, 3]``, T at least 8.
        labels: int64 ``[B]``.

    Returns:
        The mixed clips, and their class distribution ``[B, classes]``.
    """
    partner = clips.roll(-draw.shift, dims=0)
    if draw.region is None:
        share = draw.blend
        mixed = clips.lerp(partner, share)
    else:
        share = draw.region.length * len(draw.region.joints) / (clips.shape[2] * clips.shape[3])
        mixed = paste(clips, partner, draw.region)
    own = F.one_hot(labels, classes).float()
    return mixed, own.lerp(own.roll(-draw.shift, dims=0), share)


def draw_region(frames: int, layout: Layout, generator: torch.Generator) -> Region:
    """Draw two or three body parts and a span of whole time slots for them."""
    parts = list(layout.part_numbers.values())
    chosen = torch.randperm(len(parts), generator=generator)[: _integer(2, 4, generator)]
    slots = frames // _SLOT
    shortest = -(-_SHORTEST * slots // 25)
    length = _integer(shortest, max(shortest, _LONGEST * slots // 25) + 1, generator)
    source_length = _integer(length, slots + 1, generator)
    return Region(
        joints=tuple(sorted(joint for part in chosen.tolist() for joint in parts[part])),
        start=_integer(0, slots - length + 1, generator) * _SLOT,
        length=length * _SLOT,
        source_start=_integer(0, slots - source_length + 1, generator) * _SLOT,
        source_length=source_length * _SLOT,
    )


def paste(clips: Tensor, partner: Tensor, region: Region) -> Tensor:
    """Return ``clips`` with the region's joints taken from the partner, resized in time by nearest frame."""
    # Nearest frame as torch resizes: it rounds a little differently from integers.
    numbers = torch.arange(region.source_length, dtype=torch.float32)[None, None]
    step = F.interpolate(numbers, size=region.length)[0, 0].long()
    source = partner[:, :, (region.source_start + step).to(clips.device, non_blocking=True)]
    joints = torch.tensor(region.joints).to(clips.device, non_blocking=True)
    mixed = clips.clone()
    mixed[:, :, region.start : region.start + region.length, joints] = source[..., joints, :]
    return mixed


def _integer(low: int, high: int, generator: torch.Generator) -> int:
    """Draw an integer from [low, high)."""
    return int(torch.randint(low, high, (), generator=generator))
