"""Sampling, gathering, augmentation and mix-up as a batch do what they would do to each sample alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from train_helpers import experiment

from components.contracts import dataset
from components.contracts.config import Augmentation, TrainConfig
from components.contracts.skeleton import load_layout
from components.train.clips.augment import Draws, augment, draw, mirror, rotations, swap
from components.train.clips.gather import ClipSource
from components.train.clips.mix import Region, draw_mix, draw_region, mix, paste
from components.train.clips.sampling import test_frames as frames_of_test_clip
from components.train.clips.sampling import training_frames
from components.train.training.schedule import learning_rate

lengths_of_batches = st.lists(st.integers(1, 400), min_size=1, max_size=6).map(torch.tensor)
LAYOUT = load_layout("ntu25")


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def config(sampling: str, frames: int = 32, crop: float = 1.0) -> TrainConfig:
    augmentation = Augmentation(crop=crop)
    return TrainConfig(epochs=1, frames=frames, sampling=sampling, test_clips=3, augmentation=augmentation)


def changed_by(config: Augmentation, joints: torch.Tensor, seed: int, *, three_d: bool = True) -> torch.Tensor:
    return augment(joints, LAYOUT, draw(len(joints), LAYOUT, config, generator(seed), three_d=three_d))


@settings(deadline=None)
@given(lengths_of_batches, st.sampled_from(["uniform", "resize"]), st.floats(0.3, 1), st.integers(0, 99))
def test_frames_lie_in_the_sequence(lengths: torch.Tensor, sampling: str, crop: float, seed: int) -> None:
    chosen = [training_frames(lengths, config(sampling, crop=crop), generator(seed))]
    chosen += [frames_of_test_clip(lengths, config(sampling), clip) for clip in range(3)]
    for frames in chosen:
        assert frames.lower.shape == (len(lengths), 32)
        assert bool((frames.lower >= 0).all()) and bool((frames.upper < lengths[:, None]).all())
        assert bool((frames.upper >= frames.lower).all())
        assert bool((frames.weight >= 0).all()) and bool((frames.weight < 1).all())


@settings(deadline=None)
@given(st.integers(32, 400), st.integers(0, 99))
def test_uniform_sampling_takes_one_frame_of_each_segment(length: int, seed: int) -> None:
    frames = training_frames(torch.tensor([length]), config("uniform"), generator(seed)).lower[0]
    if length < 64:  # too few for segments: single frames are left out
        assert set(frames.diff().tolist()) <= {1, 2}
        return
    edges = torch.arange(33) * length // 32
    assert bool((frames >= edges[:-1]).all()) and bool((frames < edges[1:]).all())


def test_resize_of_a_sequence_to_its_own_length_is_the_sequence() -> None:
    fixed = TrainConfig(epochs=1, frames=20, sampling="resize", test_clips=1)
    frames = frames_of_test_clip(torch.tensor([20]), fixed, 0)
    assert frames.lower[0].tolist() == list(range(20)) and float(frames.weight.sum()) == pytest.approx(0, abs=1e-4)


def test_clips_are_the_samples_frames_and_absent_persons_are_zero(tiny_dataset: Path) -> None:
    data = dataset.open(tiny_dataset)
    source = ClipSource(data, persons=2, device=torch.device("cpu"))
    samples = torch.tensor([1, 0, 17])
    frames = training_frames(source.frames[samples], config("uniform", frames=8), generator(1))
    clips = source.clips(samples, frames)
    for row, number in enumerate(samples.tolist()):
        sample = data.sample(number)
        expected = np.zeros((2, 8, *sample.shape[2:]), dtype=np.float32)
        expected[: len(sample)] = sample[:, frames.lower[row].numpy()]
        np.testing.assert_array_equal(clips[row].numpy(), expected)
    assert {1, 2} == set(data.persons[samples.numpy()].tolist())


def test_gathering_leaves_the_file_alone(tiny_dataset: Path) -> None:
    before = (tiny_dataset / "keypoints.npy").read_bytes()
    source = ClipSource(dataset.open(tiny_dataset), persons=1, device=torch.device("cpu"))
    source.keypoints.add_(1)
    assert (tiny_dataset / "keypoints.npy").read_bytes() == before


@settings(deadline=None, max_examples=25)
@given(st.integers(0, 10_000))
def test_rotation_keeps_every_distance(seed: int) -> None:
    joints = torch.randn(3, 2, 4, 25, 3, generator=generator(seed))
    turned = changed_by(Augmentation(rotation=1.0), joints, seed)
    torch.testing.assert_close(torch.cdist(turned, turned), torch.cdist(joints, joints), atol=1e-3, rtol=1e-3)
    assert not torch.equal(turned[0], joints[0])
    matrices = rotations(torch.rand(5, 3, generator=generator(seed)) * 6)
    torch.testing.assert_close(torch.linalg.det(matrices), torch.ones(5))


def test_scores_of_2d_skeletons_are_not_augmented() -> None:
    joints = torch.rand(4, 1, 5, 25, 3, generator=generator(0))
    changed = changed_by(Augmentation(scale=0.5, rotation=1.0), joints, 1, three_d=False)
    assert torch.equal(changed[..., 2], joints[..., 2])
    assert not torch.equal(changed[..., :2], joints[..., :2])


def test_mirror_is_its_own_inverse_and_swaps_hands() -> None:
    joints, middle = torch.randn(2, 1, 3, 25, 3, generator=generator(2)), torch.zeros(2)
    once = mirror(joints, LAYOUT, middle)
    left, right = LAYOUT.number("left_hand"), LAYOUT.number("right_hand")
    torch.testing.assert_close(once[..., left, 1:], joints[..., right, 1:])
    torch.testing.assert_close(once[..., left, 0], -joints[..., right, 0])
    torch.testing.assert_close(mirror(once, LAYOUT, middle), joints)
    torch.testing.assert_close(swap(joints, LAYOUT)[..., left, :], joints[..., right, :])


def test_pixels_are_mirrored_within_their_image_and_missing_joints_stay_missing() -> None:
    joints = torch.rand(2, 1, 3, 25, 3, generator=generator(2)) * 100
    joints[:, :, :, 7] = 0
    mirrored = mirror(joints, LAYOUT, torch.tensor([100, 200]))
    torch.testing.assert_close(mirrored[1, ..., 3, 0], 200 - joints[1, ..., 3, 0])
    assert not bool(mirrored[:, :, :, LAYOUT.mirrored[7]].any())
    assert bool((mirrored[0, ..., 0] >= 0).all()) and bool((mirrored[0, ..., 0] <= 100).all())


def test_a_flip_changes_the_drawn_samples_only() -> None:
    joints = torch.randn(2, 1, 3, 25, 3, generator=generator(2))
    draws = Draws(flipped=torch.tensor([True, False]))
    for mirrored_x in (None, torch.zeros(2)):
        flipped = augment(joints, LAYOUT, draws, mirrored_x=mirrored_x)
        assert torch.equal(flipped[1], joints[1]) and not torch.equal(flipped[0], joints[0])


def test_part_drop_blanks_whole_limbs() -> None:
    dropped = changed_by(Augmentation(part_drop=0.5), torch.ones(64, 1, 2, 25, 3), 3)
    parts = {frozenset(numbers) for part, numbers in LAYOUT.part_numbers.items() if part != "trunk"}
    blank = [frozenset((sample[0, 0, :, 0] == 0).nonzero().flatten().tolist()) for sample in dropped]
    assert {zeros for zeros in blank if zeros} == parts
    assert frozenset() in blank


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.integers(1, 7), st.sampled_from([8, 32, 100]))
def test_mixed_labels_are_distributions_and_clips_come_from_the_two(seed: int, batch: int, frames: int) -> None:
    clips = torch.randn(batch, 1, frames, 25, 3, generator=generator(seed))
    labels = torch.arange(batch) % 4
    mixed, distribution = mix(clips, labels, 4, draw_mix(len(clips), clips.shape[2], LAYOUT, generator(seed)))
    assert mixed.shape == clips.shape
    torch.testing.assert_close(distribution.sum(dim=1), torch.ones(batch))
    own = distribution[torch.arange(batch), labels]
    if batch > 2:
        assert bool((own > 0).all())
    else:
        torch.testing.assert_close(distribution, torch.nn.functional.one_hot(labels, 4).float())


@settings(deadline=None, max_examples=50)
@given(st.integers(0, 10_000), st.sampled_from([32, 64, 100]))
def test_regions_are_two_or_three_parts_for_half_to_four_fifths_of_the_time(seed: int, frames: int) -> None:
    region = draw_region(frames, LAYOUT, generator(seed))
    whole = [set(part) <= set(region.joints) for part in LAYOUT.part_numbers.values()]
    assert sum(whole) in (2, 3)
    assert 0.5 <= region.length / frames <= 0.8
    assert region.start + region.length <= frames
    assert region.length <= region.source_length <= frames - region.source_start


def test_paste_changes_the_region_only() -> None:
    clips, partner = torch.zeros(1, 1, 12, 25, 3), torch.ones(1, 1, 12, 25, 3)
    mixed = paste(clips, partner, Region(joints=(3, 7), start=4, length=4, source_start=0, source_length=12))
    assert float(mixed[:, :, 4:8, [3, 7]].min()) == 1
    mixed[:, :, 4:8, [3, 7]] = 0
    assert float(mixed.abs().max()) == 0


@pytest.mark.parametrize("warmup", [0, 2])
def test_learning_rate_warms_up_and_falls_to_zero(tiny_dataset: Path, tiny_constraints: Path, warmup: int) -> None:
    from components.train.core import _build_trainer
    from components.train.round import Round
    from components.train.training.inputs import open_inputs

    stage = experiment(epochs=10, warmup_epochs=warmup).stage_train("j")
    trainer = _build_trainer(stage, open_inputs(Round(stage, "j", 1, tiny_dataset, tiny_constraints)), "j")
    steps = trainer.steps_per_epoch
    rates = [learning_rate(trainer.stage.train, step, steps) for step in range(10 * steps)]
    peak = warmup * trainer.steps_per_epoch
    assert max(rates) == pytest.approx(0.1) and rates.index(max(rates)) in (peak, peak - 1)
    assert rates[peak:] == sorted(rates[peak:], reverse=True)
    assert rates[-1] < 0.001
