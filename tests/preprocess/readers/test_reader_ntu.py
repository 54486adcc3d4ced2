"""Raw NTU RGB+D: which bodies of a recording make the sample, and which samples make the splits."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pickles import config
from raw_recordings import NTU_NAMES, ntu_files, standing, tarred, text, tracked, write, zipped

from components.contracts import dataset
from components.contracts.config import DataConfig
from components.contracts.dataset import Skipped
from components.contracts.errors import InputError
from components.preprocess.core import preprocess
from components.preprocess.readers.choose import open_source
from components.preprocess.readers.ntu import TRAINING_SUBJECTS
from components.preprocess.readers.ntu_denoising import motion
from components.preprocess.readers.samples import Sample

NAME = "S001C001P001R001A001"


def ntu(**changes: Any) -> DataConfig:
    protocols = {
        "xsub": {"train": "xsub_train", "test": "xsub_val"},
        "xview": {"train": "xview_train", "test": "xview_val"},
    }
    settings = {"layout": "ntu25", "normalisation": "body", "protocols": protocols, "protocol": "xsub"}
    return config(**{**settings, **changes})


def read(folder: Path, content: str | bytes, name: str = NAME) -> Sample | Skipped:
    source, _ = open_source(write(folder, {f"{name}.skeleton": content}))
    (record,) = source
    assert record.sample_id == name and record.position == 0
    return record


def bodies(folder: Path, *given: tuple[str, int, Any], frames: int) -> Any:
    record = read(folder, text(tracked(*given, frames=frames)))
    assert isinstance(record, Sample) and record.label == 0
    return record.keypoints


def test_one_body_comes_out_as_it_is(tmp_path: Path) -> None:
    body = standing(1, 5)
    found = bodies(tmp_path, ("7", 2, body), frames=9)  # shorter than a track must be, but the only one
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, body[None])


def test_two_bodies_are_ranked_by_motion(tmp_path: Path) -> None:
    still, lively = standing(1, 20, motion=0.01), standing(2, 20, motion=0.5)
    found = bodies(tmp_path, ("7", 0, still), ("8", 0, lively), frames=20)
    np.testing.assert_array_equal(found, np.stack([lively, still]))


def test_motion_is_the_variance_summed_over_the_axes() -> None:
    points = np.zeros((2, 1, 3), dtype=np.float32)
    points[1] = [2, 4, 6]
    assert motion(points) == pytest.approx(1 + 4 + 9)


@pytest.mark.parametrize(("frames", "persons"), [(11, 1), (12, 2)])
def test_tracks_of_eleven_frames_are_noise(tmp_path: Path, frames: int, persons: int) -> None:
    found = bodies(tmp_path, ("7", 0, standing(1, 20)), ("8", 0, standing(2, frames, motion=0.9)), frames=20)
    assert len(found) == persons


def test_where_all_tracks_are_short_the_one_that_moves_stays(tmp_path: Path) -> None:
    lively = standing(2, 6, motion=0.5)
    found = bodies(tmp_path, ("7", 0, standing(1, 6)), ("8", 0, lively), frames=6)
    np.testing.assert_array_equal(found, lively[None])


@pytest.mark.parametrize(("wide_frames", "persons"), [(13, 2), (14, 1)])
def test_tracks_that_are_wide_in_most_frames_are_noise(tmp_path: Path, wide_frames: int, persons: int) -> None:
    chair = standing(2, 20, motion=0.9)
    chair[:wide_frames] = standing(2, wide_frames, width=2.0)  # 13 of 20 are 65 %, 14 are 70 %
    found = bodies(tmp_path, ("7", 0, standing(1, 20)), ("8", 0, chair), frames=20)
    assert len(found) == persons


def test_wide_frames_do_not_count_as_motion(tmp_path: Path) -> None:
    jumpy = standing(2, 20, motion=0.01)
    jumpy[:5] = standing(9, 5, width=2.0, motion=5.0)
    lively = standing(1, 20, motion=0.3)
    assert motion(jumpy) > motion(lively)
    found = bodies(tmp_path, ("7", 0, jumpy), ("8", 0, lively), frames=20)
    np.testing.assert_array_equal(found[0], lively)


def test_if_all_tracks_are_wide_one_stays(tmp_path: Path) -> None:
    first, second = standing(1, 20, width=2.0), standing(2, 20, width=2.0)
    assert len(bodies(tmp_path, ("7", 0, first), ("8", 0, second), frames=20)) == 1


def test_tracks_that_follow_one_another_are_one_person(tmp_path: Path) -> None:
    before, after, other = standing(1, 15, motion=0.5), standing(1, 15, motion=0.4), standing(3, 30, motion=0.1)
    found = bodies(tmp_path, ("7", 0, before), ("8", 15, after), ("9", 0, other), frames=30)
    np.testing.assert_array_equal(found, np.stack([np.concatenate([before, after]), other]))


def test_a_third_body_at_the_same_time_is_left_out(tmp_path: Path) -> None:
    three = [standing(number, 20, motion=0.5 / number) for number in (1, 2, 3)]
    found = bodies(tmp_path, *[(str(number), 0, body) for number, body in enumerate(three)], frames=20)
    np.testing.assert_array_equal(found, np.stack(three[:2]))


def test_the_second_person_has_no_track_before_its_first_one(tmp_path: Path) -> None:
    main, later, earlier = standing(1, 40, motion=0.5), standing(2, 15, motion=0.4), standing(3, 15, motion=0.3)
    found = bodies(tmp_path, ("7", 0, main), ("8", 0, earlier), ("9", 20, later), frames=40)
    np.testing.assert_array_equal(found[1, 20:35], later)
    assert not found[1, :20].any()


def test_whoever_is_there_first_comes_first(tmp_path: Path) -> None:
    late, early = standing(1, 15, motion=0.5), standing(2, 15, motion=0.1)
    found = bodies(tmp_path, ("7", 5, late), ("8", 0, early), frames=20)
    np.testing.assert_array_equal(found[0, :15], early)
    np.testing.assert_array_equal(found[1, 5:], late)
    assert not found[1, :5].any()


def test_a_track_with_a_gap_keeps_its_place_in_time(tmp_path: Path) -> None:
    broken, other = standing(1, 20, motion=0.5), standing(2, 20, motion=0.1)
    frames = tracked(("7", 0, broken), ("8", 0, other), frames=20)
    frames[6] = frames[6][1:]
    record = read(tmp_path, text(frames))
    assert isinstance(record, Sample) and not record.keypoints[0, 6].any()
    np.testing.assert_array_equal(record.keypoints[0, 7:], broken[7:])


@settings(max_examples=40, deadline=None)
@given(
    tracks=st.lists(
        st.tuples(st.integers(0, 20), st.integers(1, 25), st.sampled_from([0.2, 3.0])), min_size=1, max_size=5
    )
)
def test_any_mixture_of_tracks_gives_whole_bodies(
    tmp_path_factory: pytest.TempPathFactory, tracks: list[tuple[int, int, float]]
) -> None:
    given_bodies = [
        (str(n), first, standing(n + 1, length, width=width)) for n, (first, length, width) in enumerate(tracks)
    ]
    found = bodies(tmp_path_factory.mktemp("ntu"), *given_bodies, frames=45)
    assert len(found) in (1, 2) and found.shape[2:] == (25, 3)
    there = found.any(axis=(2, 3))
    assert there.any(axis=0).all() and there.any(axis=1).all() and there[0, 0]
    known = {body.tobytes() for _, _, points in given_bodies for body in points}
    assert all(body.tobytes() in known for body in found[there])


GOOD = text(tracked(("7", 0, standing(1, 3)), frames=3))
FIRST_JOINT = GOOD.splitlines()[4]
DAMAGED: dict[str, tuple[str | bytes, str]] = {
    "empty": ("", "cut off after line 0"),
    "no body": ("3\n0\n0\n0\n", "no body in any frame"),
    "no frame": ("0\n", "no body in any frame"),
    "cut off": (GOOD[: len(GOOD) // 2].rpartition("\n")[0], "cut off after line"),
    "more text": (GOOD + "1\n", "more text after the last frame"),
    "frames": ("many\n", "line 1: found 'many', expected the number of frames"),
    "negative": ("-1\n", "line 1: found '-1', expected the number of frames"),
    "more frames than there are": (GOOD.replace("3", "999999999", 1), "cut off after line 85"),
    "bodies": ("1\n1000000\n", "line 2: found 1000000 bodies, at most 20 expected"),
    "joints": (text([[("7", standing(1, 1, joints=20)[0])]]), "line 4: found 20 joints, expected 25"),
    "a word": (GOOD.replace(FIRST_JOINT.split()[0], "left", 1), "coordinates: could not convert string to float"),
    "a short line": (GOOD.replace(FIRST_JOINT, "1.0 2.0", 1), "line 5: found 2 numbers, expected at least x, y and z"),
    "no id": ("1\n1\n\n25\n", "line 3: empty, expected a body's tracking id"),
    "not text": (b"\x80\x04\x95" * 9, "byte 0: not text"),
}


@pytest.mark.parametrize("case", sorted(DAMAGED))
def test_a_damaged_recording_is_skipped_with_its_reason(tmp_path: Path, case: str) -> None:
    content, reason = DAMAGED[case]
    record = read(tmp_path, content)
    assert isinstance(record, Skipped) and reason in record.reason and "\n" not in record.reason


@settings(max_examples=60, deadline=None)
@given(at=st.integers(0, len(GOOD) - 1), instead=st.binary(max_size=3))
def test_no_damage_is_a_crash(tmp_path_factory: pytest.TempPathFactory, at: int, instead: bytes) -> None:
    content = GOOD.encode()
    record = read(tmp_path_factory.mktemp("ntu"), content[:at] + instead + content[at + 1 :])
    assert isinstance(record, Sample | Skipped)


def test_values_that_are_not_finite_are_skipped_by_the_stage(tmp_path: Path) -> None:
    files = ntu_files()
    files["S001C001P003R009A002.skeleton"] = GOOD.replace(FIRST_JOINT.split()[0], "inf", 1)
    preprocess(write(tmp_path / "in", files), ntu(), tmp_path / "out")
    (skipped,) = dataset.open(tmp_path / "out").skipped
    assert skipped.reason == "keypoint: 1 of 225 values are NaN, infinite or beyond float32"


def test_splits_follow_the_names(tmp_path: Path) -> None:
    names = [
        "S001C001P001R001A001",
        "S002C002P038R001A060",
        "S017C003P040R002A060",
        "S018C001P045R001A061",
        "S032C002P106R002A120",
    ]
    source, _ = open_source(write(tmp_path, {f"{name}.skeleton": GOOD for name in names}))
    splits = {name: [names.index(sample_id) for sample_id in ids] for name, ids in source.splits.items()}
    assert splits == {
        "xsub_train": [0, 1, 3],
        "xsub_val": [2, 4],
        "xview_train": [1, 2, 4],
        "xview_val": [0, 3],
        "xset_train": [1, 3, 4],
        "xset_val": [0, 2],
    }
    assert [record.label for record in source if isinstance(record, Sample)] == [0, 59, 59, 60, 119]


def test_the_subjects_are_the_published_ones() -> None:
    assert len(TRAINING_SUBJECTS) == 53 and max(TRAINING_SUBJECTS) == 103
    of_ntu60 = [1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38]
    assert sorted(subject for subject in TRAINING_SUBJECTS if subject <= 40) == of_ntu60


def test_listed_and_wrongly_named_recordings_are_skipped(tmp_path: Path) -> None:
    files = ntu_files() | {"S009C001P001R001A002.skeleton": GOOD, "copy of S001.skeleton": GOOD}
    files["NTU_RGBD_samples_with_missing_skeletons.txt"] = "The following samples:\n\nS009C001P001R001A002\n"
    preprocess(write(tmp_path / "in", files), ntu(), tmp_path / "out")
    packed = dataset.open(tmp_path / "out")
    assert packed.sample_ids.tolist() == NTU_NAMES
    assert {skipped.sample_id: skipped.reason for skipped in packed.skipped} == {
        "S009C001P001R001A002": "among the recordings with missing or incomplete skeletons",
        "copy of S001": "file name: found 'copy of S001.skeleton', expected SsssCcccPpppRrrrAaaa.skeleton",
    }


def test_a_list_of_missing_recordings_that_names_none_is_refused(tmp_path: Path) -> None:
    write(tmp_path, ntu_files() | {"missing.txt": "nothing here"})
    with pytest.raises(InputError, match=r"missing\.txt: names no recording"):
        open_source(tmp_path)


def test_folder_zip_and_tar_give_the_same_dataset(tmp_path: Path) -> None:
    folder = write(tmp_path / "in", {f"nturgb+d_skeletons/{name}": content for name, content in ntu_files().items()})
    sources = [
        folder,
        zipped(folder, tmp_path / "in.zip"),
        tarred(folder, tmp_path / "in.tar.gz"),
        tarred(folder, tmp_path / "in.tar"),
    ]
    results = []
    for number, source in enumerate(sources):
        preprocess(source, ntu(), tmp_path / f"out{number}")
        results.append(dataset.open(tmp_path / f"out{number}"))
    for found in results:
        assert found.sample_ids.tolist() == NTU_NAMES and found.labels.tolist() == [0, 1, 0, 1]
        np.testing.assert_array_equal(found.keypoints, results[0].keypoints)
        assert found.splits.keys() == results[0].splits.keys()


def test_classes_beyond_the_configuration_are_listed(tmp_path: Path) -> None:
    source = write(tmp_path / "in", ntu_files() | {"S018C001P001R001A061.skeleton": GOOD})
    preprocess(source, ntu(), tmp_path / "out")
    (skipped,) = dataset.open(tmp_path / "out").skipped
    assert (skipped.sample_id, skipped.reason) == ("S018C001P001R001A061", "label: found 60, expected 0 to 1")
