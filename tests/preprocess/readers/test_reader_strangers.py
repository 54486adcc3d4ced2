"""Quirks of files that people have: read as they are meant, or refused in one line that says what to do."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bodies import CLASSES, body, pixels, takes
from estimator_files import WRITERS, labels
from pickles import dump
from test_reader_estimators import config

from components.contracts.errors import InputError
from components.contracts.skeleton import layout_names, load_layout
from components.preprocess.inspect.draft import draft
from components.preprocess.inspect.inspection import Holdings, inspect
from components.preprocess.readers.choose import open_source
from components.preprocess.readers.samples import Sample

LAYOUTS_README = Path(__file__).resolve().parents[3] / "components" / "contracts" / "layouts" / "README.md"


def samples(path: Path) -> dict[str, Sample]:
    records = list(open_source(path)[0])
    assert all(isinstance(record, Sample) for record in records), records
    return {record.sample_id: record for record in records if isinstance(record, Sample)}


def coco(videos: dict[str, Any], style: str) -> Any:
    """A COCO data set, or results, of several videos ``{name: [T, V, 2]}`` in one document."""
    images, found = [], []
    for number, (video, points) in enumerate(videos.items()):
        for frame, pose in enumerate(points):
            name = {"folders": f"{video}/{frame:05d}.jpg", "names": f"{video}_{frame:05d}.jpg"}.get(style)
            image: dict[str, Any] = {"id": len(images) + 1, "file_name": name or f"{len(images):06d}.jpg"}
            if style == "ids":
                image |= {"video_id": number + 7, "frame_id": frame}
            images.append(image)
            joints = np.concatenate([pose, np.full((len(pose), 1), 2.0)], axis=1).ravel().tolist()
            found.append({"image_id": image["id"], "category_id": 1, "keypoints": joints, "file": video})
    if style == "results":
        frames = [f"{item['file']}/{number:05d}.jpg" for number, item in enumerate(found)]
        return [item | {"image_id": frame} for item, frame in zip(found, frames, strict=True)]
    listed = [{"id": number + 7, "name": f"{video}.mp4"} for number, video in enumerate(videos)]
    return {"images": images, "annotations": found, **({"videos": listed} if style == "ids" else {})}


@pytest.mark.parametrize("style", ["folders", "names", "ids", "results"])
def test_one_coco_file_of_several_videos_is_a_clip_each(tmp_path: Path, style: str) -> None:
    videos = {f"clip{label}": pixels(body("coco17", 1, label)) for label in range(3)}
    (tmp_path / "poses.json").write_text(json.dumps(coco(videos, style)))
    labels(tmp_path, [(f"{name}.mp4", name[-1]) for name in videos], "video,label")
    found = samples(tmp_path)
    assert list(found) == list(videos) and [record.label for record in found.values()] == [0, 1, 2]
    for name, points in videos.items():
        np.testing.assert_allclose(found[name].keypoints[0], points)
    unlabelled = list(open_source(tmp_path / "poses.json", config("coco17"), "clips")[0])
    assert [record.sample_id for record in unlabelled] == list(videos)


def test_several_videos_in_one_of_many_files_are_no_clip(tmp_path: Path) -> None:
    points = pixels(body("coco17", 1, 0))[:3]
    for number in range(9):
        document = coco({"a": points, **({"b": points} if number == 4 else {})}, "folders")
        (tmp_path / f"file{number}x.json").write_text(json.dumps(document))
    labels(tmp_path, [(f"file{number}x", str(number % 2)) for number in range(9)], "id,label")
    faults = inspect(tmp_path).faults
    (reason,) = faults
    assert "holds frames of 2 videos (a, b, …)" in reason and faults[reason] == ["file4x"]


@pytest.mark.parametrize(
    ("separator", "decimal", "encoding"), [(";", ",", "utf-8-sig"), ("\t", ".", "utf-16"), (" ", ".", "utf-8")]
)
def test_tables_of_spreadsheets(tmp_path: Path, separator: str, decimal: str, encoding: str) -> None:
    points = body("ntu25", 1, 0)[:4]
    head = ["time", *(f"joint{joint}_{axis}" for joint in range(25) for axis in "xyz")]
    rows = [
        [f"{number / 30:.3f}", *(f"{value:.5f}" for value in row)] for number, row in enumerate(points.reshape(4, -1))
    ]
    for name in ("sit", "stand"):
        (tmp_path / name).mkdir()
        lines = [head, *([cell.replace(".", decimal) for cell in row] for row in rows)]
        text = "\r\n".join(separator.join(line) for line in lines)
        (tmp_path / name / f"{name}.csv").write_bytes(text.encode(encoding))
    assert [record.label for record in samples(tmp_path).values()] == [0, 1]
    np.testing.assert_allclose(samples(tmp_path)["sit"].keypoints[0], points, atol=1e-5)


def test_lines_of_one_joint_each_and_labels_in_names(tmp_path: Path) -> None:
    """MSR Action 3D's ``a01_s01_e01_skeleton3D.txt``: 20 lines a frame, x, y, z and a confidence."""
    for label in range(2):
        points = body("msr20", label, label)
        rows = np.concatenate([points.reshape(-1, 3), np.ones((points.size // 3, 1))], axis=1)
        np.savetxt(tmp_path / f"a{label + 1:02d}_s01_e01_skeleton3D.txt", rows, fmt="%.6f", delimiter="  ")
    (tmp_path / "README.txt").write_text("twenty joints\n")
    found = samples(tmp_path)
    assert [record.label for record in found.values()] == [1, 2]
    np.testing.assert_allclose(found["a01_s01_e01_skeleton3D"].keypoints[0], body("msr20", 0, 0), atol=1e-6)


def test_files_that_are_called_alike_are_named_by_their_folders(tmp_path: Path) -> None:
    for label, name in enumerate(("sit", "stand")):
        for number in range(2):
            points = pixels(body("coco17", number, label))[None]
            folder = tmp_path / name / f"{name}{number}"
            WRITERS["alphapose"](folder / "alphapose-results", points, np.ones(points.shape[:3]))
    found = samples(tmp_path)
    assert {name: record.label for name, record in found.items()} == {"sit0": 0, "sit1": 0, "stand0": 1, "stand1": 1}


def test_frames_of_all_videos_in_one_folder_with_the_videos_in_the_list(tmp_path: Path) -> None:
    points = pixels(body("openpose25", 1, 0))[None, :3]
    for name in ("walk", "jump"):
        WRITERS["openpose"](tmp_path / name, points, np.ones(points.shape[:3]))
        for file in (tmp_path / name).iterdir():
            file.rename(tmp_path / file.name)
        (tmp_path / name).rmdir()
    labels(tmp_path, [("walk.mp4", "1"), ("jump.mp4", "0")], "filename,class")
    assert {name: record.label for name, record in samples(tmp_path).items()} == {"walk": 1, "jump": 0}


def test_x_and_y_without_scores_get_some(tmp_path: Path) -> None:
    for name in ("sit", "stand"):
        (tmp_path / name).mkdir()
        points = pixels(body("coco17", 1, 0))
        points[0, 3] = 0
        np.save(tmp_path / name / f"{name}.npy", points)
    scores = samples(tmp_path)["sit"].scores
    assert scores is not None and scores[0, 0, 3] == 0 and scores.sum() == scores.size - 1


def _changed(**changes: Any) -> dict[str, Any]:
    """An annotation pickle with fields replaced by what functions make of the keypoints."""
    made = takes("ntu25")
    records = [
        {**one, **{key: change(one["keypoint"]) for key, change in changes.items()}} for one in made["annotations"]
    ]
    return {**made, "annotations": records}


@pytest.mark.parametrize(
    "change",
    [lambda p: p[0], lambda p: p.swapaxes(0, 1), lambda p: np.transpose(p, (3, 1, 2, 0)), lambda p: p.tolist()],
    ids=["no persons", "frames first", "channels first", "lists"],
)
def test_axes_of_pickles_that_can_mean_one_thing_only(tmp_path: Path, change: Any) -> None:
    found = samples(dump(tmp_path / "x.pkl", _changed(keypoint=change)))
    for one in takes("ntu25")["annotations"]:
        np.testing.assert_array_equal(found[one["frame_dir"]].keypoints, one["keypoint"])


def _drafted(path: Path) -> tuple[Holdings, str]:
    found = inspect(path)
    return found, "\n".join(draft(found).loud)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (
            _changed(keypoint=lambda p: p.swapaxes(1, 2)),
            "(24 times): keypoint: found shape 1×25×20×3, total_frames 20: joints",
        ),
        (
            _changed(label=lambda p: "wave"),
            "(24 times): label: found str, expected an integer",
        ),
    ],
)
def test_init_says_why_no_sample_can_be_used(tmp_path: Path, content: Any, told: str) -> None:
    with pytest.raises(InputError) as caught:
        _drafted(dump(tmp_path / "x.pkl", content))
    assert told in str(caught.value)


def test_init_says_what_cannot_be_used_and_what_it_takes_for_the_same(tmp_path: Path) -> None:
    made = takes("ntu25")
    made["annotations"][0]["total_frames"] = 21
    made["split"] = {name: [f"videos/{one}.avi" for one in ids] for name, ids in made["split"].items()}
    found = inspect(dump(tmp_path / "x.pkl", made))
    drafted = draft(found)
    told = "\n".join(drafted.loud)
    assert "1 of 24 samples cannot be used" in told and "taken for the same" in told
    assert drafted.data["match_ids"] == "loose"


def test_init_doubts_classes_of_one_sample(tmp_path: Path) -> None:
    for number in range(3):
        (tmp_path / f"take{number}").mkdir()
        np.save(tmp_path / f"take{number}" / "a.npy", body("ntu25", number, number))
        np.save(tmp_path / f"take{number}" / f"b{number}.npy", body("ntu25", number, number))
    (tmp_path / "take0" / "a.npy").unlink()
    assert "1 of 3 classes have a single sample" in _drafted(tmp_path)[1]


def test_shares_of_the_image_with_a_depth_are_no_metres(tmp_path: Path) -> None:
    """MediaPipe's landmarks as arrays ``[T, 33, 4]``: x and y of the image, z relative, visibility."""
    for label, name in enumerate(CLASSES[:2]):
        (tmp_path / name).mkdir()
        for number in range(2):
            flat = pixels(body("mediapipe33", number, label)) / [1920, 1080]
            more = np.full((*flat.shape[:2], 2), 0.4)
            np.save(tmp_path / name / f"{name}{number}.npy", np.concatenate([flat, more], axis=-1).astype(np.float16))
    found, told = _drafted(tmp_path)
    made = draft(found).data
    assert (made["layout"], made["dimensions"], made["units"]) == ("mediapipe33", "2d+score", "shares")
    assert "unknown size" in told


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("x.mat", "MATLAB"),
        ("x.h5", "HDF5"),
        ("x.pt", "PyTorch"),
        ("x.mp4", "a pose estimator first"),
        ("x.bvh", "motion"),
    ],
)
@pytest.mark.parametrize("inside", [True, False])
def test_formats_that_are_not_read_are_named(tmp_path: Path, name: str, told: str, inside: bool) -> None:
    (tmp_path / name).write_bytes(b"content")
    with pytest.raises(InputError) as caught:
        open_source(tmp_path if inside else tmp_path / name)
    assert told in str(caught.value)


def test_a_list_in_another_encoding_is_refused_with_the_remedy(tmp_path: Path) -> None:
    np.save(tmp_path / "a.npy", body("ntu25", 1, 0))
    (tmp_path / "labels.csv").write_bytes("id,label\na,händewaschen\n".encode("cp1252"))
    with pytest.raises(InputError, match="not UTF-8 text; save it as UTF-8"):
        open_source(tmp_path)


@pytest.mark.parametrize("name", layout_names())
def test_the_order_of_joints_stands_in_the_readme(name: str) -> None:
    text = " ".join(LAYOUTS_README.read_text(encoding="utf-8").split())
    order = ", ".join(f"{number} {joint}" for number, joint in enumerate(load_layout(name).joints))
    assert f"`{name}`: {order}." in text
