"""Reference checkpoints become ours, by command line, and checkpoints are scored without training."""

from __future__ import annotations

import pickle
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from train_helpers import experiment
from typer.testing import CliRunner

from components.contracts import checkpoint, scores
from components.contracts.config import Experiment
from components.contracts.errors import InputError
from components.train.__main__ import app
from components.train.core import Outputs, train_round
from components.train.round import Round
from components.train.trained.published import import_reference
from components.train.trained.scoring import test_checkpoint as score_with_checkpoint


def ntu60() -> Experiment:
    document = experiment().model_dump(mode="json")
    document["data"] |= {"layout": "ntu25", "classes": [f"class {n}" for n in range(60)]}
    document["model"] = {}
    return Experiment.model_validate(document)


def reference_file(golden: Path, path: Path) -> Path:
    """Write a file as mmcv's DataParallel training does, text tower included."""
    state = load_file(golden / "a_ntu60_state_dict_fp16.safetensors")
    tensors = {f"module.{name}": torch.from_numpy(np.array(array)) for name, array in state.items()}
    tensors["module.backbone.clip_model.positional_embedding"] = torch.zeros(77, 4)
    torch.save({"meta": {"epoch": 150}, "state_dict": tensors}, path)
    return path


def test_import_names_what_it_leaves_and_keeps_the_rest(golden_dir: Path, tmp_path: Path) -> None:
    source, config = reference_file(golden_dir, tmp_path / "best.pth"), tmp_path / "ntu60.yaml"
    config.write_text(ntu60().to_json(), encoding="utf-8")
    arguments = ["import", str(source), "--config", str(config), "--output", str(tmp_path / "out"), "--stream", "b"]
    ended = CliRunner().invoke(app, arguments, catch_exceptions=False)
    assert ended.exit_code == 0, ended.output
    assert "not mapped: backbone.clip_model (1), backbone.examplar (1)" in ended.stdout
    imported = checkpoint.open(tmp_path / "out")
    assert imported.state.stream == "b"
    reference = load_file(golden_dir / "a_ntu60_state_dict_fp16.safetensors")
    expected = reference["cls_head.fc_cls.weight"].astype(np.float32)
    np.testing.assert_array_equal(imported.model["classifier.weight"], expected)


def test_checkpoint_of_another_network_is_refused(golden_dir: Path, tmp_path: Path) -> None:
    source = reference_file(golden_dir, tmp_path / "best.pth")
    fewer = ntu60().stage_train("j").model_copy(update={"data": experiment().data})
    with pytest.raises(InputError, match=r"best\.pth: .+ found, .+ expected by the configuration"):
        import_reference(source, fewer, tmp_path / "out", stream="j")
    assert not (tmp_path / "out").exists()


class _Payload:
    def __init__(self, canary: Path) -> None:
        self.canary = canary

    def __reduce__(self) -> tuple[object, ...]:
        return Path.touch, (self.canary,)


def test_checkpoint_that_would_run_code_is_refused(tmp_path: Path) -> None:
    canary = tmp_path / "ran"
    (tmp_path / "zip.pth").write_bytes(b"")
    torch.save({"state_dict": {"a": _Payload(canary)}}, tmp_path / "zip.pth")
    (tmp_path / "plain.pth").write_bytes(pickle.dumps(_Payload(canary), protocol=2))
    for name in ("zip.pth", "plain.pth"):
        with pytest.raises(InputError, match=rf"{name}: cannot be read as plain tensors"):
            import_reference(tmp_path / name, experiment().stage_train("j"), tmp_path / "out", stream="j")
    assert not canary.exists()


def test_testing_a_checkpoint_gives_the_scores_of_its_training(
    tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path
) -> None:
    stage = experiment(epochs=2).stage_train("j")
    made = Outputs(*(tmp_path / name for name in ("checkpoint", "confusion", "scores")))
    train_round(Round(stage, "j", 1, tiny_dataset, tiny_constraints), made)
    score_with_checkpoint(stage, tiny_dataset, made.checkpoint, tmp_path / "again", stream="j")
    once, again = scores.open(made.scores), scores.open(tmp_path / "again")
    np.testing.assert_array_equal(once.probabilities, again.probabilities)
    with pytest.raises(InputError, match="stream 'j' found, 'b' expected"):
        score_with_checkpoint(stage, tiny_dataset, made.checkpoint, tmp_path / "b", stream="b")
