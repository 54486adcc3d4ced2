"""The model of a run: what is in it, and that it says what the evaluation said."""

from __future__ import annotations

import json
import pickle
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from train_helpers import CLASSES, LAYOUT, Joined, all_bytes, experiment
from typer.testing import CliRunner

from components.contracts import checkpoint, dataset, model, scores
from components.contracts.config import Experiment
from components.contracts.errors import InputError
from components.contracts.skeleton import load_layout
from components.evaluate.measures.ensemble import fuse
from components.train.__main__ import app
from components.train.model.folding import fold
from components.train.model.recogniser import Recogniser
from components.train.trained.ensemble import Ensemble, Member, load_model
from components.train.trained.joining import join_streams

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture
def clips(tiny_dataset: Path) -> list[np.ndarray]:
    """Raw skeletons of the first test samples: their normalisation is 'none'."""
    packed = dataset.open(tiny_dataset)
    return [np.array(packed.sample(int(number))) for number in packed.split("test")[:3]]


def command(*arguments: object) -> subprocess.CompletedProcess[str]:
    words = [sys.executable, "-m", "components.train", *map(str, arguments)]
    return subprocess.run(words, cwd=ROOT, capture_output=True, text=True, check=False)


def test_a_model_holds_the_last_networks_in_order_and_no_optimiser(joined: Joined) -> None:
    opened = model.open(joined.path)
    said = [(one.stream, one.weight, one.clips) for one in opened.document.streams]
    assert said == [("j", 3, 2), ("b", 2, 2), ("km", 1, 2)]
    assert opened.document.classes == CLASSES and opened.document.layout == LAYOUT
    for stream, made in joined.made.items():
        alone, trained = checkpoint.open(joined.path / stream), checkpoint.open(made.checkpoint)
        assert trained.optimiser and not alone.optimiser
        assert alone.model.keys() == trained.model.keys() and alone.state == trained.state
        assert opened.manifest.made_from[f"checkpoint.{stream}"] == trained.digest


def test_the_order_of_the_checkpoints_changes_no_byte(joined: Joined, tmp_path: Path) -> None:
    config = tmp_path / "my.yaml"
    config.write_text(joined.experiment.to_json())
    given = [word for made in joined.made.values() for word in ("--checkpoint", str(made.checkpoint))]
    arguments = ["model", *given, "--config", str(config), "--output", str(tmp_path / "model")]
    done = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert all_bytes(tmp_path / "model") == all_bytes(joined.path)


def test_checkpoints_that_do_not_belong_together_are_refused(joined: Joined, tmp_path: Path) -> None:
    stage, j = joined.experiment.stage_evaluate(), joined.made["j"].checkpoint
    opened = checkpoint.open(j)
    shutil.copytree(j, tmp_path / "again")
    with pytest.raises(InputError, match=r"again: stream 'j' found, which .*checkpoint has too"):
        join_streams(stage, [j, tmp_path / "again"], tmp_path / "model")
    later = opened.state.model_copy(update={"stream": "b", "round": 2})
    checkpoint.write(tmp_path / "b", checkpoint.Checkpoint(opened.model, {}, later, opened.config), made_from={})
    with pytest.raises(InputError, match="b: round 2 found, 1 expected as of stream j"):
        join_streams(stage, [j, tmp_path / "b"], tmp_path / "model")
    other = stage.model_copy(update={"data": stage.data.model_copy(update={"normalisation": "body"})})
    with pytest.raises(InputError, match=r"another section data: normalisation: none found, body expected"):
        join_streams(other, [j], tmp_path / "model")
    without = stage.model_copy(update={"evaluate": stage.evaluate.model_copy(update={"weights": {"b": 1}})})
    with pytest.raises(InputError, match=r"evaluate\.weights: no stream with a checkpoint \(found j\)"):
        join_streams(without, [j], tmp_path / "model")


def test_the_ensemble_says_what_the_evaluation_fuses(joined: Joined, tiny_dataset: Path) -> None:
    made = [scores.open(outputs.scores) for outputs in joined.made.values()]
    fused = fuse(made, {"j": 3, "b": 2, "km": 1})
    order = np.argsort(made[0].sample_ids)
    said = {one.sample_id: one for one in load_model(joined.path).predictions(dataset.open(tiny_dataset))}
    for row, sample_id in zip(fused.probabilities, made[0].sample_ids[order], strict=True):
        np.testing.assert_allclose(said[str(sample_id)].probabilities, row, atol=1e-6)


def test_evidence_is_the_weighted_mean_of_the_streams(joined: Joined, tiny_dataset: Path) -> None:
    packed = dataset.open(tiny_dataset)
    alone = {stream: load_model(joined.path / stream) for stream in joined.made}
    single = {stream: next(iter(one.predictions(packed))) for stream, one in alone.items()}
    whole = next(iter(load_model(joined.path).predictions(packed)))
    assert whole.joints == load_layout(LAYOUT).joints
    assert {stream: one.label for stream, one in single.items()} == {
        stream: CLASSES[int(row.argmax())] for stream, row in whole.streams.items()
    }
    if {one.label for one in single.values()} == {whole.label}:
        mean = sum(single[stream].evidence * weight / 6 for stream, weight in {"j": 3, "b": 2, "km": 1}.items())
        np.testing.assert_allclose(whole.evidence, mean, atol=1e-5)


def test_one_line_of_python_recognises_an_array(
    joined: Joined, clips: list[np.ndarray], tiny_dataset: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(ROOT)
    said = load_model(joined.path).predict(clips[0][0])
    expected = next(
        one for one in load_model(joined.path).predictions(dataset.open(tiny_dataset)) if one.sample_id == "left slow 7"
    )
    assert said.label == expected.label and said.source == ""
    both = load_model(str(joined.path)).predict_all(clips)
    assert [one.sample_id for one in both] == ["clip 0", "clip 1", "clip 2"]
    np.testing.assert_allclose(both[0].probabilities, expected.probabilities, atol=1e-6)
    with pytest.raises(InputError, match=r"^clip 0: .*found 3 joints, expected 20"):
        load_model(joined.path).predict(np.zeros((5, 3, 3)))


def test_a_run_is_asked_by_its_folder(joined: Joined, clips: list[np.ndarray], tmp_path: Path) -> None:
    home = tmp_path / "runs" / "tiny"
    home.mkdir(parents=True)
    (home / "run.json").write_text("{}")
    with pytest.raises(InputError, match=r"tiny: no model/ found, which a run has as soon as it has finished"):
        load_model(home)
    shutil.copytree(joined.path, home / "model")
    (tmp_path / "more").mkdir()
    for name, clip in (("wave", clips[0]), ("more/wave", clips[1]), ("more/other", clips[2])):
        np.save(tmp_path / f"{name}.npy", clip)
    np.savez(tmp_path / "named.npz", keypoint=clips[2])
    given = (tmp_path / "wave.npy", tmp_path / "more", tmp_path / "named.npz")
    done = command("predict", home, *given, "--json", "--top", 2)
    assert done.returncode == 0, done.stderr
    lines = [json.loads(line) for line in done.stdout.splitlines()]
    assert {(one["id"], one["source"]) for one in lines} == {
        ("wave", str(given[0])), ("named", str(given[2])), ("wave", str(given[1])), ("other", str(given[1])),
    }  # fmt: skip
    for one in lines:
        assert one["label"] == one["classes"][0]["name"] and len(one["classes"]) == len(one["joints"]) == 2
        assert [*one["streams"]] == ["j", "b", "km"] and one["streams"]["j"]["name"] in CLASSES


def test_what_cannot_be_read_is_named_and_the_others_are_recognised(
    joined: Joined, clips: list[np.ndarray], tmp_path: Path
) -> None:
    np.save(tmp_path / "good.npy", clips[0])
    np.save(tmp_path / "narrow.npy", clips[0][..., :7, :])
    annotations = [{"frame_dir": name, "keypoint": clips[1]} for name in ("fine", "")]
    (tmp_path / "some.pkl").write_bytes(pickle.dumps({"annotations": annotations}))
    (tmp_path / "none.pkl").write_bytes(pickle.dumps(annotations[1:]))
    given = [tmp_path / name for name in ("good.npy", "narrow.npy", "some.pkl", "none.pkl", "absent.npy")]
    done = command("predict", joined.path, *given, "--json")
    assert done.returncode == 2
    assert {json.loads(line)["id"] for line in done.stdout.splitlines()} == {"good", "fine"}
    *said, last = done.stderr.splitlines()
    assert said == [
        f"error: {given[4]}: no such file or directory",
        f"error: {given[1]}: keypoint: found 7 joints, expected 20 (layout kinect20)",
        f"error: {given[2]}: clip 1: frame_dir: found empty text, expected text",
        f"error: {given[3]}: clip 0: frame_dir: found empty text, expected text",
    ]
    assert last == f"error: 4 of 6 could not be used: {given[4]}, {given[1]}, {given[2]}, {given[3]}"


@pytest.mark.parametrize(
    ("place", "message"),
    [
        ("absent", "no such folder, expected a run's folder, a model or a checkpoint"),
        (".", "no artifact found, expected a run's folder, a model or a checkpoint"),
        ("scores", "artifact 'scores' found, expected a run's folder, a model or a checkpoint"),
    ],
)
def test_what_is_no_model_is_refused(joined: Joined, tmp_path: Path, place: str, message: str) -> None:
    shutil.copytree(joined.made["j"].scores, tmp_path / "scores")
    with pytest.raises(InputError) as caught:
        load_model(tmp_path / place)
    assert message in str(caught.value)


def test_poses_in_images_need_the_image(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(ROOT)
    document = experiment().model_dump(mode="json")
    document["data"] |= {"layout": "coco17", "dimensions": "2d+score", "normalisation": "image"}
    stage = Experiment.model_validate(document).stage_train("j")
    network = Recogniser(stage.model, 17, stage.data.max_persons, len(CLASSES), 4)
    flat = Ensemble((Member(stage, "j", fold(network), 1.0),))
    poses = np.random.default_rng(0).uniform(100, 200, size=(12, 17, 3))
    poses[..., 2] = 0.9
    assert flat.predict(poses, image=(240, 320)).label in CLASSES
    with pytest.raises(InputError, match="img_shape"):
        flat.predict(poses)
