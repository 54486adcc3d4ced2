"""Real skeleton files go through the stage (they lie outside the repository)."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from pickles import config

from components.contracts import dataset
from components.contracts.config import Protocol
from components.preprocess.core import preprocess


def _classes(number: int) -> list[str]:
    return [f"class {label}" for label in range(number)]


def test_nw_ucla_and_its_leak(data_dir: Path, tmp_path: Path) -> None:
    protocols = {
        "clean": Protocol(train="xview_train_clean", test="xview_val"),
        "published": Protocol(train="xview_train", test="xview_val"),
    }
    changes = {"layout": "kinect20", "classes": _classes(10), "normalisation": "body", "max_persons": 1}
    settings = config(**changes, protocols=protocols, protocol="clean")
    preprocess(data_dir / "nw_ucla.pkl", settings, tmp_path / "out")
    packed = dataset.open(tmp_path / "out")
    assert len(packed) == 1484 and not packed.skipped
    assert {name: len(numbers) for name, numbers in packed.splits.items()} == {
        "xview_train": 1020,
        "xview_train_clean": 925,
        "xview_val": 464,
    }
    assert dataset.verify(tmp_path / "out").about["leaks"] == {"clean": 0, "published": 95}
    assert packed.frames.min() == 1 and np.isfinite(packed.keypoints).all()
    centres = packed.keypoints[packed.first, packed.layout.number(packed.layout.centre)]
    assert not centres.any()


def test_sbu_has_two_persons(data_dir: Path, tmp_path: Path) -> None:
    protocols = {f"fold{n}": Protocol(train=f"fold{n}_train", test=f"fold{n}_val") for n in range(1, 6)}
    changes = {"layout": "sbu15", "classes": _classes(8), "normalisation": "body", "align": True}
    preprocess(data_dir / "sbu_kinect.pkl", config(**changes, protocols=protocols, protocol="fold1"), tmp_path / "out")
    packed = dataset.open(tmp_path / "out")
    assert len(packed) == 282 and not packed.skipped
    assert set(packed.persons.tolist()) == {2}
    assert all(len(packed.split(f"fold{n}_train")) + len(packed.split(f"fold{n}_val")) == 282 for n in range(1, 6))


def test_hrnet_clips_fill_both_coco_layouts(data_dir: Path, tmp_path: Path) -> None:
    protocols = {"first": Protocol(train="train1", test="test1")}
    for layout, joints in (("coco17", 17), ("coco20", 20)):
        changes = {"layout": layout, "classes": _classes(101), "dimensions": "2d+score", "normalisation": "image"}
        settings = config(**changes, protocols=protocols, protocol="first")
        preprocess(data_dir / "ucf101_hrnet_sample.pkl", settings, tmp_path / layout)
        packed = dataset.open(tmp_path / layout)
        assert len(packed) == 6 and not packed.skipped and packed.keypoints.shape[1:] == (joints, 3)
        assert sorted(packed.persons.tolist()) == [1, 1, 1, 1, 1, 2]
        assert np.abs(packed.keypoints[..., :2]).max() < 2 and packed.keypoints[..., 2].min() >= 0
