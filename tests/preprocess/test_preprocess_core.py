"""The stage as a whole: every record is packed or skipped once, with one clear line for whatever is wrong."""

from __future__ import annotations

import logging
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pickles import JOINTS, annotation, config, content, dump, keypoints
from pydantic import ValidationError

from components.contracts import dataset
from components.contracts.artifact import MANIFEST, sha256_file
from components.contracts.errors import InputError
from components.preprocess.core import preprocess
from components.preprocess.readers.faults import LARGEST_SAMPLE, fault
from components.preprocess.readers.samples import Sample


@pytest.fixture
def warnings_of() -> Any:
    """The stage's log lines: its logger does not propagate, so pytest's own capture may miss them."""
    lines: list[str] = []

    class Keep(logging.Handler):
        def emit(self, record: logging.LogRecord) -> None:
            lines.append(record.getMessage())

    logger, handler = logging.getLogger("skeletonagent.preprocess"), Keep()
    logger.addHandler(handler)
    yield lines
    logger.removeHandler(handler)


def run(tmp_path: Path, value: Any, **changes: Any) -> dataset.Dataset:
    preprocess(dump(tmp_path / "in.pkl", value), config(**changes), tmp_path / "out")
    return dataset.open(tmp_path / "out")


def test_every_valid_sample_arrives_as_it_was(tmp_path: Path) -> None:
    value = content()
    packed = run(tmp_path, value)
    assert packed.sample_ids.tolist() == list("abcd") and packed.labels.tolist() == [0, 1, 0, 1]
    assert not packed.skipped
    for number, record in enumerate(value["annotations"]):
        np.testing.assert_array_equal(packed.sample(number), record["keypoint"])
    assert packed.split("train").tolist() == [0, 1] and packed.split("test").tolist() == [2, 3]


NAN = keypoints(1)
NAN[0, 2:8, 3, 1] = np.nan
BAD = {
    "NaN": (annotation("bad", points=NAN), "keypoint: joint 3 is NaN in 6 frames in a row, at most 5 are filled"),
    "all NaN": (annotation("bad", points=keypoints(1) * np.float32(np.nan)), "keypoint: all values are zero"),
    "infinite": (annotation("bad", points=keypoints(1) * np.float32(np.inf)), "540 of 540 values are NaN"),
    "beyond float32": (annotation("bad", points=keypoints(1).astype(float) * 1e300), "beyond float32"),
    "no frame": (annotation("bad", points=keypoints(1, frames=0)), "keypoint: found no frame"),
    "no person": (annotation("bad", points=keypoints(1, persons=0)), "keypoint: found no person"),
    "all zero": (annotation("bad", points=keypoints(1) * 0), "keypoint: all values are zero"),
    "joints": (annotation("bad", points=keypoints(1, joints=25)), "found 25 joints, expected 15 (layout sbu15)"),
    "channels": (annotation("bad", points=keypoints(1)[..., :2]), "found 2 channels, expected 3 (dimensions 3d)"),
    "dimensions": (annotation("bad", points=keypoints(1)[0]), "found shape 12×15×3, expected persons×frames"),
    "0-d array": (annotation("bad") | {"keypoint": np.array(3.0)}, "found shape scalar"),
    "text array": (annotation("bad", points=np.full((1, 2, JOINTS, 3), "x")), "found dtype <U1, expected numbers"),
    "list": (annotation("bad") | {"keypoint": [[1.0]]}, "keypoint: found shape 1×1, expected persons×frames"),
    "label too large": (annotation("bad", 2), "label: found 2, expected 0 to 1"),
    "label negative": (annotation("bad", -1), "label: found -1, expected 0 to 1"),
    "label is text": (annotation("bad", "first"), "label: found str, expected an integer"),
    "label is a float": (annotation("bad", 1.0), "label: found float, expected an integer"),
    "label is a bool": (annotation("bad", True), "label: found bool, expected an integer"),
    "no label": ({k: v for k, v in annotation("bad").items() if k != "label"}, "missing: label"),
    "no keypoint": ({k: v for k, v in annotation("bad").items() if k != "keypoint"}, "missing: keypoint"),
    "frames disagree": (annotation("bad", total_frames=13), "total_frames: found 13, but keypoint has 12 frames"),
    "duplicate id": (annotation("b"), "id: stands already at position 1"),
    "control characters": (annotation("a\nb"), "sample id: found control characters"),
}


@pytest.mark.parametrize("name", sorted(BAD))
def test_a_bad_record_is_skipped_with_its_reason(tmp_path: Path, name: str) -> None:
    record, reason = BAD[name]
    packed = run(tmp_path, content(record))
    assert packed.sample_ids.tolist() == list("abcd")
    (skipped,) = packed.skipped
    assert (skipped.position, skipped.sample_id) == (4, record["frame_dir"]) and reason in skipped.reason


@pytest.mark.parametrize(
    ("record", "reason"),
    [
        ("text", "annotation: found str, expected a dict"),
        ({}, "missing: frame_dir, label, keypoint"),
        (annotation("") | {"frame_dir": 7}, "frame_dir: found int, expected text"),
        (annotation(""), "frame_dir: found empty text, expected text"),
    ],
)
def test_a_record_without_id_is_listed_by_position(tmp_path: Path, record: Any, reason: str) -> None:
    (skipped,) = run(tmp_path, content(record)).skipped
    assert (skipped.position, skipped.sample_id, skipped.reason) == (4, "", reason)


def test_an_id_that_only_a_split_names_is_listed(tmp_path: Path) -> None:
    packed = run(tmp_path, content(train=["a", "ghost"], other=["ghost"]))
    (skipped,) = packed.skipped
    assert (skipped.position, skipped.sample_id) == (-1, "ghost")
    assert skipped.reason == "not among the annotations, but in split train, other"
    assert packed.split("train").tolist() == [0]


def test_an_id_named_twice_counts_once(tmp_path: Path, warnings_of: list[str]) -> None:
    assert run(tmp_path, content(train=["a", "b", "a"])).split("train").tolist() == [0, 1]
    assert any("train names 1 samples more than once" in line for line in warnings_of)


def test_values_that_normalisation_takes_beyond_float32_are_skipped(tmp_path: Path) -> None:
    points = keypoints(1)
    points[0, 0] = -3e38
    points[0, 1:] = 3e38
    packed = run(tmp_path, content(annotation("bad", points=points)), normalisation="body")
    assert packed.skipped[0].reason == "keypoint: values too large to normalise"


@pytest.mark.parametrize(
    ("fields", "changes", "reason"),
    [
        ({}, {}, "keypoint_score: missing"),
        ({"keypoint_score": np.ones((1, 3, 17))}, {}, "keypoint_score: found shape 1×3×17, expected 1×12×17"),
        ({"keypoint_score": np.full((1, 12, 17), np.nan)}, {}, "keypoint_score: 204 of 204 values are NaN"),
        ({"keypoint_score": np.ones((1, 12, 17))}, {"normalisation": "image"}, "img_shape: missing"),
        (
            {"keypoint_score": np.ones((1, 12, 17)), "img_shape": (0, 10)},
            {"normalisation": "image"},
            "img_shape: missing or not two positive integers",
        ),
    ],
)
def test_2d_records_need_score_and_image_size(tmp_path: Path, fields: Any, changes: Any, reason: str) -> None:
    def flat(name: str, **given: Any) -> dict[str, Any]:
        return annotation(name, points=keypoints(3, joints=17)[..., :2], **given)

    good = {"keypoint_score": np.ones((1, 12, 17)), "img_shape": np.array([340, 480])}
    value = {"split": {"train": ["a"], "test": ["b"]}, "annotations": [flat("a", **good), flat("b", **good)]}
    value["annotations"].append(flat("bad", **fields))
    accept = ["class-without-training", "shares-of-image"]
    packed = run(tmp_path, value, layout="coco17", dimensions="2d+score", accept=accept, **changes)
    assert [skipped.sample_id for skipped in packed.skipped] == ["bad"] and reason in packed.skipped[0].reason


WHOLE = {
    "not a dict": ([1, 2], "found a pickled list, expected a dict with 'split' and 'annotations'"),
    "no split": (
        {"annotations": [annotation("a")]},
        "split: 'train' of protocol 'plain' is missing; found none (data.splits makes some)",
    ),
    "neither": ({"data": 1}, "annotations missing: found data"),
    "annotations of another kind": ({"split": {}, "annotations": {"a": 1}}, "annotations: found dict, expected a list"),
    "no annotation": ({"split": {}, "annotations": []}, "annotations: the list is empty"),
    "splits of another kind": (
        {"split": ["a"], "annotations": [annotation("a")]},
        "split: found list, expected a dict",
    ),
    "split of another kind": ({**content(), "split": {"train": 3}}, "split 'train': found int, expected a list of ids"),
    "ids that are no text": (content(train=[1, 2]), "split 'train': holds an id that is not text"),
    "split missing": (
        {**content(), "split": {"train": ["a"]}},
        "split: 'test' of protocol 'plain' is missing; found train",
    ),
    "split empty": (content(test=[]), "split 'test' of protocol 'plain': it is empty"),
    "split unknown": (content(test=["x", "y"]), "split 'test' of protocol 'plain': none of its 2 samples is usable"),
    "nothing usable": (
        {**content(), "annotations": [annotation(name, label=9) for name in "abcd"]},
        "4 of 4 samples have labels outside of the classes: labels 9 to 9 found, 0 to 1 expected for 2 classes",
    ),
}


@pytest.mark.parametrize("name", sorted(WHOLE))
def test_a_bad_file_is_one_line_and_leaves_nothing(tmp_path: Path, name: str) -> None:
    value, expected = WHOLE[name]
    with pytest.raises(InputError) as refusal:
        run(tmp_path, value)
    assert expected in str(refusal.value) and str(tmp_path / "in.pkl") in str(refusal.value)
    assert "\n" not in str(refusal.value)
    assert [path.name for path in tmp_path.iterdir()] == ["in.pkl"]


def test_another_source_than_expected_is_refused(tmp_path: Path) -> None:
    file = dump(tmp_path / "in.pkl", content())
    with pytest.raises(InputError, match=r"in\.pkl: SHA-256 [0-9a-f]{64} found, 00 expected"):
        preprocess(file, config(), tmp_path / "out", expected_sha256="00")
    preprocess(file, config(), tmp_path / "out", expected_sha256=sha256_file(file).upper())
    assert dataset.verify(tmp_path / "out").made_from == {"source": sha256_file(file)}


@pytest.mark.parametrize("name", ["missing.pkl", "."])
def test_a_source_that_is_no_file_is_refused(tmp_path: Path, name: str) -> None:
    with pytest.raises(InputError, match=r"no such file|not a file"):
        preprocess(tmp_path / name, config(), tmp_path / "out")


def test_what_is_no_artifact_is_never_replaced(tmp_path: Path) -> None:
    (tmp_path / "out").mkdir()
    (tmp_path / "out" / "thesis.tex").write_text("years of work")
    with pytest.raises(InputError, match="exists and is no artifact"):
        run(tmp_path, content())
    assert (tmp_path / "out" / "thesis.tex").exists()


def test_same_input_same_bytes(tmp_path: Path) -> None:
    value = content(annotation("bad", 7), annotation("two", points=keypoints(9, persons=2)))
    for name in ("one", "two"):
        preprocess(dump(tmp_path / "in.pkl", value), config(normalisation="body", align=True), tmp_path / name)
    files = sorted(path.name for path in (tmp_path / "one").iterdir())
    assert files == ["index.npz", "keypoints.npy", MANIFEST, "skipped.jsonl"]
    for file in files:
        assert (tmp_path / "one" / file).read_bytes() == (tmp_path / "two" / file).read_bytes()


def test_twins_across_splits_are_counted_and_said(tmp_path: Path, warnings_of: list[str]) -> None:
    twin = annotation("twin", points=keypoints(sum(b"a")))
    value = content(twin, twin_test=["twin", "c"], shared=["a", "b"])
    protocols = {
        "plain": {"train": "train", "test": "test"},
        "leaky": {"train": "train", "test": "twin_test"},
        "same": {"train": "train", "test": "shared"},
    }
    run(tmp_path, value, protocols=protocols)
    assert dataset.verify(tmp_path / "out").about["leaks"] == {"plain": 0, "leaky": 1, "same": 2}
    assert [line.partition(";")[0] for line in warnings_of if "byte-equal" in line] == [
        "leak: protocol leaky: 1 of 2 test samples (twin_test) are byte-equal to training ones (train): "
        "accuracy overstated",
        "leak: protocol same: 2 of 2 test samples (shared) are byte-equal to training ones (train): accuracy overstated",  # noqa: E501
    ]


def test_a_split_without_leaks_is_made_of_two_that_leak(tmp_path: Path) -> None:
    twins = [annotation(f"twin{n}", label, points=keypoints(sum(b"a"))) for n, label in enumerate((0, 1))]
    bad = annotation("bad", points=keypoints(1) * 0)
    value = content(*twins, bad, test=["twin0", "c", "bad", "twin1", "gone", "d"])
    splits = {"unleaked": {"by": "leaks", "of": ["train", "test"]}}
    protocols = {name: {"train": f"{name}_train", "test": f"{name}_val"} for name in splits}
    protocols["leaky"] = {"train": "train", "test": "test"}
    packed = run(tmp_path, value, splits=splits, protocols=protocols, protocol="unleaked")
    assert packed.sample_ids[packed.split("unleaked_val")].tolist() == ["c", "d"]
    assert packed.split("unleaked_train").tolist() == packed.split("train").tolist() == [0, 1]
    assert packed.manifest.about["leaks"] == {"unleaked": 0, "leaky": 2}
    assert {one.sample_id for one in packed.skipped} == {"bad", "gone"}


def test_a_split_without_leaks_is_made_of_a_made_one_wherever_it_stands(tmp_path: Path) -> None:
    twins = [annotation(f"twin{n}", n % 2, points=keypoints(sum(b"a"))) for n in range(20)]
    splits = {"cleaned": {"by": "leaks", "of": ["made_train", "made_val"]}, "made": {"by": "random", "test_share": 0.5}}
    protocols = {name: {"train": f"{name}_train", "test": f"{name}_val"} for name in splits}
    packed = run(tmp_path, content(*twins), splits=splits, protocols=protocols, protocol="made")
    leaks = packed.manifest.about["leaks"]
    assert leaks["cleaned"] == 0 < leaks["made"]
    assert len(packed.split("cleaned_val")) == len(packed.split("made_val")) - leaks["made"]
    assert packed.split("cleaned_train").tolist() == packed.split("made_train").tolist()


def test_a_made_split_does_not_replace_one_of_the_input(tmp_path: Path) -> None:
    value = content()
    value["split"]["one_val"] = value["split"]["test"]
    protocols = {"one": {"train": "train", "test": "one_val"}}
    message = r"data.splits.one: makes split 'one_val', which the input has too"
    with pytest.raises(InputError, match=message):
        run(tmp_path, value, splits={"one": {"by": "random"}}, protocols=protocols, protocol="one")


@pytest.mark.parametrize(
    ("how", "message"),
    [
        ({"by": "leaks", "of": ["train", "tset"]}, r"data.splits.one.of: split 'tset' is missing; found"),
        ({"by": "leaks", "of": ["train", "one_val"]}, r"data.splits.one.of: split 'one_val' is missing; found"),
        ({"by": "leaks"}, r"of: by leaks, and only then, needs two other splits, \[training, test\]"),
        ({"by": "random", "of": ["train", "test"]}, r"of: by leaks, and only then"),
    ],
)
def test_leaks_are_left_out_of_splits_that_there_are(tmp_path: Path, how: dict[str, Any], message: str) -> None:
    protocols = {"one": {"train": "one_train", "test": "one_val"}}
    with pytest.raises((InputError, ValidationError), match=message):
        run(tmp_path, content(), splits={"one": how}, protocols=protocols, protocol="one")


IDS = st.sampled_from([*"abcdefgh", "", "x\ny", None])
RECORDS = st.fixed_dictionaries(
    {
        "id": IDS,
        "label": st.sampled_from([0, 1, 2, -1, None, "1"]) | st.integers(0, 1),
        "persons": st.integers(0, 3),
        "frames": st.integers(0, 6),
        "joints": st.sampled_from([JOINTS] * 4 + [JOINTS + 1]),
        "spoilt": st.sampled_from(["", "", "", "nan", "zero"]),
        "dtype": st.sampled_from(["<f2", "<f4", ">f8"]),
    }
)


def _record(seed: int, drawn: dict[str, Any]) -> dict[str, Any]:
    points = keypoints(seed, drawn["persons"], drawn["frames"], drawn["joints"]).astype(drawn["dtype"])
    if drawn["spoilt"] and points.size:
        points = points * 0 if drawn["spoilt"] == "zero" else points * np.nan
    return {"frame_dir": drawn["id"], "label": drawn["label"], "keypoint": points}


@settings(max_examples=60, deadline=None)
@given(drawn=st.lists(RECORDS, max_size=8), named=st.lists(st.sampled_from("abcdefghij"), max_size=6))
def test_every_record_is_packed_or_skipped_once(
    tmp_path_factory: pytest.TempPathFactory, drawn: list[dict[str, Any]], named: list[str]
) -> None:
    good = [annotation("t1", points=keypoints(1)), annotation("t2", points=keypoints(2))]
    records = good + [_record(seed, record) for seed, record in enumerate(drawn)]
    folder = tmp_path_factory.mktemp("stage")
    splits = {"train": ["t1"], "test": ["t2"], "named": named}
    accept = ["class-without-training", "labels-outside", "labels-from-1"]
    packed = run(folder, {"split": splits, "annotations": records}, normalisation="body", align=True, accept=accept)
    listed = [skipped.position for skipped in packed.skipped if skipped.position >= 0]
    assert len(packed) + len(listed) == len(records) and len(set(listed)) == len(listed)
    kept = [record for position, record in enumerate(records) if position not in listed]
    assert packed.sample_ids.tolist() == [record["frame_dir"] for record in kept]
    assert packed.labels.tolist() == [record["label"] for record in kept]
    assert all(len(packed.sample(number)) <= 2 for number in range(len(packed)))
    assert np.isfinite(packed.keypoints).all()
    ids = {record["frame_dir"] for record in records}
    ghosts = {skipped.sample_id for skipped in packed.skipped if skipped.position < 0}
    assert ghosts == set(named) - ids
    assert {packed.sample_ids[number] for number in packed.splits["named"]} == set(named) & set(packed.sample_ids)


def test_a_hostile_pickle_is_refused_by_the_stage(tmp_path: Path) -> None:
    class Attack:
        def __reduce__(self) -> Any:
            return Path.touch, (tmp_path / "canary",)

    (tmp_path / "in.pkl").write_bytes(pickle.dumps({"split": Attack(), "annotations": []}))
    with pytest.raises(InputError, match="only plain data and NumPy arrays are read"):
        preprocess(tmp_path / "in.pkl", config(), tmp_path / "out")
    assert [path.name for path in tmp_path.iterdir()] == ["in.pkl"]


def test_a_sample_that_would_fill_the_memory_is_a_fault() -> None:
    """No array is made of it: the coordinates are one number, shown many times."""
    points = np.broadcast_to(np.float32(1), (1, LARGEST_SAMPLE // (JOINTS * 3) + 1, JOINTS, 3))
    assert "at most 67108864 expected" in (fault(Sample(0, "large", 0, points), config()) or "")
