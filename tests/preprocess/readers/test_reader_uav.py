"""Raw UAV-Human: text recordings in pixels, split by subject."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pickles import config
from raw_recordings import UAV_NAMES, standing, text, tracked, uav_files, write, zipped

from components.contracts import dataset
from components.contracts.config import DataConfig
from components.contracts.errors import InputError
from components.contracts.skeleton import load_layout
from components.preprocess.core import preprocess
from components.preprocess.normalise import normalise
from components.preprocess.readers.choose import open_source
from components.preprocess.readers.samples import Sample
from components.preprocess.readers.uav import TEST_SUBJECTS_1, TEST_SUBJECTS_2


def uav(**changes: Any) -> DataConfig:
    protocols = {name: {"train": f"{name}_train", "test": f"{name}_val"} for name in ("csv1", "csv2")}
    settings = {"layout": "uav17", "dimensions": "2d+score", "protocols": protocols, "protocol": "csv1"}
    return config(**{**settings, **changes})


def recording(folder: Path, *bodies: Any, frames: int, settings: DataConfig | None = None) -> Sample:
    source, _ = open_source(write(folder, {f"{UAV_NAMES[0]}.txt": text(tracked(*bodies, frames=frames))}), settings)
    (record,) = source
    assert isinstance(record, Sample)
    return record


@pytest.mark.parametrize("case", ["1p_T70", "2p_T150", "2p_T260"])
def test_the_stored_coordinates_are_the_reference_joint_stream(golden_dir: Path, case: str) -> None:
    golden = np.load(golden_dir / f"b_uav_{case}.npz")
    sample = Sample(0, "x", 0, golden["raw"], golden["raw_score"])
    stored = normalise(sample, uav())
    np.testing.assert_allclose(stored[:, golden["usf_train_seed72_inds"]], golden["feat_j"], atol=1e-6)
    padded = golden["pipeline_val_j_seed61"][0]
    np.testing.assert_allclose(stored[:, golden["usf_test_nc1_inds"]], padded[: len(stored)], atol=1e-6)
    assert not padded[len(stored) :].any()


def test_bodies_are_told_apart_by_their_place(tmp_path: Path) -> None:
    first, second = standing(1, 6, joints=17), standing(2, 3, joints=17)
    found = recording(tmp_path, ("000", 0, first), ("000", 2, second), frames=6)
    assert found.label == 0 and found.scores is not None
    np.testing.assert_array_equal(found.keypoints[0], first[..., :2])
    np.testing.assert_array_equal(found.keypoints[1, 2:5], second[..., :2])
    assert not found.keypoints[1, [0, 1, 5]].any()
    np.testing.assert_array_equal(found.scores[:, :, 0], [[1] * 6, [0, 0, 1, 1, 1, 0]])


def test_frames_without_a_body_and_the_fifth_body_are_left_out(tmp_path: Path) -> None:
    crowd = [("000", 1, standing(number, 2, joints=17)) for number in range(1, 7)]
    assert recording(tmp_path, *crowd, frames=5).keypoints.shape == (4, 2, 17, 2)


def test_joints_come_in_the_order_of_the_layout(tmp_path: Path) -> None:
    body = standing(1, 2, joints=17)
    file_order, wanted = load_layout("coco17").joints, load_layout("uav17").joints
    found = recording(tmp_path, ("000", 0, body), frames=2, settings=uav()).keypoints
    for number, joint in enumerate(wanted):
        np.testing.assert_array_equal(found[0, :, number], body[:, file_order.index(joint), :2])
    for layout in ("coco17", "coco20"):
        kept = recording(tmp_path, ("000", 0, body), frames=2, settings=uav(layout=layout)).keypoints
        np.testing.assert_array_equal(kept[0], body[..., :2])


def test_splits_are_the_official_ones() -> None:
    # The training subjects as the data set's repository lists them.
    first = """0, 2, 5-8, 10-21, 25-30, 32-40, 42-53, 55-57, 59, 61-65, 67-71, 73, 76-90, 98, 100, 102, 103, 105, 106,
        110-112, 114-118"""
    second = """0, 3-6, 8, 10-12, 14, 16, 18-22, 24, 26, 29-32, 35-40, 43-47, 49, 52, 54, 56, 57, 59-64, 66, 67, 69-75,
        77-81, 83, 84, 86-89, 91-97, 99-104, 106-115, 117, 118"""
    for listed, test in ((first, TEST_SUBJECTS_1), (second, TEST_SUBJECTS_2)):
        spans = re.findall(r"(\d+)(?:-(\d+))?", listed)
        train = {subject for low, high in spans for subject in range(int(low), int(high or low) + 1)}
        assert len(train) == 89 and set(range(119)) - train == test


@pytest.mark.parametrize("archive", [False, True])
def test_a_folder_goes_through_the_stage(tmp_path: Path, archive: bool) -> None:
    source = write(tmp_path / "Skeleton", uav_files() | {"readme.txt": "UAV-Human"})
    preprocess(zipped(source, tmp_path / "Skeleton.zip") if archive else source, uav(), tmp_path / "out")
    packed = dataset.open(tmp_path / "out")
    assert packed.sample_ids.tolist() == UAV_NAMES and packed.labels.tolist() == [0, 1, 1, 0]
    numbers = {name: found.tolist() for name, found in packed.splits.items()}
    assert numbers == {"csv1_train": [0, 2], "csv1_val": [1, 3], "csv2_train": [0, 3], "csv2_val": [1, 2]}
    (skipped,) = packed.skipped
    assert skipped.reason == "file name: found 'readme.txt', expected P…S…G…B…H…UC…LC…A…R…_….txt"


def test_image_coordinates_cannot_be_had(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="img_shape: missing"):
        preprocess(write(tmp_path / "in", uav_files()), uav(normalisation="image"), tmp_path / "out")
