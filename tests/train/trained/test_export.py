"""The ONNX file says what ``predict`` says."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import onnx
import onnxruntime
import pytest
import torch
from train_helpers import Joined, experiment, run
from typer.testing import CliRunner

from components.contracts import dataset
from components.contracts.config import Experiment
from components.contracts.errors import InputError, ResourceError
from components.train.__main__ import app
from components.train.clips.gather import ClipSource
from components.train.clips.sampling import test_frames as frames_of_clip
from components.train.trained.ensemble import Ensemble, load_model
from components.train.trained.exporting import TOLERANCE, export


def asked(file: Path, model: Ensemble, data: Path) -> np.ndarray:
    """Ask the file for every sample of a dataset, as its documentation says; return ``[N, classes]``."""
    packed = dataset.open(data)
    session = onnxruntime.InferenceSession(str(file), providers=["CPUExecutionProvider"])
    source, samples = ClipSource(packed, model.data.max_persons, torch.device("cpu")), torch.arange(len(packed))
    config, lengths = model.members[0].stage.train, torch.from_numpy(packed.frames)
    answers = []
    for clip in range(config.test_clips):
        frames = frames_of_clip(lengths, config, clip)
        given = {"joints": source.clips(samples, frames), "following": source.clips(samples, frames.next(lengths))}
        names = [entry.name for entry in session.get_inputs()]
        answers.append(session.run(None, {name: given[name].numpy() for name in names})[0])
    return np.mean(answers, axis=0)


@pytest.mark.parametrize("place", ["", "b"])
def test_the_file_says_what_predict_says(joined: Joined, tiny_dataset: Path, tmp_path: Path, place: str) -> None:
    file = tmp_path / "new" / "model.onnx"
    done = CliRunner().invoke(app, ["export", str(joined.path / place), "--output", str(file)], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    assert "opset 17; joints" in done.stdout and "checked with onnxruntime: differs" in done.stdout
    assert [entry.name for entry in file.parent.iterdir()] == ["model.onnx"]
    model = load_model(joined.path / place)
    expected = [one.probabilities for one in model.predictions(dataset.open(tiny_dataset))]
    np.testing.assert_allclose(asked(file, model, tiny_dataset), expected, atol=TOLERANCE)


def test_velocities_and_persons_together_are_in_the_file(
    tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path
) -> None:
    document = experiment(rounds=1, epochs=2, learning_rate=0.05, mix=False).model_dump(mode="json")
    document["model"] |= {"velocity": True, "persons": "together"}
    made = run(Experiment.model_validate(document), tiny_dataset, tiny_constraints, tmp_path)
    model = load_model(made.checkpoint)
    export(model, tmp_path / "j.onnx")
    expected = [one.probabilities for one in model.predictions(dataset.open(tiny_dataset))]
    np.testing.assert_allclose(asked(tmp_path / "j.onnx", model, tiny_dataset), expected, atol=TOLERANCE)


def test_one_stream_alone_and_what_the_file_says_of_itself(joined: Joined, tmp_path: Path) -> None:
    made = export(load_model(joined.path), tmp_path / "j.onnx", stream="j")
    assert made.inputs == ("joints",) and made.difference is not None and made.difference <= TOLERANCE
    about = {entry.key: entry.value for entry in onnx.load(str(tmp_path / "j.onnx")).metadata_props}
    model = load_model(joined.path)
    assert json.loads(about["classes"]) == list(model.classes) and json.loads(about["streams"]) == {"j": 1.0}
    assert json.loads(about["joints"]) == list(model.layout.joints) and about["normalisation"] == "none"
    assert export(model, tmp_path / "all.onnx").inputs == ("joints", "following")
    with pytest.raises(InputError, match="--stream: found 'jm', expected one of j, b, km"):
        export(model, tmp_path / "jm.onnx", stream="jm")


def test_what_is_missing_or_differs_is_one_line(
    joined: Joined, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    model = load_model(joined.path / "j")
    monkeypatch.setattr("components.train.trained.exporting._difference", lambda *given: 0.5)
    with pytest.raises(ResourceError, match=r"j\.onnx: differs from the networks by 5\.0e-01, at most 0\.0001"):
        export(model, tmp_path / "j.onnx")
    assert list(tmp_path.iterdir()) == []
    monkeypatch.setitem(sys.modules, "onnx", None)
    with pytest.raises(ResourceError, match=r"onnx is not installed; .*pip install -e '\.\[export\]'"):
        export(model, tmp_path / "j.onnx")
