"""Which frames a clip takes, for a whole batch at once.

``uniform`` is the reference's sampling by frame numbers (PoseConv3D, Duan et al. 2022, section 3.1): one frame
of each of T equal segments of the sequence; a sequence of T to 2T frames leaves frames out at random places; a
shorter one is repeated from some frame on. ``resize`` places the clip's frames evenly over the sequence and
interpolates between neighbours, which suits sequences that are shorter than the clip.

What chance decides (``UniformDraws``) is apart from what follows from it (``uniform_numbers``): given the
reference's draws the frames are the reference's. Its test clips are drawn with seed 255 anew for every sample,
hence they depend on the length only; ``test_frames`` gives exactly these.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from components.contracts.config import TrainConfig

_TEST_SEED = 255


@dataclass(frozen=True)
class Frames:
    """Positions in time: ``lower`` and ``upper`` frame numbers int64 ``[B, T]``, ``weight`` of the upper one."""

    lower: Tensor
    upper: Tensor
    weight: Tensor

    def next(self, lengths: Tensor) -> Frames:
        """Return the positions one frame of the sequence later; the last frame stays."""
        last = lengths[:, None] - 1
        return Frames((self.lower + 1).minimum(last), (self.upper + 1).minimum(last), self.weight)

    def joined(self, following: Frames) -> Frames:
        """Return the positions one frame of the clip later; after the last comes the first of ``following``."""
        pairs = ((self.lower, following.lower), (self.upper, following.upper), (self.weight, following.weight))
        return Frames(*(torch.cat([own[:, 1:], others[:, :1]], dim=1) for own, others in pairs))


@dataclass(frozen=True)
class UniformDraws:
    """The chance in uniform clips; of the three, a sequence's length says which one counts.

    ``start``: first frame, int64 ``[B]`` (fewer than T frames); ``skipped``: where a frame is left out, before each
    of the clip's frames and at the end, bool ``[B, T + 1]``, as many as there are frames too many (T to 2T);
    ``offsets``: the frame within each segment, int64 ``[B, T]`` (2T frames and more).
    """

    start: Tensor
    skipped: Tensor
    offsets: Tensor


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
    return _whole(start[:, None] + uniform_numbers(kept, draw_uniform(kept, config.frames, generator)))


def test_frames(lengths: Tensor, config: TrainConfig, clip: int) -> Frames:
    """Return the frames of test clip number ``clip`` of ``config.test_clips``: the same whenever asked."""
    if config.sampling == "resize":
        phase = (clip + 0.5) / config.test_clips
        jitter = torch.full((len(lengths), config.frames), phase)
        return _resized(torch.zeros_like(lengths), lengths, config.frames, jitter)
    clips = [_test_clips(length, config.frames, config.test_clips, config.test_starts) for length in lengths.tolist()]
    return _whole(torch.stack([of_sample[clip] for of_sample in clips]))


def draw_uniform(lengths: Tensor, frames: int, generator: torch.Generator) -> UniformDraws:
    """Draw what ``uniform_numbers`` needs for clips of ``frames`` frames."""
    places = _uniform((len(lengths), frames + 1), generator)
    # Frames are left out at the smallest ones: as many as needed, or one fewer where chance draws a number twice.
    many = (lengths - frames).clamp(0, frames)[:, None]
    smallest = places.sort(dim=1).values.gather(1, many)
    inside = _uniform((len(lengths), frames), generator) * _segments(lengths, frames).diff(dim=1)
    return UniformDraws(
        start=(_uniform(len(lengths), generator) * lengths).long(),
        skipped=places < smallest,
        offsets=inside.long(),
    )


def uniform_numbers(lengths: Tensor, draws: UniformDraws) -> Tensor:
    """Return the frame numbers of uniform clips, int64 ``[B, T]``, which follow from the draws alone."""
    slots = torch.arange(draws.offsets.shape[1])
    repeated = (draws.start[:, None] + slots) % lengths[:, None]
    thinned = slots + draws.skipped.cumsum(dim=1)[:, :-1]
    spread = _segments(lengths, len(slots))[:, :-1] + draws.offsets
    longer = torch.where(lengths[:, None] < 2 * len(slots), thinned, spread)
    return torch.where(lengths[:, None] < len(slots), repeated, longer)


@lru_cache(maxsize=4096)
def _test_clips(length: int, frames: int, clips: int, starts: str) -> Tensor:
    """Return the frames of all test clips of a sequence, ``[clips, frames]``, drawn as the reference draws them."""
    random = np.random.RandomState(_TEST_SEED)
    segments = _segments(torch.tensor([length]), frames).diff(dim=1)[0].numpy()
    start = np.zeros(clips, dtype=np.int64)
    skipped = np.zeros((clips, frames + 1), dtype=bool)
    offsets = np.zeros((clips, frames), dtype=np.int64)
    for clip in range(clips):
        random.rand()  # the reference draws a share of the sequence, which is always the whole
        if length < frames and starts == "random":
            start[clip] = random.randint(length)
        elif length < frames:
            start[clip] = clip if length < clips else clip * length // clips
        elif length < 2 * frames:
            skipped[clip, random.choice(frames + 1, length - frames, replace=False)] = True
        else:
            offsets[clip] = random.randint(segments)
    draws = UniformDraws(*(torch.from_numpy(array) for array in (start, skipped, offsets)))
    return uniform_numbers(torch.full((clips,), length), draws)


def _segments(lengths: Tensor, frames: int) -> Tensor:
    """Return the first frame of each of ``frames`` equal segments, and the end: ``[B, frames + 1]``."""
    return torch.arange(frames + 1) * lengths[:, None] // frames


def _resized(start: Tensor, kept: Tensor, frames: int, jitter: Tensor) -> Frames:
    slots = (torch.arange(frames)[None, :] + jitter) / frames
    last = (kept - 1)[:, None]
    position = (slots * kept[:, None] - 0.5).clamp(min=0).minimum(last)
    lower = position.long()
    upper = (lower + 1).minimum(last)
    return Frames(start[:, None] + lower, start[:, None] + upper, position - lower)


def _whole(numbers: Tensor) -> Frames:
    return Frames(numbers, numbers, torch.zeros(numbers.shape))


def _uniform(size: int | tuple[int, ...], generator: torch.Generator) -> Tensor:
    return torch.rand(size, generator=generator)
