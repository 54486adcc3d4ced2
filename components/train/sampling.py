"""Which frames a clip takes, for a whole batch at once.

``uniform`` is the reference's sampling by frame numbers (PoseConv3D, Duan et al. 2022, section 3.1);
``resize`` places the clip's frames evenly over the sequence and interpolates between neighbours, which
suits sequences that are shorter than the clip.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from components.contracts.config import TrainConfig


@dataclass
class Frames:
    """Positions in time: ``lower`` and ``upper`` frame numbers int64 ``[B, T]``, ``weight`` of the upper one."""

    lower: Tensor
    upper: Tensor
    weight: Tensor


def training_frames(lengths: Tensor, config: TrainConfig, generator: torch.Generator) -> Frames:
    """Draw a random clip of each sequence.

    Args:
        lengths: int64 ``[B]``, frames of each sequence, at least 1.
    """
    share = 1 - (1 - config.augmentation.crop) * _uniform(len(lengths), generator)
    kept = (lengths * share).long().clamp(min=1)
    start = (_uniform(len(lengths), generator) * (lengths - kept + 1)).long()
    if config.sampling == "resize":
        jitter = _uniform((len(lengths), config.frames), generator)
        return _resized(start, kept, config.frames, jitter)
    return _whole(start[:, None] + _uniform_numbers(kept, config.frames, generator))


def test_frames(lengths: Tensor, config: TrainConfig, clip: int) -> Frames:
    """Return the frames of test clip number ``clip`` of ``config.test_clips``: a fixed phase, no chance."""
    phase = (clip + 0.5) / config.test_clips
    if config.sampling == "resize":
        jitter = torch.full((len(lengths), config.frames), phase)
        return _resized(torch.zeros_like(lengths), lengths, config.frames, jitter)
    slots = torch.arange(config.frames)[None, :]
    long = ((slots + phase) * lengths[:, None] / config.frames).long()
    short = (slots + int(clip / config.test_clips * config.frames)) % lengths[:, None]
    return _whole(torch.where(lengths[:, None] < config.frames, short, long))


def _resized(start: Tensor, kept: Tensor, frames: int, jitter: Tensor) -> Frames:
    slots = (torch.arange(frames)[None, :] + jitter) / frames
    last = (kept - 1)[:, None]
    position = (slots * kept[:, None] - 0.5).clamp(min=0).minimum(last)
    lower = position.long()
    upper = (lower + 1).minimum(last)
    return Frames(start[:, None] + lower, start[:, None] + upper, position - lower)


def _uniform_numbers(lengths: Tensor, frames: int, generator: torch.Generator) -> Tensor:
    """Frame numbers ``[B, frames]``: one of each of ``frames`` equal segments, or a wrapped run if too short."""
    lengths = lengths[:, None]
    slots = torch.arange(frames)[None, :]
    begin, end = slots * lengths // frames, (slots + 1) * lengths // frames
    inside = _uniform((len(lengths), frames), generator) * (end - begin).clamp(min=1)
    run = (_uniform((len(lengths), 1), generator) * lengths).long() + slots
    return torch.where(lengths < frames, run % lengths, begin + inside.long())


def _whole(numbers: Tensor) -> Frames:
    return Frames(numbers, numbers, torch.zeros(numbers.shape))


def _uniform(size: int | tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(size, generator=generator)
