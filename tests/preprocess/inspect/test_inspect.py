"""``inspect`` says what an input holds: counts, faults, equal sequences and leaks, and draws a sample."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from matplotlib.image import imread
from pickles import annotation, config, content, dump, keypoints
from raw_recordings import NTU_NAMES, UAV_NAMES, kinetics, ntu_files, skeletons, uav_files, video, write, zipped
from shell import calls
from typer.testing import CliRunner, Result

from components.contracts.errors import InputError
from components.preprocess.__main__ import app
from components.preprocess.core import preprocess
from components.preprocess.inspect.inspection import find_sample, inspect, layout_of, protocol_pairs


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, ["inspect", *map(str, arguments)])


def shown(*arguments: object) -> str:
    result = call(*arguments)
    assert result.exit_code == 0, result.output
    return result.output


def row(output: str, first: str) -> list[str]:
    """The cells of the table row that starts with ``first``."""
    rows = ([cell.strip() for cell in line.strip("│┃").split("│")] for line in output.splitlines())
    return next(cells[1:] for cells in rows if cells[0] == first)


def test_a_pickle_is_described(tmp_path: Path) -> None:
    points = keypoints(9, persons=2, frames=30)
    value = content(annotation("two", 1, points), train=["a", "b", "ghost"])
    output = shown(dump(tmp_path / "in.pkl", value))
    assert f"{tmp_path / 'in.pkl'}: pyskl, 5 samples, 2 classes" in output
    assert "form: 15 joints × 3 coordinates (5 samples)" in output
    assert "persons: 1: 4, 2: 1" in output
    assert "frames: min 12, 5 % 12, median 12, 95 % 30, max 30, 78 in all" in output
    assert row(output, "train") == ["3", "1", "2", "24"] and row(output, "test") == ["2", "0", "2", "24"]
    assert row(output, "1") == ["3", "1", "1"]
    assert "1 samples are in no split" in output and "no sample is all zero, NaN or otherwise faulty" in output
    assert "train → test: no test sample is byte-equal to a training sample" in output


def test_faults_are_counted_and_named(tmp_path: Path) -> None:
    nan = keypoints(1)
    nan[0, 3, 2, 1] = np.nan
    bad = [
        annotation("zero 1", points=keypoints(1) * 0),
        annotation("zero 2", points=keypoints(2) * 0),
        annotation("nan", points=nan),
        annotation("a"),
        annotation("label\x1b[2J", "0"),
        {"label": 3},
    ]
    output = shown(dump(tmp_path / "in.pkl", content(*bad)))
    assert "2 samples: keypoint: all values are zero (zero 1, zero 2)" in output
    assert "1 samples: keypoint: values that are NaN or infinite (nan)" in output
    assert "1 samples: label: found str, expected an integer ('label\\x1b[2J')" in output and "\x1b" not in output
    assert "1 samples: missing: frame_dir, keypoint (number 9)" in output
    assert "1 ids stand more than once (a)" in output


def test_twins_across_a_protocol_are_a_leak(tmp_path: Path) -> None:
    twin = annotation("twin", 1, keypoints(sum(b"a")))
    value = content(twin, test=["c", "twin"], train_clean=["b"], other_test=["c"])
    found = inspect(dump(tmp_path / "in.pkl", value))
    assert found.copies() == [["a", "twin"]]
    assert found.twins("train", "test") == [("a", "twin")] and not found.twins("train_clean", "test")
    output = shown(tmp_path / "in.pkl")
    assert "2 samples are byte-equal to another one, in 1 groups" in output
    assert "LEAK train → test: 1 of 2 test samples are byte-equal to training samples (class 1: 1)" in output
    assert "such as twin = a" in output and "train_clean → test: no test sample is byte-equal" in output
    assert "other_test" not in output.partition("byte-equal")[2]


def test_a_sample_on_both_sides_is_a_leak(tmp_path: Path) -> None:
    assert inspect(dump(tmp_path / "in.pkl", content(test=["a", "c"]))).twins("train", "test") == [("a", "a")]


@pytest.mark.parametrize(
    ("splits", "pairs"),
    [
        (["train", "val"], [("train", "val")]),
        (["train1", "test1", "train2", "test2"], [("train1", "test1"), ("train2", "test2")]),
        (
            ["xsub_train", "xsub_val", "xview_train", "xview_val"],
            [("xsub_train", "xsub_val"), ("xview_train", "xview_val")],
        ),
        (["fold1_train", "fold1_val", "fold2_val"], [("fold1_train", "fold1_val")]),
        (["xview_train_clean", "xview_val"], [("xview_train_clean", "xview_val")]),
        (["first", "second"], []),
    ],
)
def test_splits_are_paired_by_name(splits: list[str], pairs: list[tuple[str, str]]) -> None:
    assert protocol_pairs(dict.fromkeys(splits)) == pairs


def test_every_format_is_described(tmp_path: Path) -> None:
    ntu = zipped(write(tmp_path / "ntu", ntu_files()), tmp_path / "ntu.zip")
    index = kinetics(tmp_path / "k400", [video("v", 3, "x.pkl", [1, 1, 2])], {"v": skeletons(1, 3)}, train=["v"])
    first = {path: shown(path).splitlines()[:2] for path in (ntu, write(tmp_path / "uav", uav_files()), index)}
    assert [lines[0].partition(": ")[2] for lines in first.values()] == [
        "ntu, 4 samples, 2 classes",
        "uav, 4 samples, 2 classes",
        "kinetics, 1 samples, 1 classes",
    ]
    assert [lines[1] for lines in first.values()] == [
        "form: 25 joints × 3 coordinates (4 samples)",
        "form: 17 joints × 2 coordinates + score (4 samples)",
        "form: 17 joints × 2 coordinates + score (1 samples)",
    ]


def test_a_packed_dataset_is_described_with_its_class_names(tmp_path: Path) -> None:
    source = dump(tmp_path / "in.pkl", content(annotation("bad", 7), annotation("twin", points=keypoints(sum(b"a")))))
    protocols = {"plain": {"train": "train", "test": "test"}}
    preprocess(source, config(protocols=protocols), tmp_path / "out")
    output = shown(tmp_path / "out")
    assert f"{tmp_path / 'out'}: dataset, 5 samples, 2 classes" in output
    assert row(output, "0 first") == ["3", "1", "1"]
    assert "1 samples: label: found 7, expected 0 to 1 (bad)" in output
    assert "2 samples are byte-equal to another one" in output and "train → test" in output


def test_real_twins_are_found(data_dir: Path) -> None:
    found = inspect(data_dir / "nw_ucla.pkl")
    assert len(found.labels) == 1484 and not found.faults and len(found.copies()) == 95
    leaks = {pair: len(found.twins(*pair)) for pair in found.pairs}
    assert leaks == {("xview_train", "xview_val"): 95, ("xview_train_clean", "xview_val"): 0}


@pytest.mark.parametrize("name", ["sbu_kinect", "ucf101_hrnet_sample"])
def test_other_real_files_are_clean(data_dir: Path, name: str) -> None:
    found = inspect(data_dir / f"{name}.pkl")
    assert found.labels and not found.faults and not found.copies() and found.pairs


def ink(file: Path) -> Any:
    """Which pixels of a PNG are coloured, not grey."""
    image = imread(file)[..., :3]
    return np.ptp(image, axis=-1) > 0.2


def test_a_strip_is_drawn(tmp_path: Path) -> None:
    source = write(tmp_path / "ntu", ntu_files())
    output = shown(source, "--plot", tmp_path / "one.png")
    assert output.strip() == f"{tmp_path / 'one.png'}: {NTU_NAMES[0]}, class 0, 14 frames"
    shown(source, "--plot", tmp_path / "again.png")
    assert (tmp_path / "one.png").read_bytes() == (tmp_path / "again.png").read_bytes()
    columns = np.flatnonzero(ink(tmp_path / "one.png").any(axis=0))
    assert (np.diff(columns) > 20).sum() == 7  # eight bodies with a gap between them
    shown(source, "--plot", tmp_path / "other.png", "--sample", NTU_NAMES[3])
    assert (tmp_path / "one.png").read_bytes() != (tmp_path / "other.png").read_bytes()


def test_feet_are_down_whatever_the_axes(tmp_path: Path) -> None:
    body = keypoints(1, frames=1, joints=25) * 0.01
    body[..., 1] += np.linspace(0, 1.7, 25)  # joint 0 is the pelvis, 1 the spine, so up is the second axis
    turned = np.stack([body[..., 0], body[..., 2], -body[..., 1]], axis=-1)  # up is the third one, negative
    for name, points in (("up.png", body), ("turned.png", turned)):
        value = {"split": {"train": ["a"]}, "annotations": [annotation("a", points=points)]}
        shown(dump(tmp_path / "in.pkl", value), "--plot", tmp_path / name)
    assert (ink(tmp_path / "up.png") == ink(tmp_path / "turned.png")).mean() > 0.999


def test_two_persons_and_absent_frames_are_drawn(tmp_path: Path) -> None:
    points = keypoints(1, persons=2, frames=9, joints=20)
    points[1, 2:] = 0
    points[0, 4] = 0
    value = {"split": {"train": ["a"]}, "annotations": [annotation("a", points=points)]}
    shown(dump(tmp_path / "in.pkl", value), "--plot", tmp_path / "strip.png")
    image = imread(tmp_path / "strip.png")[..., :3]
    assert (image[..., 2] - image[..., 0] > 0.3).any() and (image[..., 0] - image[..., 2] > 0.3).any()


def test_an_id_is_no_formula(tmp_path: Path) -> None:
    value = {"split": {"train": ["$\\bad$"]}, "annotations": [annotation("$\\bad$", points=keypoints(1))]}
    assert "$\\bad$, class 0" in shown(dump(tmp_path / "in.pkl", value), "--plot", tmp_path / "strip.png")


def test_scores_and_packed_datasets_are_drawn(tmp_path: Path) -> None:
    source = write(tmp_path / "uav", uav_files())
    shown(source, "--plot", tmp_path / "uav.png", "--sample", UAV_NAMES[1])
    preprocess(dump(tmp_path / "in.pkl", content()), config(), tmp_path / "out")
    assert "c, first, 12 frames" in shown(tmp_path / "out", "--plot", tmp_path / "packed.png", "--sample", "c")
    assert ink(tmp_path / "uav.png").any() and ink(tmp_path / "packed.png").any()


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    source = dump(tmp_path / "in.pkl", content(annotation("zero", points=keypoints(1) * 0)))
    with pytest.raises(InputError, match="no sample 'none' found"):
        find_sample(source, sample_id="none")
    with pytest.raises(InputError, match="sample 'zero' cannot be drawn: keypoint: all values are zero"):
        find_sample(source, sample_id="zero")
    sample, holdings = find_sample(source)
    assert layout_of(sample, holdings).name == "sbu15"
    with pytest.raises(InputError, match="layout: ntu25 has 25 joints, sample 'a' 15"):
        layout_of(sample, holdings, "ntu25")
    odd = find_sample(
        dump(tmp_path / "odd.pkl", content(annotation("e", points=keypoints(1, joints=7)))), sample_id="e"
    )
    with pytest.raises(
        InputError, match="layout: none is usual for 7 joints × 3 coordinates; choose one with --layout"
    ):
        layout_of(*odd)


def test_mistakes_are_one_line_and_status_2(repository: Path, tmp_path: Path) -> None:
    source = dump(tmp_path / "in.pkl", content())
    commands = [["inspect", tmp_path / "none.pkl"], ["inspect", source, "--plot", tmp_path / "no" / "strip.png"]]
    commands.append(["init", source, "--output", source])
    for done in calls(repository, *commands):
        assert done.returncode == 2 and done.stdout == ""
        assert len(done.stderr.splitlines()) == 1 and done.stderr.startswith("error: ")
