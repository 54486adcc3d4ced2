"""``init`` writes an experiment that runs as it stands, from whatever data it is given."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
from bodies import CLASSES, body, pixels, takes
from estimator_files import ONE_PERSON, WRITERS, labels
from pickles import dump
from raw_recordings import ntu_files, write
from typer.testing import CliRunner

from components.contracts import dataset
from components.contracts.config import Experiment, load_experiment
from components.contracts.errors import InputError
from components.preprocess.__main__ import app
from components.preprocess.core import preprocess
from components.preprocess.inspect.draft import duration


def init(folder: Path, source: Path, *options: str) -> tuple[Experiment, str, str]:
    """The experiment, its text, and what was said."""
    output = folder / "my.yaml"
    done = CliRunner().invoke(app, ["init", str(source), "--output", str(output), *options])
    if done.exception is not None and not isinstance(done.exception, SystemExit):
        raise done.exception
    assert done.exit_code == 0, done.output
    return load_experiment(output), output.read_text(), done.output


def packed(folder: Path, source: Path, made: Experiment) -> dataset.Dataset:
    preprocess(source, made.stage_preprocess(), folder / "out")
    found = dataset.open(folder / "out")
    assert not [doubt for doubt in found.manifest.about["doubts"] if doubt["severity"] != "note"]
    return found


@pytest.mark.parametrize("name", WRITERS)
def test_every_estimator_s_files_become_an_experiment_that_runs(tmp_path: Path, name: str) -> None:
    layout = {"openpose": "openpose25", "mediapipe": "mediapipe33"}.get(name, "coco17")
    layout = "openpose18" if name.startswith("alphapose_") else layout
    rows = []
    for subject in range(8):
        for label, title in enumerate(CLASSES):
            points = pixels(body(layout, subject, label))[None]
            if name == "mediapipe":
                points = points / [1920, 1080]
            WRITERS[name](tmp_path / "in" / f"{title}{subject}", points, np.full(points.shape[:3], 0.9))
            rows.append([f"{title}{subject}", title, f"p{subject}"])
    labels(tmp_path / "in", rows, "id,label,subject")
    made, _, said = init(tmp_path, tmp_path / "in")
    data = made.data
    assert (data.layout, data.dimensions, set(data.classes)) == (layout, "2d+score", set(CLASSES))
    assert (data.units == "shares") == (name == "mediapipe")
    assert data.image_size == ("height_width" if name == "mediapipe" else (1080, 1920))
    assert data.splits["made"].test == ("p3", "p7") and "the input has no splits: subjects p3, p7" in said
    found = packed(tmp_path, tmp_path / "in", made)
    clips = made.data.model_copy(update={"format": "clips"})
    preprocess(tmp_path / "in", clips, tmp_path / "clips")  # as predict reads them
    assert (tmp_path / "clips" / "keypoints.npy").read_bytes() == (tmp_path / "out" / "keypoints.npy").read_bytes()
    assert len(found) == 24 and {name: len(ids) for name, ids in found.splits.items()} == {
        "made_train": 18,
        "made_val": 6,
    }
    assert np.abs(found.keypoints[..., :2]).max() <= 1.1 or name in ONE_PERSON


def three_d(tmp_path: Path, layout: str, change: Any = None, splits: bool = True) -> Path:
    content = takes(layout)
    for record in content["annotations"]:
        record.update(change(record) if change else {})
    return dump(tmp_path / "My Data.pkl", content if splits else {"annotations": content["annotations"]})


def test_given_splits_are_protocols(tmp_path: Path) -> None:
    made, text, _ = init(tmp_path, three_d(tmp_path, "ntu25"))
    assert made.name == "my_data" and made.data.protocols["given"].train == "train" and not made.data.splits
    assert made.data.classes == ("class 0", "class 1", "class 2") and "the input names none" in text
    assert made.model.size == "tiny" and made.model.width == 32 and "make run takes about " in text
    assert packed(tmp_path, tmp_path / "My Data.pkl", made).layout.name == "ntu25"


@pytest.mark.parametrize("share", [0, 0.25, 1])
def test_two_persons_in_most_samples_are_one_graph(tmp_path: Path, share: float) -> None:
    content = takes("ntu25")
    pairs = content["annotations"][: int(share * len(content["annotations"]))]
    for record in pairs:
        record["keypoint"] = np.concatenate([record["keypoint"], record["keypoint"] + [0.8, 0, 0.1]])
    made, text, _ = init(tmp_path, dump(tmp_path / "pairs.pkl", content))
    assert made.model.velocity and made.data.max_persons == (2 if share else 1)
    assert made.model.persons == ("together" if share == 1 else "apart")
    assert ("what they do is between them" in text) is (share == 1)


def test_layout_units_and_labels_are_seen(tmp_path: Path) -> None:
    source = three_d(tmp_path, "msr20", lambda r: {"keypoint": r["keypoint"] * 1000, "label": r["label"] + 1})
    made, text, _ = init(tmp_path, source)
    assert (made.data.layout, made.data.units, made.data.first_label) == ("msr20", "millimetres", 1)
    assert made.data.classes == ("class 1", "class 2", "class 3") and "as many joints: " in text
    packed(tmp_path, source, made)


def test_splits_are_made_by_subject_where_ids_tell_one(tmp_path: Path) -> None:
    source = three_d(tmp_path, "ntu25", splits=False)
    made, text, said = init(tmp_path, source)
    assert made.data.splits["made"].test == ("04", "08") and "MADE HERE" in text and "no splits" in said
    found = packed(tmp_path, source, made)
    assert {name[4:7] for name in found.sample_ids[found.split("made_val")].tolist()} == {"s04", "s08"}


def test_and_at_random_within_classes_where_they_do_not(tmp_path: Path) -> None:
    ids = iter("abcdefghijklmnopqrstuvwx")
    source = three_d(tmp_path, "ntu25", lambda record: {"frame_dir": next(ids)}, splits=False)
    made, _, said = init(tmp_path, source)
    assert made.data.splits["made"].by == "random" and "at random" in said
    found = packed(tmp_path, source, made)
    assert np.bincount(found.labels[found.split("made_val")]).tolist() == [2, 2, 2]
    assert not set(found.split("made_val").tolist()) & set(found.split("made_train").tolist())


@pytest.mark.parametrize(("front", "align"), [(True, False), (False, True)])
def test_bodies_are_aligned_only_where_views_differ(tmp_path: Path, front: bool, align: bool) -> None:
    def turned(record: dict[str, Any]) -> dict[str, Any]:
        points = record["keypoint"]
        first = points[0, 0, 4] - points[0, 0, 8]  # left to right shoulder
        angle = np.arctan2(first[2], first[0]) if front else 0.0
        cosine, sine = np.cos(angle), np.sin(angle)
        return {"keypoint": points @ np.array([[cosine, 0, -sine], [0, 1, 0], [sine, 0, cosine]])}

    made, text, _ = init(tmp_path, three_d(tmp_path, "ntu25", turned))
    assert made.data.align == ("+y" if align else False)
    assert ("as here" in text) is align


@pytest.mark.parametrize(
    ("names", "flip"),
    [(["wave", "clap", "Leftovers"], 0.5), (["wave left", "clap", "jump"], 0.0), (["turn-Clockwise", "b", "c"], 0.0)],
)
def test_bodies_are_mirrored_unless_that_makes_another_class(tmp_path: Path, names: list[str], flip: float) -> None:
    rows = []
    for number, record in enumerate(takes("ntu25")["annotations"]):
        np.save(folder(tmp_path) / f"take{number}.npy", record["keypoint"][0])
        rows.append([f"take{number}", names[record["label"]], f"p{number // 3}"])
    labels(folder(tmp_path), rows, "id,label,subject")
    made, text, _ = init(tmp_path, folder(tmp_path))
    assert made.train.augmentation.flip == flip and "in the mirror" in text
    packed(tmp_path, folder(tmp_path), made)


def test_classes_without_names_are_not_mirrored(tmp_path: Path) -> None:
    made, text, _ = init(tmp_path, three_d(tmp_path, "ntu25"))
    assert made.train.augmentation.flip == 0 and "in the mirror" in text


def folder(parent: Path) -> Path:
    (parent / "in").mkdir(exist_ok=True)
    return parent / "in"


def test_a_leak_is_said_and_the_clean_protocol_comes_first(tmp_path: Path, data_dir: Path) -> None:
    made, _, said = init(tmp_path, data_dir / "nw_ucla.pkl")
    assert made.data.protocol == "xview_clean" and "95 of 464 samples of xview_val are byte-equal" in said
    assert made.data.align == "+y" and made.data.max_persons == 1


def test_where_all_splits_leak_one_is_made_that_does_not(tmp_path: Path) -> None:
    content = takes("ntu25")
    known, tested = (content["split"][name] for name in ("train", "test"))
    of = {record["frame_dir"]: record for record in content["annotations"]}
    of[tested[0]]["keypoint"] = of[known[0]]["keypoint"]
    source = dump(tmp_path / "leaky.pkl", content)
    made, text, said = init(tmp_path, source)
    assert made.data.protocol == "unleaked" and "protocol unleaked, the first, leaves these out of test" in said
    assert "unleaked_val: test without the samples that are byte-equal to one of train" in " ".join(text.split())
    assert made.data.protocols["given"].test == "test"
    preprocess(source, made.stage_preprocess(), tmp_path / "out")
    found = dataset.open(tmp_path / "out")
    assert found.sample_ids[found.split("unleaked_val")].tolist() == tested[1:]
    assert found.manifest.about["leaks"] == {"unleaked": 0, "given": 1}
    clip = tmp_path / "clip.npy"
    np.save(clip, of[tested[0]]["keypoint"])
    preprocess(clip, made.data.model_copy(update={"format": "clips"}), tmp_path / "clips")  # as predict reads them


def test_raw_recordings(tmp_path: Path) -> None:
    made, _, _ = init(tmp_path, write(tmp_path / "raw", ntu_files()))
    assert made.data.layout == "ntu25" and {"xsub", "xview", "xset"} & set(made.data.protocols)


def test_a_layout_of_one_s_own(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("joints: [a, b, c]\nparents: {a: a, b: a, c: b}\n")
    records = [
        {"frame_dir": f"s{n}_{label}", "label": label, "keypoint": body("ntu25", n, label)[None, :, :3]}
        for n in range(8)
        for label in range(2)
    ]
    source = dump(tmp_path / "in.pkl", {"annotations": records})
    made, _, _ = init(tmp_path, source, "--layout", str(tmp_path / "mine.yaml"))
    (tmp_path / "mine.yaml").unlink()  # the experiment holds it from here on
    found = packed(tmp_path, source, made)
    assert found.layout.name == "mine" and found.layout.joints == ("a", "b", "c")
    assert made.stage_preprocess().model_validate_json(made.data.to_json()).skeleton == found.layout


@pytest.mark.parametrize(
    ("records", "expected"),
    [
        (
            [{"frame_dir": "a", "label": 0, "keypoint": np.ones((1, 5, 7, 3))}] * 1,
            "found one class, expected at least two",
        ),
        (
            [{"frame_dir": str(n), "label": n, "keypoint": np.ones((1, 5, 7, 3))} for n in range(2)],
            "layout: none that ships with us has 7 joints",
        ),
    ],
)
def test_what_init_cannot_decide_is_one_line(tmp_path: Path, records: list[Any], expected: str) -> None:
    with pytest.raises(InputError, match=expected):
        init(tmp_path, dump(tmp_path / "in.pkl", {"annotations": records}))


def test_an_existing_file_is_kept(tmp_path: Path) -> None:
    (tmp_path / "my.yaml").write_text("mine")
    with pytest.raises(InputError, match="exists already"):
        init(tmp_path, three_d(tmp_path, "ntu25"))
    assert (tmp_path / "my.yaml").read_text() == "mine"


def test_times_are_said_as_people_say_them() -> None:
    assert [duration(seconds) for seconds in (5, 600, 7200)] == ["a minute", "10 minutes", "2 hours"]
