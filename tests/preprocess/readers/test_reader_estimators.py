"""Files of pose estimators, arrays and tables arrive as the skeletons that they were made of."""

from __future__ import annotations

import io
import json
import zipfile
from contextlib import suppress
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bodies import CLASSES, IMAGE, body, pixels, takes
from estimator_files import ONE_PERSON, WRITERS, labels, ucla
from hypothesis import given, settings
from hypothesis import strategies as st
from pickles import dump

from components.contracts import dataset
from components.contracts.config import DataConfig
from components.contracts.errors import InputError
from components.preprocess.core import preprocess
from components.preprocess.readers.choose import open_source
from components.preprocess.readers.clip import ClipFaultError, Expected
from components.preprocess.readers.decode import decode
from components.preprocess.readers.samples import Sample

LAYOUTS = {"openpose": "openpose25", "alphapose_open": "openpose18", "alphapose_cmu": "openpose18"}
LAYOUTS |= {"mediapipe": "mediapipe33"}
every_format = pytest.mark.parametrize("name", WRITERS)


def layout_of(name: str) -> str:
    return LAYOUTS.get(name, "coco17")


def config(layout: str, **changes: Any) -> DataConfig:
    values: dict[str, Any] = {
        "layout": layout,
        "classes": CLASSES,
        "dimensions": "2d+score",
        "normalisation": "none",
        "max_persons": 2,
        "protocols": {"plain": {"train": "train", "test": "test"}},
        "protocol": "plain",
    }
    return DataConfig.model_validate(values | changes)


def seen(layout: str, number: int = 0, label: int = 0, persons: int = 1) -> tuple[Any, Any]:
    """Pixels ``[M, T, V, 2]`` of people side by side, and scores."""
    points = np.stack(
        [pixels(body(layout, number + person, label)) + np.array([600 * person, 0]) for person in range(persons)]
    )
    rng = np.random.default_rng(number)
    return points, rng.uniform(0.5, 1, points.shape[:3])


def read(path: Path, settings: DataConfig) -> list[Sample]:
    records = list(open_source(path, settings, "clips")[0])
    assert all(isinstance(record, Sample) for record in records), records
    return records  # type: ignore[return-value]


@every_format
def test_a_clip_arrives_as_it_was_made(tmp_path: Path, name: str) -> None:
    points, scores = seen(layout_of(name), persons=1 if name in ONE_PERSON else 2)
    (found,) = read(WRITERS[name](tmp_path / "clip", points, scores), config(layout_of(name)))
    assert found.sample_id == "clip"
    keypoints = found.keypoints
    made = np.concatenate([points, scores[..., None]], axis=-1)
    if found.scores is not None:
        keypoints = np.concatenate([keypoints, found.scores[..., None]], axis=-1)
    order = np.argsort(keypoints[:, 0, 0, 0])  # the persons stand side by side
    np.testing.assert_allclose(keypoints[order], made, rtol=1e-6)


@every_format
def test_frames_without_anybody_are_kept(tmp_path: Path, name: str) -> None:
    points, scores = seen(layout_of(name))
    points[:, 4:7], scores[:, 4:7] = 0, 0
    (found,) = read(WRITERS[name](tmp_path / "clip", points, scores), config(layout_of(name)))
    there = (np.abs(found.keypoints) > 0).any(axis=(0, 2, 3))
    assert np.flatnonzero(~there).tolist() == [4, 5, 6] and found.keypoints.shape[1] == points.shape[1]


@every_format
def test_a_folder_with_labels_is_packed(tmp_path: Path, name: str) -> None:
    rows = []
    for number in range(8):
        for label, title in enumerate(CLASSES):
            clip = f"s{number}_{title}"
            WRITERS[name](tmp_path / "in" / clip, *seen(layout_of(name), number, label))
            rows.append([clip, title, "test" if number % 4 == 3 else "train", str(number)])
    labels(tmp_path / "in", rows)
    preprocess(tmp_path / "in", config(layout_of(name)), tmp_path / "out")
    packed = dataset.open(tmp_path / "out")
    assert len(packed) == 24 and not packed.skipped
    assert {name: len(ids) for name, ids in packed.splits.items()} == {"train": 18, "test": 6}
    titles = [name.partition("_")[2] for name in packed.sample_ids.tolist()]
    assert [CLASSES[label] for label in packed.labels] == titles
    assert packed.manifest.about["doubts"] == []


def test_persons_keep_their_places_without_track_ids(tmp_path: Path) -> None:
    points, scores = seen("coco17", persons=2)
    path = WRITERS["mmpose"](tmp_path / "clip", points, scores)
    frames = json.loads(path.read_text())
    for number, frame in enumerate(frames):
        frame["instances"] = frame["instances"][:: -1 if number % 2 else 1]
    path.write_text(json.dumps(frames))
    (found,) = read(path, config("coco17"))
    np.testing.assert_allclose(found.keypoints, points, rtol=1e-6)


def test_openpose_files_of_several_clips_in_one_folder(tmp_path: Path) -> None:
    for number in range(2):
        folder = WRITERS["openpose"](tmp_path / f"clip{number}", *seen("openpose25", number))
        for file in folder.iterdir():
            (tmp_path / "all").mkdir(exist_ok=True)
            file.rename(tmp_path / "all" / file.name)
    found = read(tmp_path / "all", config("openpose25"))
    assert [record.sample_id for record in found] == ["clip0", "clip1"]
    assert [record.keypoints.shape for record in found] == [(1, 20, 25, 2)] * 2


def test_world_landmarks_are_metres(tmp_path: Path) -> None:
    points = body("mediapipe33", 0, 0)
    frames = [
        {
            "pose_landmarks": [{"x": 0.5, "y": 0.5, "z": 0, "visibility": 1} for _ in frame],
            "pose_world_landmarks": [{"x": x, "y": y, "z": z, "visibility": 1} for x, y, z in frame.tolist()],
        }
        for frame in points
    ]
    (tmp_path / "clip.json").write_text(json.dumps(frames))
    settings = config("mediapipe33", dimensions="3d", normalisation="body")
    (found,) = read(tmp_path / "clip.json", settings)
    np.testing.assert_allclose(found.keypoints[0], points)


def test_coco_data_set_with_the_size_of_its_images(tmp_path: Path) -> None:
    points, scores = seen("coco17")
    images = [{"id": 900 - n, "file_name": f"img_{n}.jpg", "height": IMAGE[0], "width": IMAGE[1]} for n in range(20)]
    annotations = [
        {"image_id": 900 - n, "keypoints": np.c_[points[0, n], scores[0, n]].ravel().tolist()} for n in range(20)
    ]
    (tmp_path / "clip.json").write_text(json.dumps({"images": images, "annotations": annotations, "categories": []}))
    (found,) = read(tmp_path / "clip.json", config("coco17"))
    assert found.image == IMAGE
    np.testing.assert_allclose(found.keypoints, points)


def test_northwestern_ucla_s_own_folder(tmp_path: Path) -> None:
    clips = [
        (f"a{action:02d}_s{view:02d}_e00_v{view:02d}", number + 1, body("kinect20", view, number % 3))
        for view in (1, 2, 3)
        for number, action in enumerate((1, 2, 3, 4, 5, 6, 8, 9, 11, 12))
    ]
    source, _ = open_source(ucla(tmp_path / "all_sqe", clips))
    assert source.format == "ucla" and source.classes[6] == "donning" and len(source.splits["xview_val"]) == 10
    records = [record for record in source if isinstance(record, Sample)]
    assert [record.label for record in records if record.sample_id.endswith("v01")] == list(range(10))
    assert records[0].keypoints.shape == (1, 20, 20, 3)


def test_northwestern_ucla_s_training_split_without_what_the_test_has_too(tmp_path: Path) -> None:
    twin = body("kinect20", 1, 0)
    clips = [("a01_s01_e00_v03", 1, twin), ("a01_s01_e01_v01", 1, twin), ("a02_s01_e00_v01", 2, body("kinect20", 2, 1))]
    splits = open_source(ucla(tmp_path, clips))[0].splits
    assert splits["xview_train"] == ["a01_s01_e01_v01", "a02_s01_e00_v01"]
    assert splits["xview_train_clean"] == ["a02_s01_e00_v01"]


@pytest.mark.parametrize("name", ["v01_s02_a12_e03", "view_1/a12_s02_e03"])
def test_northwestern_ucla_s_names_in_other_orders(tmp_path: Path, name: str) -> None:
    source, _ = open_source(ucla(tmp_path, [(name, 1, body("kinect20", 0, 0))]))
    (record,) = source
    assert isinstance(record, Sample) and record.label == 9 and source.splits["xview_train"]


def test_folders_are_classes_and_splits(tmp_path: Path) -> None:
    for split in ("train", "test"):
        for title in CLASSES:
            WRITERS["npy"](tmp_path / "in" / split / title / f"{split}_{title}", *seen("coco17", 1, 0))
    source, _ = open_source(tmp_path / "in")
    assert source.classes == sorted(CLASSES)
    labels_found = {record.sample_id: source.classes[record.label] for record in source if isinstance(record, Sample)}
    assert labels_found == {f"{split}_{title}": title for split in ("train", "test") for title in CLASSES}
    assert {name: len(ids) for name, ids in source.splits.items()} == {"train": 3, "test": 3}


class TestArrays:
    def content(self) -> tuple[list[Any], list[int]]:
        records = takes("ntu25")["annotations"]
        return [record["keypoint"] for record in records], [record["label"] for record in records]

    def test_a_set_as_ctr_gcn_keeps_it(self, tmp_path: Path) -> None:
        clips, found = self.content()
        rows = np.zeros((24, 300, 150), dtype=np.float32)
        for number, clip in enumerate(clips):
            rows[number, : clip.shape[1], :75] = clip[0].reshape(clip.shape[1], 75)
        hot = np.eye(3)[found]
        np.savez(tmp_path / "NTU60_CS.npz", x_train=rows[:18], y_train=hot[:18], x_test=rows[18:], y_test=hot[18:])
        settings = config("ntu25", dimensions="3d", normalisation="body", max_persons=1)
        preprocess(tmp_path / "NTU60_CS.npz", settings, tmp_path / "out")
        packed = dataset.open(tmp_path / "out")
        assert packed.frames.tolist() == [20] * 24 and packed.labels.tolist() == found and not packed.skipped

    def test_ragged_clips_and_text_labels(self, tmp_path: Path) -> None:
        clips, found = self.content()
        ragged = np.empty(24, dtype=object)
        for number, clip in enumerate(clips):
            ragged[number] = clip[0, : 10 + number % 5]
        names = np.array([CLASSES[label] for label in found], dtype=object)
        split = np.array(["test" if number % 4 == 3 else "train" for number in range(24)])
        np.savez(tmp_path / "set.npz", keypoints=ragged, labels=names, split=split)
        settings = config("ntu25", dimensions="3d", normalisation="body", max_persons=1)
        preprocess(tmp_path / "set.npz", settings, tmp_path / "out")
        packed = dataset.open(tmp_path / "out")
        assert packed.labels.tolist() == found and packed.frames.tolist() == [10 + n % 5 for n in range(24)]

    def test_lists_tuples_and_object_arrays_in_a_pickle(self, tmp_path: Path) -> None:
        value = takes("ntu25")
        for number, record in enumerate(value["annotations"]):
            if number % 2:
                record["keypoint"] = record["keypoint"].tolist()
            else:
                record["keypoint"] = (tuple(map(tuple, record["keypoint"][0].tolist())),)
        value["split"] = {name: np.array(ids, dtype=object) for name, ids in value["split"].items()}
        settings = config("ntu25", dimensions="3d", normalisation="body", max_persons=1)
        preprocess(dump(tmp_path / "in.pkl", value), settings, tmp_path / "out")
        packed = dataset.open(tmp_path / "out")
        assert len(packed) == 24 and not packed.skipped and len(packed.splits["test"]) == 6


MISTAKES = {
    "clip.json": ('{"people": [{"pose_keypoints_2d": [1, 2]}]}', "found 2 numbers, expected x, y and score"),
    "empty.json": ("[]", "expected"),
    "cut.json": ('[{"instances"', "cannot be read as JSON"),
    "nobody.json": ('[{"frame_id": 0, "instances": []}]', "nobody in any frame"),
    "rows.csv": ("1,2,3\n4,5\n", "line 2: found 2 columns, 3 in the first"),
    "text.csv": ("1,2,3\n4,x,5\n", "line 2: found 'x', expected a number"),
    "few.csv": ("1,2,3\n4,9,5\n", "found 3 numbers per frame, expected 2, 3 or 4 for each of 17 joints"),
    "bad.npy": ("no array", "cannot be read as NumPy array"),
    "bad.npz": ("no archive", "cannot be read as .npz"),
}


@pytest.mark.parametrize("name", MISTAKES)
def test_a_file_that_is_none_is_one_line(tmp_path: Path, name: str) -> None:
    text, expected = MISTAKES[name]
    (tmp_path / name).write_text(text)
    with pytest.raises(InputError) as refused:
        open_source(tmp_path / name, config("coco17"), "clips")
    assert str(refused.value).startswith(f"{tmp_path / name}: ") and expected in str(refused.value)


def test_a_bad_clip_does_not_stop_the_others(tmp_path: Path) -> None:
    WRITERS["mmpose"](tmp_path / "good", *seen("coco17"))
    (tmp_path / "bad.json").write_text("{")
    records = list(open_source(tmp_path, config("coco17"), "clips")[0])
    assert [type(record).__name__ for record in records] == ["Skipped", "Sample"]
    assert records[0].sample_id == "bad" and "bad.json: cannot be read as JSON" in records[0].reason  # type: ignore[union-attr]


def test_labels_that_are_not_among_the_classes(tmp_path: Path) -> None:
    for number in range(3):
        WRITERS["npy"](tmp_path / "in" / f"c{number}", *seen("coco17", number))
    labels(tmp_path / "in", [["c0.npy", "drink"], ["c1", "dance"]], "file,action")
    reasons = {
        record.sample_id: getattr(record, "reason", "") for record in open_source(tmp_path / "in", config("coco17"))[0]
    }
    assert reasons["c0"] == "" and "label: found 'dance', expected one of data.classes" in reasons["c1"]
    assert "no label" in reasons["c2"]


NAMES = [
    "x",
    "y",
    "visibility",
    "keypoints",
    "instances",
    "people",
    "bodies",
    "joints",
    "image_id",
    "frame_id",
    "frames",
]
NAMES += ["pose_landmarks", "pose_world_landmarks", "keypoint_scores", "instance_info", "annotations", "images", "idx"]
DOCUMENTS = st.recursive(
    st.none() | st.booleans() | st.integers(-3, 9) | st.floats() | st.sampled_from(["", "a", "1.jpg"]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(NAMES), inner, max_size=4),
    max_leaves=20,
)


@settings(max_examples=200, deadline=None)
@given(document=DOCUMENTS, suffix=st.sampled_from([".json", ".npy", ".npz", ".csv"]), cut=st.integers(0, 80))
def test_no_document_escapes_as_another_error(document: Any, suffix: str, cut: int) -> None:
    content = json.dumps(document).encode()
    if suffix in (".npy", ".npz"):
        stream = io.BytesIO()
        (np.save if suffix == ".npy" else np.savez)(stream, np.arange(12).reshape(2, 2, 3))
        content = stream.getvalue()[: -cut or None]
    for depth in (True, False, None):
        with suppress(ClipFaultError):
            clip = decode(f"a{suffix}", content, Expected(None, depth))
            assert clip.keypoints.ndim == 4


def test_a_bomb_in_a_npz(tmp_path: Path) -> None:
    with zipfile.ZipFile(tmp_path / "bomb.npz", "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("keypoints.npy", bytes(1 << 25))
    with pytest.raises(InputError, match="refused as an archive bomb"):
        open_source(tmp_path / "bomb.npz", config("coco17"), "clips")
