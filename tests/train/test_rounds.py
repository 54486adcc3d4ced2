"""Rounds, kills and seeds: what must come out byte for byte the same, and which inputs are refused."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch
from train_helpers import all_bytes, experiment, outputs, run, state_bytes
from typer.testing import CliRunner

from components.contracts import checkpoint, confusion, constraints, scores
from components.contracts.config import Experiment
from components.contracts.errors import InputError
from components.train.__main__ import app
from components.train.core import Outputs
from components.train.round import Round
from components.train.training.saves import save_path


@pytest.fixture(scope="module")
def whole(tiny_dataset: Path, tiny_constraints: Path, tmp_path_factory: pytest.TempPathFactory) -> Outputs:
    """All four epochs in one round."""
    one_round = experiment().model_copy(update={"rounds": 1})
    return run(one_round, tiny_dataset, tiny_constraints, tmp_path_factory.mktemp("whole"))


def test_two_rounds_under_one_constraint_are_one_run(
    tiny_dataset: Path, tiny_constraints: Path, whole: Outputs, tmp_path: Path
) -> None:
    first = run(experiment(), tiny_dataset, tiny_constraints, tmp_path / "1")
    second = run(experiment(), tiny_dataset, tiny_constraints, tmp_path / "2", 2, previous=first.checkpoint)
    assert state_bytes(first) != state_bytes(second)
    assert state_bytes(second) == state_bytes(whole)
    np.testing.assert_array_equal(scores.open(second.scores).probabilities, scores.open(whole.scores).probabilities)


def test_two_rounds_are_one_run_with_adamw_too(tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
    """Both moments and the number of steps go from round to round; a test between them changes nothing."""
    what = experiment(optimizer="adamw", learning_rate=0.001, weight_decay=0.05, precise_batch_norm=True)
    one_round = what.model_copy(update={"rounds": 1})
    whole = run(one_round, tiny_dataset, tiny_constraints, tmp_path / "whole")
    first = run(what, tiny_dataset, tiny_constraints, tmp_path / "1")
    second = run(what, tiny_dataset, tiny_constraints, tmp_path / "2", 2, previous=first.checkpoint)
    assert state_bytes(second) == state_bytes(whole)
    remembered = checkpoint.open(whole.checkpoint)
    assert {name.partition("/")[0] for name in remembered.optimiser} == {"step", "exp_avg", "exp_avg_sq"}
    assert {int(array) for name, array in remembered.optimiser.items() if name.startswith("step/")} == {
        remembered.state.step
    }


def test_precise_batch_norm_tests_the_weights_as_they_are(
    tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path
) -> None:
    """Motion is small, and moving averages that began at a variance of 1 are far above it for many steps."""
    top1, weights = {}, {}
    for precise in (False, True):
        settings = {"optimizer": "adamw", "learning_rate": 0.02, "mix": False, "precise_batch_norm": precise}
        made = run(
            experiment(epochs=40, batch=6, **settings),
            tiny_dataset,
            tiny_constraints,
            tmp_path / str(precise),
            stream="jm",
        )
        top1[precise] = scores.open(made.scores).top1
        model = checkpoint.open(made.checkpoint).model
        # Batch norm counts the batches that its statistics come from.
        measured = ("running_mean", "running_var", "num_batches_tracked")
        weights[precise] = {name: array for name, array in model.items() if not name.endswith(measured)}
    assert weights[True].keys() == weights[False].keys()
    for name, array in weights[True].items():
        np.testing.assert_array_equal(array, weights[False][name], err_msg=name)
    assert top1[True] > 0.8 > top1[False] + 0.3


def test_same_seed_same_bytes_other_seed_other_bytes(
    tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path
) -> None:
    for name in ("a", "b"):
        run(experiment(epochs=2), tiny_dataset, tiny_constraints, tmp_path / name)
    assert all_bytes(tmp_path / "a") == all_bytes(tmp_path / "b")
    other = experiment(epochs=2).model_copy(update={"seed": 4})
    run(other, tiny_dataset, tiny_constraints, tmp_path / "c")
    assert state_bytes(outputs(tmp_path / "a")) != state_bytes(outputs(tmp_path / "c"))


def test_saved_state_of_other_inputs_is_not_used(
    tiny_dataset: Path, tiny_constraints: Path, whole: Outputs, tmp_path: Path
) -> None:
    saved = checkpoint.open(whole.checkpoint)
    checkpoint.write(
        save_path(tmp_path / "resume", 4, "0" * 12), saved, made_from={"dataset": "other", "constraints": "other"}
    )
    one_round = experiment().model_copy(update={"rounds": 1})
    made = run(one_round, tiny_dataset, tiny_constraints, tmp_path, resume=tmp_path / "resume")
    assert state_bytes(made) == state_bytes(whole)


def test_artifacts_say_what_happened(tiny_dataset: Path, tiny_constraints: Path, whole: Outputs) -> None:
    counted, scored = confusion.open(whole.confusion), scores.open(whole.scores)
    assert counted.separability is not None and counted.separability.shape == (6, 20)
    assert counted.train.sum() == 42 and counted.validation.sum() == 18
    assert (counted.train.sum(axis=1) == 7).all()
    np.testing.assert_allclose(scored.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert [record.epoch for record in scored.history] == [1, 2, 3, 4]
    assert scored.history[-1].learning_rate < scored.history[0].learning_rate
    made_from = checkpoint.verify(whole.checkpoint).made_from
    assert set(made_from) == {"dataset", "constraints"}


def test_it_learns(tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
    tiny = experiment(epochs=30, batch=6, learning_rate=0.05, mix=False).model_copy(update={"rounds": 1})
    made = run(tiny, tiny_dataset, tiny_constraints, tmp_path, stream="jm")
    scored = scores.open(made.scores)
    accuracy = (scored.probabilities.argmax(axis=1) == scored.labels).mean()
    assert accuracy > 0.8, f"top-1 {accuracy:.2f} on six easy classes"


@pytest.mark.parametrize("stream", ["b", "k", "jm", "bm", "km"])
def test_every_stream_trains(tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path, stream: str) -> None:
    made = run(experiment(epochs=2), tiny_dataset, tiny_constraints, tmp_path, stream=stream)
    assert checkpoint.open(made.checkpoint).state.stream == stream


def test_plain_stem_and_uniform_sampling_train(tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
    tiny = experiment(epochs=2, sampling="uniform", augmentation={"rotation": 0.3, "flip": 0.5, "part_drop": 0.3})
    plain = tiny.model_copy(update={"model": tiny.model.model_copy(update={"stem": "plain"})})
    made = run(plain, tiny_dataset, tiny_constraints, tmp_path)
    assert np.isfinite(scores.open(made.scores).probabilities).all()


def test_class_balance_weighs_rare_classes_more(tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
    from components.train.core import _build_trainer
    from components.train.training.inputs import open_inputs

    stage = experiment(class_balance=True).stage_train("j")
    trainer = _build_trainer(stage, open_inputs(Round(stage, "j", 1, tiny_dataset, tiny_constraints)), "j")
    assert trainer.class_weights is not None
    np.testing.assert_allclose(trainer.class_weights, 1.0)
    labels = trainer.source.labels[trainer.samples]
    trainer.samples = trainer.samples[(labels > 0) | (torch.arange(len(labels)) % 7 == 0)]
    trainer.__post_init__()
    expected = [6.0] + [6 / 7] * 5
    np.testing.assert_allclose(trainer.class_weights, expected, rtol=1e-6)


class TestRefused:
    """Inputs that contradict each other end with one line that names what was found and expected."""

    def test_round_two_without_checkpoint(self, tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="found none, expected the checkpoint of round 1"):
            run(experiment(), tiny_dataset, tiny_constraints, tmp_path, 2)

    def test_unknown_stream(self, tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="stream: found 'x', expected one of j, b"):
            run(experiment(), tiny_dataset, tiny_constraints, tmp_path, stream="x")

    def test_checkpoint_of_another_stream(
        self, tiny_dataset: Path, tiny_constraints: Path, whole: Outputs, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match="stream 'j' found, 'b' expected"):
            run(experiment(), tiny_dataset, tiny_constraints, tmp_path, 2, "b", previous=whole.checkpoint)

    def test_checkpoint_of_another_round(
        self, tiny_dataset: Path, tiny_constraints: Path, whole: Outputs, tmp_path: Path
    ) -> None:
        with pytest.raises(InputError, match="4 epochs done found, 2 expected before round 2"):
            run(experiment(), tiny_dataset, tiny_constraints, tmp_path, 2, previous=whole.checkpoint)

    def test_checkpoint_of_another_configuration(
        self, tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path
    ) -> None:
        first = run(experiment(), tiny_dataset, tiny_constraints, tmp_path / "1")
        with pytest.raises(InputError, match="another model, train or seed configuration"):
            run(experiment(batch=11), tiny_dataset, tiny_constraints, tmp_path, 2, previous=first.checkpoint)

    def test_constraints_with_other_classes(self, tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
        whole_set = constraints.open(tiny_constraints)
        fewer = constraints.Constraints(whole_set.layout, 0, "", "test", whole_set.classes[:4], whole_set.text[:4])
        constraints.write(tmp_path / "fewer", fewer, made_from={}, config=experiment().stage_agent())
        with pytest.raises(InputError, match="4 classes found, 6 expected"):
            run(experiment(), tiny_dataset, tmp_path / "fewer", tmp_path)

    def test_dataset_of_other_classes(self, tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
        document = experiment().model_dump(mode="json")
        document["data"]["classes"][4] = "both at once"
        with pytest.raises(InputError, match="dataset: class 4 'both slow' found, 'both at once' expected"):
            run(Experiment.model_validate(document), tiny_dataset, tiny_constraints, tmp_path)

    def test_split_that_the_dataset_lacks(self, tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
        document = experiment().model_dump(mode="json")
        document["data"]["protocols"]["all"]["train"] = "xview"
        with pytest.raises(InputError, match="split: found 'xview', expected one of test, train"):
            run(Experiment.model_validate(document), tiny_dataset, tiny_constraints, tmp_path)


class TestShell:
    def test_help_explains(self) -> None:
        shown = CliRunner().invoke(app, ["run", "--help"], catch_exceptions=False).stdout
        for word in ("checkpoint", "confusion", "scores", "--resume", "OMP_NUM_THREADS", "Example"):
            assert word in shown

    def test_mistake_is_one_line_and_status_two(self, tmp_path: Path) -> None:
        config = tmp_path / "e.yaml"
        config.write_text(experiment().to_json().replace('"epochs":4', '"epochs":"many"'), encoding="utf-8")
        flags = ["--config", str(config), "--dataset", "d", "--constraints", "c", "--output", str(tmp_path / "o")]
        command = [sys.executable, "-m", "components.train", "run", *flags]
        ended = subprocess.run(command, capture_output=True, text=True, check=False)
        assert ended.returncode == 2
        assert ended.stderr.strip().splitlines() == [
            f"error: {config}: train.epochs: Input should be a valid integer, "
            "unable to parse string as an integer (found 'many')"
        ]
