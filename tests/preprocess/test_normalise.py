"""Normalisation: equal to the reference implementation where it has one, and sound where it has none."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st
from pickles import config

from components.contracts.config import DataConfig
from components.contracts.data_config import AXES, Axis
from components.contracts.skeleton import load_layout
from components.preprocess.normalise import align, align_about, normalise, rotation, to_body
from components.preprocess.readers.samples import Sample

NTU = load_layout("ntu25")
GOLDEN_3D = ["1p_T70", "2p_T150", "2p_T260_swap"]
GOLDEN_2D = ["1p_T70", "2p_T150", "2p_T260"]


def sample(keypoints: Any, **fields: Any) -> Sample:
    return Sample(position=0, sample_id="x", label=0, keypoints=np.asarray(keypoints), **fields)


def ntu(**changes: Any) -> DataConfig:
    return config(layout="ntu25", normalisation="body", **changes)


def image(**changes: Any) -> DataConfig:
    return config(**{"layout": "coco17", "dimensions": "2d+score", "normalisation": "image", **changes})


def moving(seed: int, persons: int = 1, frames: int = 8, joints: int = 25) -> Any:
    return np.random.default_rng(seed).uniform(0.5, 2.0, (persons, frames, joints, 3))


@pytest.mark.parametrize("case", GOLDEN_3D)
def test_3d_equals_the_reference(golden_dir: Path, case: str) -> None:
    golden = np.load(golden_dir / f"b_nturgbd_{case}.npz")
    found = normalise(sample(golden["raw"]), ntu())
    # The reference computes in float16; rounded to it, ours is the same bit for bit.
    np.testing.assert_array_equal(found.astype(np.float16), golden["prenorm"])
    assert found.shape[1] == golden["prenorm_total_frames"]
    kept = golden["raw"][golden["raw"].any(axis=(2, 3)).sum(axis=1).argmax()]
    first = kept[kept.any(axis=(1, 2))][0, NTU.number(NTU.centre)]
    np.testing.assert_array_equal(first, golden["prenorm_body_center"])


@pytest.mark.parametrize("case", GOLDEN_3D)
def test_alignment_equals_the_reference(golden_dir: Path, case: str) -> None:
    golden = np.load(golden_dir / f"b_nturgbd_{case}.npz")
    found = normalise(sample(golden["raw"]), ntu(align=True))
    # The reference takes its angles from float16 coordinates: up to a milliradian.
    np.testing.assert_allclose(found, golden["prenorm_align_spine_true"], atol=5e-3)


@pytest.mark.parametrize("case", GOLDEN_2D)
def test_added_joints_equal_the_reference(golden_dir: Path, case: str) -> None:
    golden = np.load(golden_dir / f"b_coco_new_{case}.npz")
    points, scores = golden["posedecode_seed72_kp"], golden["posedecode_seed72_score"]
    pixels = normalise(sample(points, scores=scores), image(layout="coco20", normalisation="none"))
    np.testing.assert_array_equal(pixels, golden["kinetics_transform"])


@pytest.mark.parametrize("case", GOLDEN_2D)
def test_image_coordinates_are_the_reference_joints_scaled(golden_dir: Path, case: str) -> None:
    golden = np.load(golden_dir / f"b_coco_new_{case}.npz")
    height, width = golden["img_shape"]
    points, scores = golden["posedecode_seed72_kp"], golden["posedecode_seed72_score"]
    found = normalise(sample(points, scores=scores, image=(int(height), int(width))), image(layout="coco20"))
    pixels = golden["kinetics_transform"]
    expected = np.where(pixels[..., :2].any(axis=-1, keepdims=True), pixels[..., :2] * [2 / width, 2 / height] - 1, 0)
    np.testing.assert_allclose(found[..., :2], expected, atol=1e-6)
    np.testing.assert_array_equal(found[..., 2], pixels[..., 2])


def test_image_corners_and_centre() -> None:
    points = np.full((1, 1, 17, 2), 1.0)
    points[0, 0, :3] = [[640, 480], [320, 240], [0, 0]]
    found = normalise(sample(points, scores=np.full((1, 1, 17), 0.5), image=(480, 640)), image())
    np.testing.assert_allclose(found[0, 0, :3], [[1, 1, 0.5], [0, 0, 0.5], [0, 0, 0.5]])


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), shift=st.tuples(*[st.floats(-5, 5)] * 3), persons=st.integers(1, 3))
def test_place_does_not_matter(seed: int, shift: tuple[float, float, float], persons: int) -> None:
    points = moving(seed, persons) + 10
    here, there = (normalise(sample(p), ntu(max_persons=2, align=True)) for p in (points, points + np.array(shift)))
    np.testing.assert_allclose(here, there, atol=1e-5)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), vector=st.tuples(*[st.floats(-3, 3)] * 3))
@example(seed=0, vector=(0.0, 5e-162, 0.0))
@example(seed=0, vector=(0.0, 1e-145, 1e-140))
def test_alignment_is_a_rotation(seed: int, vector: tuple[float, float, float]) -> None:
    turn = rotation(np.array(vector), np.array([0.0, 0.0, 1.0]))
    np.testing.assert_allclose(turn @ turn.T, np.eye(3), atol=1e-9)
    assert np.linalg.det(turn) == pytest.approx(1)
    points = moving(seed, persons=2)
    distances = [np.linalg.norm(p[:, :, 1:] - p[:, :, :-1], axis=-1) for p in (points, align(points, NTU))]
    np.testing.assert_allclose(*distances, atol=1e-9)


@pytest.mark.parametrize("name", ["ntu25", "kinect20", "sbu15", "uav17"])
def test_aligned_body_faces_front_in_any_layout(name: str) -> None:
    layout = load_layout(name)
    points = moving(3, joints=len(layout.joints))
    found = align(points, layout)[0, 0]
    across = found[layout.number(layout.across[0])] - found[layout.number(layout.across[1])]
    np.testing.assert_allclose(across / np.linalg.norm(across), [1, 0, 0], atol=1e-9)


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 99), up=st.sampled_from(sorted(AXES)), angle=st.floats(-3.1, 3.1))
def test_a_body_turned_about_what_is_up_comes_out_the_same(seed: int, up: Axis, angle: float) -> None:
    """However it faced; no joint is nearer to another, or higher above the ground, than it was."""
    points = moving(seed, persons=2)
    points[:, :, NTU.number("left_shoulder"), 0] += 3  # so that it faces some way
    axis = np.asarray(AXES[up], dtype=float)[2]
    sine, cross = np.sin(angle), np.cross(np.eye(3), axis)
    turn = np.eye(3) + sine * cross + (1 - np.cos(angle)) * cross @ cross
    found, other = (align_about(one, NTU, up) for one in (points, points @ turn.T))
    np.testing.assert_allclose(found, other, atol=1e-9)
    np.testing.assert_allclose(found[..., 2], points @ axis, atol=1e-9)
    distances = [np.linalg.norm(p[:, :, 1:] - p[:, :, :-1], axis=-1) for p in (points, found)]
    np.testing.assert_allclose(*distances, atol=1e-9)


@pytest.mark.parametrize("name", ["ntu25", "kinect20", "sbu15", "uav17"])
def test_a_body_turned_about_what_is_up_faces_front_in_the_mean_of_its_frames(name: str) -> None:
    layout = load_layout(name)
    points = moving(3, joints=len(layout.joints))
    points[0, 1, layout.number(layout.across[0])] = 0  # a frame that does not say
    found = np.delete(align_about(points, layout, "+y")[0], 1, axis=0)
    across = (found[:, layout.number(layout.across[1])] - found[:, layout.number(layout.across[0])])[:, :2]
    x, y = (across / np.linalg.norm(across, axis=1, keepdims=True)).mean(axis=0)
    assert x > 0 and y == pytest.approx(0, abs=1e-9)


def test_a_body_without_shoulders_is_turned_upright_only() -> None:
    points = moving(1)
    points[:, :, [NTU.number(joint) for joint in NTU.across]] = 0
    np.testing.assert_array_equal(align_about(points, NTU, "-y"), points[..., [0, 2, 1]] * [1, 1, -1])


@pytest.mark.parametrize("vector", [(0, 0, 0), (0, 0, 2), (0, 0, -2)])
def test_degenerate_directions_turn_nothing(vector: tuple[float, float, float]) -> None:
    np.testing.assert_array_equal(rotation(np.array(vector, float), np.array([0.0, 0.0, 1.0])), np.eye(3))


def test_frames_without_the_main_person_go_and_missing_joints_stay_zero() -> None:
    points = moving(1, persons=2, frames=6)
    points[0, [0, 3]] = 0
    points[1, 1:] = 0
    points[0, 4, 7] = 0
    found = normalise(sample(points), ntu())
    assert found.shape == (2, 4, 25, 3)
    assert not found[0, 2, 7].any() and not found[1, 1:].any()
    np.testing.assert_allclose(found[0, 0, NTU.number(NTU.centre)], 0)
    np.testing.assert_allclose(found[0, 1], points[0, 2] - points[0, 1, NTU.number(NTU.centre)], atol=1e-6)


def test_the_person_present_longest_comes_first() -> None:
    points = moving(2, persons=3, frames=6)
    points[0, 2:] = 0
    points[1, 5:] = 0
    found = normalise(sample(points), config(layout="ntu25", max_persons=3))
    np.testing.assert_allclose(found, points[[2, 1, 0]].astype(np.float32))
    assert len(normalise(sample(points), config(layout="ntu25", max_persons=1))) == 1


def test_among_equals_the_one_who_moves_stays() -> None:
    points = np.repeat(moving(4, persons=3, frames=1), 6, axis=1)
    points[1] += np.linspace(0, 1, 6)[:, None, None]
    found = normalise(sample(points), config(layout="ntu25", max_persons=1))
    np.testing.assert_allclose(found, points[[1]].astype(np.float32))


def test_the_first_persons_stay_where_they_stand() -> None:
    """As the reference has it in 2d: no person moves to the front, one who never appears keeps the place."""
    points, scores = np.zeros((4, 8, 17, 2)), np.zeros((4, 8, 17))
    for person, frames in ((1, 3), (2, 8), (3, 8)):
        points[person, :frames], scores[person, :frames] = person, 1
    found = normalise(sample(points, scores=scores), image(normalisation="none", persons="first", max_persons=3))
    np.testing.assert_array_equal(found[..., :2], points[:3])
    alone = normalise(
        sample(points[:2], scores=scores[:2]), image(normalisation="none", persons="first", max_persons=1)
    )
    assert alone.shape == (1, 8, 17, 3) and not alone.any()


def test_absent_persons_are_left_out() -> None:
    points = moving(5, persons=2)
    points[1] = 0
    assert normalise(sample(points), ntu()).shape == (1, 8, 25, 3)


def test_one_frame_is_enough() -> None:
    found = normalise(sample(moving(6, frames=1)), ntu(align=True))
    assert found.shape == (1, 1, 25, 3) and np.isfinite(found).all()


def test_centre_joint_missing_in_the_first_frame_moves_nothing() -> None:
    points = moving(7)
    points[0, 0, NTU.number(NTU.centre)] = 0
    np.testing.assert_allclose(to_body(points, NTU), points)
