"""What the data and the network say of the joints that tell confused classes apart."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from train_helpers import CLASSES, LAYOUT, experiment, run

from components.contracts import checkpoint, confusion, dataset
from components.contracts.dataset import Dataset
from components.contracts.errors import InputError
from components.contracts.skeleton import load_layout
from components.train.clips.gather import ClipSource
from components.train.trained.ensemble import Ensemble, Member
from components.train.trained.evidence import class_evidence
from components.train.trained.scoring import fitted
from components.train.trained.separability import Separability, movements, separability

JOINTS = load_layout(LAYOUT)
LEFT, RIGHT = JOINTS.number("left_hand"), JOINTS.number("right_hand")


def confused(*pairs: tuple[str, str]) -> np.ndarray:
    """The first of each pair was taken for the second, five times."""
    counts = np.eye(len(CLASSES), dtype=np.int64) * 7
    for one, other in pairs:
        counts[CLASSES.index(one), CLASSES.index(other)] = 5
    return counts


def measured(packed: Dataset, counts: np.ndarray, *, three_d: bool = True) -> Separability:
    source = ClipSource(packed, 2, torch.device("cpu"))
    return separability(source, torch.from_numpy(packed.split("train")), counts, packed.layout, three_d=three_d)


def changed(packed: Dataset, keypoints: np.ndarray) -> Dataset:
    return replace(packed, keypoints=np.ascontiguousarray(keypoints, dtype=np.float32))


@pytest.fixture
def packed(tiny_dataset: Path) -> Dataset:
    return dataset.open(tiny_dataset)


def test_the_joint_that_differs_tells_them_apart(packed: Dataset) -> None:
    found = measured(packed, confused(("left slow", "left fast"), ("right slow", "left slow")))
    speed, side = found.of_pairs[found.pairs.tolist().index([0, 1])], found.of_pairs[found.pairs.tolist().index([0, 2])]
    assert found.pairs.tolist() == [[0, 1], [0, 2]]
    assert speed.argmax() == LEFT and speed[LEFT] > 0.5
    assert set(np.argsort(-side)[:2].tolist()) == {LEFT, RIGHT} and side[[LEFT, RIGHT]].min() > 0.5
    rest = np.delete(side, [LEFT, RIGHT])
    assert rest.max() < side[[LEFT, RIGHT]].min(), "what a hand does is not seen in the other joints"
    np.testing.assert_allclose(found.classes[0], (speed + side) / 2, rtol=1e-5)  # confused with both as often
    np.testing.assert_array_equal(found.classes[1], speed)
    assert found.classes.shape == (6, 20) and found.classes.dtype == np.float32
    assert ((found.classes >= 0) & (found.classes <= 1)).all()


def test_place_and_size_do_not_matter(packed: Dataset) -> None:
    counts = confused(("left slow", "left fast"), ("both fast", "right fast"))
    here = measured(packed, counts)
    away = measured(changed(packed, packed.keypoints * 1000 + np.float32([300, -200, 2000])), counts)
    np.testing.assert_allclose(away.classes, here.classes, atol=0.02)
    again = measured(packed, counts)
    assert again.classes.tobytes() == here.classes.tobytes() and again.of_pairs.tobytes() == here.of_pairs.tobytes()


def test_nobody_confused_is_told_from_the_nearest(packed: Dataset) -> None:
    found = measured(packed, confused())
    assert len(found.pairs) == len(found.of_pairs) == 0
    assert set(found.classes.argmax(axis=1).tolist()) <= {LEFT, RIGHT}
    assert (found.classes.max(axis=1) > 0.3).all()


def test_lost_frames_joints_and_persons_say_nothing(packed: Dataset) -> None:
    counts = confused(("left slow", "left fast"))
    frames = np.array(packed.keypoints)
    for number in range(len(packed)):
        first, count = int(packed.first[number]), int(packed.frames[number] * packed.persons[number])
        frames[first : first + count : 4] = 0  # frames without anybody
        frames[first : first + count, JOINTS.number("head")] = 0
    frames[int(packed.first[0]) :][: int(packed.frames[0] * packed.persons[0])] = 0  # and a sample of nothing
    lost = changed(packed, frames)
    source = ClipSource(lost, 2, torch.device("cpu"))
    moves = movements(source, torch.arange(len(lost)), lost.layout, three_d=True)
    assert np.isnan(moves[0]).all() and np.isnan(moves[:, JOINTS.number("head")]).all()
    found = measured(lost, counts)
    assert np.isfinite(found.classes).all()
    assert found.of_pairs[0].argmax() == LEFT and found.of_pairs[0, JOINTS.number("head")] == 0


def test_what_all_do_alike_says_nothing(packed: Dataset) -> None:
    """Equal values share their rank: the order of the samples in the file must not be taken for a difference."""
    still = np.broadcast_to(packed.keypoints[:1], packed.keypoints.shape)
    assert (measured(changed(packed, still), confused(("left slow", "left fast"))).classes == 0).all()


def test_a_score_is_no_coordinate(packed: Dataset) -> None:
    flat = np.array(packed.keypoints)
    flat[..., 2] = np.random.default_rng(0).uniform(0.1, 1, size=flat.shape[:2])
    counts = confused(("left slow", "left fast"))
    found = measured(changed(packed, flat), counts, three_d=False)
    flat[..., 2] = 1
    np.testing.assert_array_equal(found.classes, measured(changed(packed, flat), counts, three_d=False).classes)
    assert found.of_pairs[0].argmax() == LEFT


def test_the_artifact_of_a_round_holds_both(tiny_dataset: Path, tiny_constraints: Path, tmp_path: Path) -> None:
    made = run(experiment(rounds=1, epochs=2), tiny_dataset, tiny_constraints, tmp_path, stream="b")
    counted = confusion.open(made.confusion)
    packed, opened = dataset.open(tiny_dataset), checkpoint.open(made.checkpoint)
    expected = measured(packed, counted.train)
    np.testing.assert_array_equal(counted.separability, expected.classes)
    np.testing.assert_array_equal(counted.pairs, expected.pairs)
    np.testing.assert_array_equal(counted.pair_separability, expected.of_pairs)

    one_clip = opened.config.train.model_copy(update={"test_clips": 1})
    stage = opened.config.model_copy(update={"train": one_clip})
    model = fitted(made.checkpoint, stage, opened.model, opened.state.text_dimensions)
    source, train = ClipSource(packed, 2, torch.device("cpu")), torch.from_numpy(packed.split("train"))
    found = class_evidence(model, source, train, stage, packed.layout, "b")
    np.testing.assert_allclose(counted.evidence, found, atol=1e-6)
    own = [
        prediction.evidence
        for prediction, label, number in zip(
            Ensemble((Member(stage, "b", model.eval(), 1.0),)).predictions(packed),
            packed.labels,
            range(60),
            strict=True,
        )
        if number in packed.split("train") and label == prediction.probabilities.argmax() == 0
    ]
    if len(own) == 7:  # what ``predict`` says of the predicted class, where that is the true one
        np.testing.assert_allclose(found[0], np.mean(own, axis=0), atol=1e-4)


def test_artifacts_of_the_first_version_open(tmp_path: Path) -> None:
    counts = np.eye(6, dtype=np.int64)
    old = confusion.Confusion("j", 1, counts, counts)
    confusion.write(tmp_path / "old", old, made_from={}, config=experiment().stage_train("j"))
    opened = confusion.open(tmp_path / "old")
    assert opened.separability is opened.evidence is opened.pairs is opened.pair_separability is None


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("separability", np.zeros((5, 20)), "separability: shape 5×20 found, 6×20 expected"),
        ("evidence", np.zeros((6, 19)), "evidence: shape 6×19 found, 6×20 expected"),
        ("evidence", np.full((6, 20), np.nan), "evidence: NaN or infinity found"),
        ("pairs", np.array([[0, 6]]), "pairs: a number is not a class, expected 0 to 5"),
        ("pair_separability", np.zeros((2, 20)), "pair_separability: shape 2×20 found, 1×20 expected"),
    ],
)
def test_what_does_not_fit_is_refused(tmp_path: Path, field: str, value: np.ndarray, reason: str) -> None:
    counts = np.eye(6, dtype=np.int64)
    good = {"separability": np.zeros((6, 20)), "evidence": np.zeros((6, 20))}
    good |= {"pairs": np.array([[0, 1]]), "pair_separability": np.zeros((1, 20))}
    bad = confusion.Confusion("j", 1, counts, counts, **{**good, field: value})  # type: ignore[arg-type]
    with pytest.raises(InputError, match=reason):
        confusion.write(tmp_path / "bad", bad, made_from={}, config=experiment().stage_train("j"))
