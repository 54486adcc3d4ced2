"""What a user asks of a trained checkpoint: accuracy on a split, and the names of actions in raw skeletons."""

from __future__ import annotations

import json
import pickle
import re
from pathlib import Path

import numpy as np
import pytest
import torch
from click.testing import Result
from train_helpers import CLASSES, LAYOUT, experiment
from typer.testing import CliRunner

from components.contracts import checkpoint, dataset, scores
from components.contracts.accuracy import top_k
from components.contracts.errors import InputError
from components.contracts.skeleton import load_layout
from components.train.__main__ import app
from components.train.core import Outputs, train_round
from components.train.round import Round
from components.train.trained.ensemble import Ensemble, Member, load_model
from components.train.trained.packing import Unreadable
from components.train.trained.predicting import predict
from components.train.trained.prediction import Prediction
from components.train.trained.scoring import fitted
from components.train.trained.scoring import test_checkpoint as score_with_checkpoint


@pytest.fixture(scope="module")
def trained(tiny_dataset: Path, tiny_constraints: Path, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    folder = tmp_path_factory.mktemp("trained")
    made = Outputs(folder / "checkpoint", folder / "confusion", folder / "scores")
    stage = experiment(rounds=1, epochs=8, batch=6, learning_rate=0.05, mix=False, evaluate_every=1).stage_train("b")
    train_round(Round(stage, "b", 1, tiny_dataset, tiny_constraints), made)
    return made


@pytest.fixture
def clip(tiny_dataset: Path) -> np.ndarray:
    """The raw skeletons of a test sample: its normalisation is 'none'."""
    packed = dataset.open(tiny_dataset)
    return np.array(packed.sample(int(packed.split("test")[0])))


def answers(model: Path, *given: Path) -> list[Prediction]:
    found = list(predict(load_model(model), given))
    assert not [one for one in found if isinstance(one, Unreadable)]
    return [one for one in found if isinstance(one, Prediction)]


def refusal(model: Path, *given: Path) -> str:
    (found,) = predict(load_model(model), given)
    assert isinstance(found, Unreadable)
    return str(found)


def call(*arguments: object) -> Result:
    return CliRunner().invoke(app, [str(argument) for argument in arguments], catch_exceptions=False)


def test_test_prints_what_the_scores_say(trained: Outputs, tiny_dataset: Path, tmp_path: Path) -> None:
    config = tmp_path / "e.yaml"
    settings = checkpoint.open(trained.checkpoint).config.train.model_dump()
    config.write_text(experiment(rounds=1, **settings).to_json(), encoding="utf-8")
    flags = ("--config", config, "--dataset", tiny_dataset, "--stream", "b", "--output", tmp_path / "scores")
    done = call("test", trained.checkpoint, *flags, "--clips", 1, "--best")
    assert done.exit_code == 0, done.output
    written = scores.open(tmp_path / "scores")
    assert written.clips == 1
    history = {record.epoch: record.test_top1 for record in written.history}
    best = checkpoint.open(trained.checkpoint).state.best_epoch
    top1 = top_k(written.probabilities, written.labels, 1)
    assert best is not None and top1 == history[best] == max(value for value in history.values() if value is not None)
    assert f"top-1                   {top1:.2%}" in done.stdout
    for word in ("(best tested epoch)", "18 samples", "top-5", "mean-class accuracy", "average precision", "clips/s"):
        assert word in done.stdout


def test_the_last_weights_count_unless_said(trained: Outputs, tiny_dataset: Path, tmp_path: Path) -> None:
    stage = checkpoint.open(trained.checkpoint).config
    last = score_with_checkpoint(stage, tiny_dataset, trained.checkpoint, None, stream="b")
    made = scores.open(trained.scores)
    assert last.top1 == top_k(made.probabilities, made.labels, 1) and last.clips_per_second > 0
    opened = checkpoint.open(trained.checkpoint)
    without = checkpoint.Checkpoint(opened.model, opened.optimiser, opened.state, opened.config)
    checkpoint.write(tmp_path / "without", without, made_from={})
    with pytest.raises(InputError, match=r"no best weights found; .*train\.evaluate_every=1"):
        score_with_checkpoint(stage, tiny_dataset, tmp_path / "without", None, stream="b", best=True)


def test_every_form_of_a_clip_gives_the_same_answer(trained: Outputs, clip: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "clip.npy", clip)
    (tmp_path / "clip.json").write_text(json.dumps({"clips": [{"id": "clip", "keypoint": clip.tolist()}]}))
    (tmp_path / "bare.json").write_text(json.dumps(clip.tolist()))
    annotation = {"frame_dir": "clip", "label": 99, "total_frames": clip.shape[1], "keypoint": clip}
    (tmp_path / "clip.pkl").write_bytes(pickle.dumps({"annotations": [annotation]}))
    expected, *others = (
        answers(trained.checkpoint, tmp_path / name)[0] for name in ("clip.npy", "clip.json", "bare.json", "clip.pkl")
    )
    assert expected.sample_id == "clip" and expected.probabilities.sum() == pytest.approx(1)
    for other in others:
        np.testing.assert_array_equal(other.probabilities, expected.probabilities)
    made = scores.open(trained.scores)
    np.testing.assert_allclose(expected.probabilities, made.probabilities[0], atol=1e-5)


def test_the_training_image_predicts_from_a_dataset_and_says_so(
    trained: Outputs, tiny_dataset: Path, clip: np.ndarray, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("components.train.trained.packing.find_spec", lambda name: None)
    predictions = {found.sample_id: found for found in answers(trained.checkpoint, tiny_dataset)}
    made = scores.open(trained.scores)
    assert predictions.keys() == {*dataset.open(tiny_dataset).sample_ids} > {*made.sample_ids}
    for sample_id, row in zip(made.sample_ids, made.probabilities, strict=True):
        np.testing.assert_allclose(predictions[sample_id].probabilities, row, atol=1e-5)
    np.save(tmp_path / "clip.npy", clip)
    assert re.search(
        r"clip\.npy: .* the training image lacks; pack them .* give the dataset here",
        refusal(trained.checkpoint, tmp_path / "clip.npy"),
    )


def test_a_dataset_packed_in_another_way_is_refused(trained: Outputs, clip: np.ndarray, tmp_path: Path) -> None:
    data = experiment().data.model_copy(update={"normalisation": "body"})
    with dataset.Writer(tmp_path / "other", data, made_from={}) as writer:
        writer.append("clip", 0, clip)
        writer.splits({})
    assert re.search(
        r"other: data\.normalisation: found 'body', expected 'none' as in training",
        refusal(trained.checkpoint, tmp_path / "other"),
    )


def test_evidence_is_the_logit_taken_apart(trained: Outputs, tiny_dataset: Path) -> None:
    opened, packed = checkpoint.open(trained.checkpoint), dataset.open(tiny_dataset)
    stage = opened.config.model_copy(update={"train": opened.config.train.model_copy(update={"test_clips": 1})})
    model = fitted(trained.checkpoint, stage, opened.model, opened.state.text_dimensions).eval()
    for prediction in list(Ensemble((Member(stage, "b", model, 1.0),)).predictions(packed))[:5]:
        logits = np.log(prediction.probabilities.astype(np.float64))
        bias = model.classifier.bias.detach().numpy()
        above = logits - logits.mean() - (bias - bias.mean())
        assert prediction.evidence.sum() == pytest.approx(above[prediction.probabilities.argmax()], abs=1e-3)
    assert torch.is_grad_enabled()


def test_command_for_people_and_machines(trained: Outputs, clip: np.ndarray, tmp_path: Path) -> None:
    np.save(tmp_path / "wave.npy", clip)
    done = call("predict", trained.checkpoint, tmp_path / "wave.npy", "--top", 3)
    assert done.exit_code == 0, done.output
    assert done.stdout.startswith("wave\n") and "joints that say so: " in done.stdout
    document = json.loads(call("predict", trained.checkpoint, tmp_path / "wave.npy", "--top", 3, "--json").stdout)
    assert document["id"] == "wave" and len(document["classes"]) == len(document["joints"]) == 3
    assert {entry["name"] for entry in document["classes"]} <= {*CLASSES}
    joints = set(load_layout(LAYOUT).joints)
    assert {entry["name"] for entry in document["joints"]} <= joints


class _Payload:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.canary,)


@pytest.mark.parametrize(
    ("name", "content", "reason"),
    [
        ("clip.npy", b"\x93NUMPY\x01\x00", "cannot be read as NumPy array"),
        ("clip.json", b"[[1, 2", "cannot be read as JSON"),
        ("clip.json", b"{}", "keypoint: missing"),
        ("clip.json", b"[[[1, 2, 3], [1, 2]]]", "keypoint: its lists differ in length"),
        ("clip.json", b"[[[1, 2, 3]]]", "keypoint: found 1 joints, expected 20"),
        ("clip.xyz", b"1,2,3", "found suffix '.xyz', expected .npy, .npz, .csv, .json"),
    ],
)
def test_clips_that_cannot_be_read(trained: Outputs, tmp_path: Path, name: str, content: bytes, reason: str) -> None:
    (tmp_path / name).write_bytes(content)
    said = refusal(trained.checkpoint, tmp_path / name)
    assert name in said and reason in said and "\n" not in said


def test_a_pickle_that_would_run_code_is_refused(trained: Outputs, tmp_path: Path) -> None:
    (tmp_path / "clip.pkl").write_bytes(pickle.dumps({"keypoint": _Payload(tmp_path / "ran")}))
    assert re.search(r"clip\.pkl: not an acceptable pickle", refusal(trained.checkpoint, tmp_path / "clip.pkl"))
    assert not (tmp_path / "ran").exists()
