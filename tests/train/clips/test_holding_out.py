"""Held-out training samples: which they are, that nothing is trained on them, and what is learnt from them."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from train_helpers import all_bytes, experiment, outputs, run, state_bytes

from components.contracts import confusion, dataset, report, scores
from components.contracts.config import Experiment
from components.contracts.errors import InputError
from components.evaluate.core import evaluate
from components.evaluate.report.story import story
from components.train.clips.holding_out import choose, divide
from components.train.core import Outputs, train_round
from components.train.round import Round
from components.train.trained.scoring import test_checkpoint as score_checkpoint
from components.train.training.saves import SavePlace

SHARE = 0.3  # of 7 training samples of each of the 6 classes: 2
HELD_OUT, TRAINED = 12, 30


@given(
    labels=st.lists(st.integers(0, 5), max_size=60),
    share=st.floats(0, 0.5, exclude_max=True),
    seed=st.integers(0, 9),
    order=st.randoms(use_true_random=False),
)
def test_a_share_of_every_class_is_chosen_whatever_the_order(
    labels: list[int], share: float, seed: int, order: object
) -> None:
    ids = [f"sample {number}" for number in range(len(labels))]
    chosen = choose(ids, np.asarray(labels, dtype=np.int64), share, seed)
    found, given_ = Counter(np.asarray(labels)[chosen].tolist()), Counter(labels)
    for label, samples in given_.items():
        assert abs(found[label] - share * samples) <= 0.5
        assert found[label] < samples, "something of every class is left to train on"
    pairs = list(zip(ids, labels, strict=True))
    order.shuffle(pairs)  # type: ignore[attr-defined]
    again = choose([i for i, _ in pairs], np.asarray([label for _, label in pairs], dtype=np.int64), share, seed)
    assert {i for (i, _), one in zip(pairs, again, strict=True) if one} == {ids[n] for n in np.flatnonzero(chosen)}


def test_another_seed_chooses_others() -> None:
    ids, labels = [f"s{number}" for number in range(100)], np.zeros(100, dtype=np.int64)
    one, two = (choose(ids, labels, 0.2, seed) for seed in (0, 1))
    assert one.sum() == two.sum() == 20
    assert (one != two).any()


@pytest.fixture(scope="module")
def trained(tiny_dataset: Path, tiny_constraints: Path, tmp_path_factory: pytest.TempPathFactory) -> dict:
    """Two streams, two rounds: outputs by (stream, round)."""
    folder, made = tmp_path_factory.mktemp("held-out"), {}
    what = experiment(epochs=6, learning_rate=0.05, mix=False, held_out=SHARE)
    for stream in ("j", "b"):
        for number in (1, 2):
            where = {"previous": made[stream, 1].checkpoint} if number == 2 else {}
            place = folder / f"{stream}-{number}"
            made[stream, number] = run(what, tiny_dataset, tiny_constraints, place, number, stream, **where)
    return made


def held_out_of(made: Outputs) -> scores.Scores:
    found = scores.open(made.scores).held_out
    assert found is not None
    return found


def test_every_stream_holds_out_the_same_part_of_every_class(
    tiny_dataset: Path, trained: dict[tuple[str, int], Outputs]
) -> None:
    packed = dataset.open(tiny_dataset)
    training, test = (set(packed.sample_ids[packed.split(name)].tolist()) for name in ("train", "test"))
    first, second = (held_out_of(trained[stream, 2]) for stream in "jb")
    assert first.sample_ids.tolist() == second.sample_ids.tolist()
    assert np.bincount(first.labels).tolist() == [2] * 6
    assert set(first.sample_ids.tolist()) <= training - test
    np.testing.assert_allclose(first.probabilities.sum(axis=1), 1, rtol=1e-5)
    assert scores.verify(trained["j", 2].scores).about["held_out_samples"] == HELD_OUT
    assert all(scores.open(trained[stream, 1].scores).held_out is None for stream in "jb"), "the last round's task"


def test_the_confusion_counts_what_was_trained_on(trained: dict[tuple[str, int], Outputs]) -> None:
    for made in trained.values():
        assert confusion.open(made.confusion).train.sum(axis=1).tolist() == [5] * 6


def test_nothing_is_trained_on_what_is_held_out(tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
    """Other coordinates in the held-out samples change what is said of them, and nothing else."""
    packed, what = dataset.open(tiny_dataset), experiment(rounds=1, epochs=2, held_out=SHARE)
    held_out = set(divide(packed, what.stage_train("j"))[1].tolist())
    with dataset.Writer(tmp_path / "noise", packed.config, made_from={}) as writer:
        for number, sample_id in enumerate(packed.sample_ids.tolist()):
            body = packed.sample(number)
            noise = np.random.default_rng(number).normal(size=body.shape) if number in held_out else 0
            writer.append(sample_id, int(packed.labels[number]), body + noise)
        writer.splits({name: packed.sample_ids[numbers].tolist() for name, numbers in packed.splits.items()})
    one = run(what, tiny_dataset, tiny_constraints, tmp_path / "1")
    two = run(what, tmp_path / "noise", tiny_constraints, tmp_path / "2")
    assert state_bytes(one) == state_bytes(two)
    for file in ("confusion/confusion.npz", "scores/scores.npz", "scores/history.json"):
        assert (tmp_path / "1" / file).read_bytes() == (tmp_path / "2" / file).read_bytes()
    assert (held_out_of(one).probabilities != held_out_of(two).probabilities).any()


def test_weights_and_temperature_are_learnt_from_it(
    tiny_dataset: Path, trained: dict[tuple[str, int], Outputs], tmp_path: Path
) -> None:
    stage = experiment().stage_evaluate()
    found = [made.scores for made in trained.values()]
    evaluate(stage, found, [made.confusion for made in trained.values()], [], tmp_path / "r", dataset=tiny_dataset)
    made = report.open(tmp_path / "r")
    learnt = next(row for row in made.metrics.last if row.name == "learnt ensemble")
    assert learnt.streams == ["j", "b"]
    assert sum(learnt.weights) == pytest.approx(1, abs=1e-3)
    assert made.metrics.calibration.held_out is not None
    assert made.metrics.calibration.held_out.samples == made.metrics.data.held_out_samples == HELD_OUT
    trained_on, good = (answer.text for answer in story(made.metrics)[:2])
    assert "42 samples of 6 classes, 12 of them held out from training" in trained_on
    assert "With weights learnt from 12 held-out training samples (j 0." in good
    assert "are those under which the labels of 12 held-out training samples" in made.html.replace("“learnt”", "are")


def test_no_share_leaves_no_trace(tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
    made = run(experiment(rounds=1, epochs=1), tiny_dataset, tiny_constraints, tmp_path)
    assert set(all_bytes(made.scores)) == {"manifest.json", "history.json", "scores.npz"}
    assert "held_out_samples" not in scores.verify(made.scores).about


class KilledError(Exception):
    """Stands for the end of the process."""


def test_a_resumed_round_gives_the_same_bytes(tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
    what = experiment(rounds=1, epochs=3, held_out=SHARE)
    stage = what.stage_train("j")

    def die(save: Path) -> None:
        raise KilledError

    given = Round(stage, "j", 1, tiny_dataset, tiny_constraints), outputs(tmp_path / "killed")
    with pytest.raises(KilledError):
        train_round(*given, resume=SavePlace(tmp_path / "resume", saved=die))
    train_round(*given, resume=SavePlace(tmp_path / "resume"))
    run(what, tiny_dataset, tiny_constraints, tmp_path / "calm")
    assert all_bytes(tmp_path / "killed") == all_bytes(tmp_path / "calm")
    assert "scores/held_out.npz" in all_bytes(tmp_path / "calm")


def test_the_test_command_scores_the_test_split(
    tiny_dataset: Path, trained: dict[tuple[str, int], Outputs], tmp_path: Path
) -> None:
    stage, made = experiment(epochs=6, held_out=SHARE).stage_train("j"), trained["j", 2]
    found = score_checkpoint(stage, tiny_dataset, made.checkpoint, tmp_path / "scores", stream="j")
    again, scored = scores.open(tmp_path / "scores"), scores.open(made.scores)
    assert found.samples == len(scored.labels)
    np.testing.assert_array_equal(again.probabilities, scored.probabilities)
    assert again.held_out is None


class TestRefused:
    def test_a_share_that_takes_nothing(self, tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"train\.held_out: found 0\.05, .* 'train'; the largest has 7"):
            run(experiment(held_out=0.05), tiny_dataset, tiny_constraints, tmp_path)

    def test_a_checkpoint_that_was_trained_on_other_samples(
        self, tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path
    ) -> None:
        document = experiment(epochs=2, held_out=SHARE).model_dump(mode="json")
        document["data"]["protocols"]["all"] = {"train": "test", "test": "train"}
        first = run(Experiment.model_validate(document), tiny_dataset, tiny_constraints, tmp_path / "1")
        with pytest.raises(InputError, match="whose held-out samples differ"):
            what = experiment(epochs=2, held_out=SHARE)
            run(what, tiny_dataset, tiny_constraints, tmp_path / "2", 2, previous=first.checkpoint)

    def test_test_samples_are_never_held_out(self, tiny_dataset: Path) -> None:
        packed = dataset.open(tiny_dataset)
        overlapping = replace(packed, splits={**packed.splits, "test": packed.splits["train"][::2]})
        trained, held_out = divide(overlapping, experiment(held_out=0.4).stage_train("b"))
        assert len(held_out) and not set(held_out.tolist()) & set(overlapping.splits["test"].tolist())
        assert sorted([*trained.tolist(), *held_out.tolist()]) == sorted(packed.splits["train"].tolist())
