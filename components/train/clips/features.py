"""From sample numbers to what the recogniser sees: clips, augmented in training, as features of one stream."""

from __future__ import annotations

import torch
from torch import Tensor

from components.contracts.config import TrainStage
from components.contracts.dataset import Dataset
from components.contracts.errors import InputError
from components.contracts.skeleton import Layout
from components.train.clips.augment import augment, draw
from components.train.clips.gather import ClipSource
from components.train.clips.sampling import Frames, test_frames, training_frames
from components.train.clips.streams import stream_features


def check_flip(dataset: Dataset, stage: TrainStage) -> None:
    """Raise ``InputError`` if pixels are to be mirrored in images whose width the dataset does not know."""
    flip, data = stage.train.augmentation, stage.data
    if not flip.flip or flip.flip_kind == "swap" or data.dimensions == "3d" or data.normalisation == "image":
        return
    unknown = dataset.widths[dataset.split(data.chosen.train)] == 0
    if unknown.any():
        raise InputError(
            f"img_shape of {int(unknown.sum())} training samples is not known; "
            "train.augmentation.flip needs it with normalisation 'none'",
            at=dataset.path,
        )


def training_features(
    source: ClipSource, samples: Tensor, stage: TrainStage, layout: Layout, stream: str, generator: torch.Generator
) -> Tensor:
    """Return one random, augmented clip of each sample, ``[B, M, T, V, 3]``.

    Args:
        samples: sample numbers, int64 ``[B]``.
    """
    config = stage.train.augmentation
    lengths = source.frames[samples]
    frames = training_frames(lengths, stage.train, generator)
    joints = source.clips(samples, frames)
    draws = draw(len(samples), layout, config, generator, three_d=stage.data.dimensions == "3d")
    mirrored_x = source.widths[samples] if config.flip_kind == "mirror" else None
    later = None
    if stage.train.motion == "sequence" and stream.endswith("m"):
        following = source.clips(samples, frames.next(lengths))
        later = augment(following, layout, draws, mirrored_x=mirrored_x)
    return stream_features(augment(joints, layout, draws, mirrored_x=mirrored_x), layout, stream, later)


def test_features(
    source: ClipSource, samples: Tensor, stage: TrainStage, layout: Layout, stream: str, clip: int
) -> Tensor:
    """Return test clip number ``clip`` of each sample, ``[B, M, T, V, 3]``."""
    lengths = source.frames[samples]
    frames = test_frames(lengths, stage.train, clip)
    later = _later(frames, lengths, stage, clip) if stream.endswith("m") else None
    following = source.clips(samples, later) if later is not None else None
    return stream_features(source.clips(samples, frames), layout, stream, following)


def _later(frames: Frames, lengths: Tensor, stage: TrainStage, clip: int) -> Frames | None:
    if stage.train.motion == "sequence":
        return frames.next(lengths)
    if stage.train.motion == "joined" and clip + 1 < stage.train.test_clips:
        return frames.joined(test_frames(lengths, stage.train, clip + 1))
    return None
