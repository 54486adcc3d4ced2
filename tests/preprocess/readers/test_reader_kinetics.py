"""Kinetics: an index and its kpfiles become ordinary samples, as the reference decompresses them."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pickles import config
from raw_recordings import kinetics, skeletons, tarred, video, write, zipped

from components.contracts import dataset
from components.contracts.artifact import MANIFEST
from components.contracts.config import DataConfig
from components.contracts.dataset import Dataset, Skipped
from components.contracts.errors import InputError
from components.preprocess.core import preprocess
from components.preprocess.readers.choose import open_source
from components.preprocess.readers.kinetics import MOST_PERSONS, decompress
from components.preprocess.readers.samples import Sample


def coco(**changes: Any) -> DataConfig:
    return config(**{"layout": "coco17", "dimensions": "2d+score", **changes})


FRAMES = {"a": [1, 1, 2, 4], "b": [1, 2, 3], "c": [2, 2, 5], "d": [1]}
POSES = {name: skeletons(seed, len(frames)) for seed, (name, frames) in enumerate(FRAMES.items())}
VIDEOS = [video(name, n % 2, f"{'xy'[n % 2]}.pkl", frames) for n, (name, frames) in enumerate(FRAMES.items())]


def four_videos(folder: Path, *more: dict[str, Any], poses: dict[str, Any] | None = None) -> Path:
    return kinetics(folder, [*VIDEOS, *more], {**POSES, **(poses or {})}, train=["a", "b"], test=["c", "d"])


def records(folder: Path, *more: dict[str, Any], poses: Any = None, **options: Any) -> dict[str, Sample | Skipped]:
    source, _ = open_source(four_videos(folder, *more, poses=poses), coco(kinetics=options))
    found = list(source)
    assert sorted(record.position for record in found) == list(range(source.expected))
    return {record.sample_id: record for record in found}


@pytest.mark.parametrize("case", ["all", "anno"])
def test_decompression_equals_the_reference(golden_dir: Path, tmp_path: Path, case: str) -> None:
    golden = np.load(golden_dir / f"b_k400_decompress_{case}.npz")
    chosen = {"anno_inds": golden["anno_inds"]} if case == "anno" else {}
    record = video("v", 0, "v.pkl", [1], frame_inds=golden["frame_inds"], box_score=np.ones(55), **chosen)
    index = kinetics(tmp_path, [record], {"v": golden["keypoint_compressed"]}, train=["v"])
    (sample,) = open_source(index)[0]
    assert isinstance(sample, Sample) and sample.scores is not None
    assert sample.keypoints.shape[1] == golden["out_total_frames"]
    np.testing.assert_array_equal(sample.keypoints, golden["out_kp"])
    np.testing.assert_array_equal(sample.scores, golden["out_score"])


def test_the_nth_skeleton_of_a_frame_is_person_n(tmp_path: Path) -> None:
    sample = records(tmp_path)["a"]
    assert isinstance(sample, Sample) and sample.scores is not None and sample.image == (340, 480)
    assert sample.keypoints.shape == (2, 3, 17, 2)
    np.testing.assert_array_equal(sample.keypoints[0], POSES["a"][[0, 2, 3], :, :2])
    np.testing.assert_array_equal(sample.scores[1, 0], POSES["a"][1, :, 2])
    assert not sample.keypoints[1, 1:].any()


def test_without_squeeze_empty_frames_stay_and_frames_count_from_1(tmp_path: Path) -> None:
    sample = records(tmp_path, squeeze=False)["a"]
    assert isinstance(sample, Sample) and sample.keypoints.shape == (2, 4, 17, 2)
    assert not sample.keypoints[:, 2].any()
    np.testing.assert_array_equal(sample.keypoints[0, 3], POSES["a"][3, :, :2])


def test_box_threshold_leaves_out_unsure_detections(tmp_path: Path) -> None:
    found = records(tmp_path, box_threshold=0.6)
    assert isinstance(found["a"], Sample) and isinstance(found["d"], Skipped)
    np.testing.assert_array_equal(found["a"].keypoints[0], POSES["a"][[1, 2, 3], :, :2])
    assert found["d"].reason == "keypoint: no skeleton is left"


def test_valid_ratio_leaves_out_training_samples_only(tmp_path: Path) -> None:
    index = four_videos(tmp_path, video("e", 0, "x.pkl", [1], total_frames=9, valid={0.5: 8}), poses={"e": POSES["d"]})
    source, _ = open_source(index, coco(kinetics={"valid_ratio": 0.8, "box_threshold": 0.5}))
    found = {record.sample_id: record for record in source}
    assert isinstance(found["a"], Skipped)
    assert found["a"].reason == "valid: 3 of 4 frames have a skeleton, at least 0.8 of them expected"
    assert all(isinstance(found[name], Sample) for name in "bcde")  # c has 2 of 5, but it is a test sample


@settings(max_examples=40, deadline=None)
@given(frames=st.lists(st.integers(0, 5), min_size=1, max_size=60), squeeze=st.booleans())
def test_decompression_keeps_each_skeleton_once(frames: list[int], squeeze: bool) -> None:
    poses = skeletons(7, len(frames))
    keypoints, scores = decompress(np.asarray(frames), poses, None if squeeze else 7)
    assert keypoints.shape[1] == (len(set(frames)) if squeeze else 7)
    there = np.concatenate([keypoints, scores[..., None]], axis=-1)
    there = there[there.any(axis=(2, 3))]
    kept = [
        poses[number]
        for frame in set(frames)
        for number in sorted(
            (number for number, found in enumerate(frames) if found == frame),
            key=lambda number: -poses[number, :, 2].sum(dtype=float),
        )[:MOST_PERSONS]
    ]
    assert sorted(map(bytes, there)) == sorted(map(bytes, np.asarray(kept)))
    if len(keypoints) == MOST_PERSONS and max(map(frames.count, frames)) > MOST_PERSONS:
        assert (np.diff(scores.sum(axis=2, dtype=float), axis=0) <= 0).all()


WRONG: dict[str, tuple[dict[str, Any], Any, str]] = {
    "kpfile": ({"raw_file": "kpfiles/none.pkl"}, POSES["d"], "raw_file: 'none.pkl' is not among the kpfiles"),
    "no raw_file": ({"raw_file": None}, POSES["d"], "raw_file: found NoneType, expected the name of a kpfile"),
    "frame_dir": ({}, None, "keypoint: the kpfile holds none for this frame_dir"),
    "shape": ({}, POSES["d"][..., :2], "keypoint: found float16 (1, 17, 2), expected numbers [N, V, 3]"),
    "frames": (
        {"frame_inds": np.arange(2)},
        POSES["d"],
        "frame_inds: found int64 (2,), expected one integer for each of 1 skeletons",
    ),
    "frames are floats": ({"frame_inds": np.ones(1)}, POSES["d"], "frame_inds: found float64 (1,)"),
    "boxes": ({"box_score": np.ones(2)}, POSES["d"], "box_score: expected one number for each of 1 skeletons"),
    "chosen": ({"anno_inds": np.ones(1)}, POSES["d"], "anno_inds: found float64 (1,), expected 1 truth values"),
    "label": ({"label": "0"}, POSES["d"], "label: found str, expected an integer"),
    "nothing": ({"frame_inds": np.empty(0, int), "box_score": np.empty(0)}, POSES["d"][:0], "no skeleton is left"),
    "beyond": ({"frame_inds": np.array([9])}, POSES["d"], "frame_inds: found 9 to 9, but total_frames is 1"),
    "length": ({"total_frames": 10**12}, POSES["d"], "total_frames: found 1000000000000, expected 1 to 1000000"),
}


@pytest.mark.parametrize("case", sorted(WRONG))
def test_a_bad_record_is_skipped_with_its_reason(tmp_path: Path, case: str) -> None:
    fields, poses, reason = WRONG[case]
    index = four_videos(tmp_path, video("bad", 0, "x.pkl", [1]), poses={} if poses is None else {"bad": poses})
    content = pickle.loads(index.read_bytes())  # noqa: S301  # written by this test
    content["annotations"][-1] |= fields
    index.write_bytes(pickle.dumps(content))
    source, _ = open_source(index, coco(kinetics={"squeeze": False, "box_threshold": 0.1}))
    found = {record.sample_id: record for record in source}
    assert isinstance(found["bad"], Skipped) and reason in found["bad"].reason
    assert all(isinstance(found[name], Sample) for name in "abcd")


def test_a_hostile_kpfile_costs_its_own_samples_only(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "canary",)

    found = records(tmp_path, video("bad", 0, "z.pkl", [1]), poses={"bad": Attack()})
    assert isinstance(found["bad"], Skipped) and "only plain data and NumPy arrays are read" in found["bad"].reason
    assert found["bad"].reason.startswith("raw_file: not an acceptable pickle") and "tmp" not in found["bad"].reason
    assert isinstance(found["a"], Sample) and not (tmp_path / "canary").exists()


def packed(source: Path, output: Path) -> Dataset:
    preprocess(source, coco(normalisation="image", layout="coco20"), output)
    return dataset.open(output)


def test_folder_file_zip_and_tar_give_the_same_samples(tmp_path: Path) -> None:
    index = four_videos(tmp_path / "in")
    results = [
        packed(source, tmp_path / f"out{number}")
        for number, source in enumerate(
            [
                index,
                index.parent,
                zipped(tmp_path / "in", tmp_path / "in.zip"),
                tarred(tmp_path / "in", tmp_path / "in.tar.gz"),
            ]
        )
    ]
    for found in results:
        assert len(found) == 4 and not found.skipped and found.keypoints.shape[1:] == (20, 3)
        np.testing.assert_array_equal(found.keypoints, results[0].keypoints)
        np.testing.assert_array_equal(found.sample_ids, results[0].sample_ids)


def test_the_manifest_says_which_kpfiles(tmp_path: Path) -> None:
    index = four_videos(tmp_path / "in")
    packed(index, tmp_path / "out")
    before = dataset.verify(tmp_path / "out").made_from
    assert set(before) == {"source", "kpfiles"}
    write(tmp_path / "in" / "kpfiles", {"more.pkl": b"x"})
    packed(index, tmp_path / "out")
    after = dataset.verify(tmp_path / "out").made_from
    assert after["source"] == before["source"] and after["kpfiles"] != before["kpfiles"]


def test_same_input_same_bytes(tmp_path: Path) -> None:
    index = four_videos(tmp_path / "in")
    for name in ("one", "two"):
        packed(index, tmp_path / name)
    for file in ("index.npz", "keypoints.npy", MANIFEST, "skipped.jsonl"):
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_an_index_alone_is_refused(tmp_path: Path) -> None:
    index = four_videos(tmp_path / "in")
    alone = tmp_path / "alone.pkl"
    alone.write_bytes(index.read_bytes())
    with pytest.raises(InputError, match=r"alone\.pkl: an index without coordinates; a folder kpfiles"):
        open_source(alone)
