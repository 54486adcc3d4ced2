"""Accuracy measures and late fusion: equal to the reference's, and right where the answer is known."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from made_runs import probabilities

from components.contracts.accuracy import (
    accuracy,
    confusion_matrix,
    mean_class_accuracy,
    measure,
    most_confused,
    precision,
    recall,
    top_k,
)
from components.contracts.errors import InputError
from components.contracts.scores import Scores
from components.contracts.skeleton import STREAMS
from components.evaluate.alignment import align
from components.evaluate.measures.ensemble import PUBLISHED, Fused, fuse


def made_scores(stream: str, *, samples: int = 12, classes: int = 4, seed: int = 0, skill: float = 1.0) -> Scores:
    labels = np.arange(samples) % classes
    ids = np.asarray([f"s{number}" for number in range(samples)])
    return Scores(stream, 1, 1, ids, labels, probabilities(labels, classes, skill, seed))


class TestGolden:
    """The reference's published combinations of six score files, 200 samples of 60 classes."""

    @pytest.fixture
    def golden(self, golden_dir: Path) -> dict[str, np.ndarray]:
        with np.load(golden_dir / "e_ensemble.npz", allow_pickle=False) as archive:
            return {name: archive[name] for name in archive.files}

    @pytest.fixture
    def fused(self, golden: dict[str, np.ndarray]) -> dict[int, Fused]:
        ids = np.asarray([f"s{number:03d}" for number in range(len(golden["label"]))])
        scores = [
            Scores(stream, 1, 10, ids, golden["label"], values)
            for stream, values in zip(STREAMS, golden["scores_j_b_k_jm_bm_km"], strict=True)
        ]
        return {len(weights): fuse(scores, weights) for weights in PUBLISHED.values()}

    @pytest.mark.parametrize("streams", [2, 4, 6])
    def test_fused_probabilities(self, golden: dict[str, np.ndarray], fused: dict[int, Fused], streams: int) -> None:
        ours = fused[streams]
        assert len(ours.streams) == streams
        # The reference sums without dividing by the total weight.
        np.testing.assert_allclose(ours.probabilities * sum(ours.weights), golden[f"fused{streams}"], atol=1e-6)

    @pytest.mark.parametrize("streams", [2, 4, 6])
    def test_top1(self, golden: dict[str, np.ndarray], fused: dict[int, Fused], streams: int) -> None:
        ours = fused[streams]
        assert measure(ours.probabilities, ours.labels).top1 == golden[f"top1_{streams}"]

    def test_top5_and_mean_class(self, golden: dict[str, np.ndarray], fused: dict[int, Fused]) -> None:
        ours = measure(fused[6].probabilities, fused[6].labels)
        assert [ours.top1, ours.top5] == golden["top1_5_core"].tolist()
        assert ours.mean_class == pytest.approx(float(golden["mean_class_acc"]), abs=1e-12)


class TestMeasures:
    LABELS = np.asarray([0, 0, 0, 1, 2])
    VALUES = np.asarray([[0.6, 0.3, 0.1], [0.2, 0.7, 0.1], [0.9, 0.1, 0.0], [0.5, 0.4, 0.1], [0.1, 0.2, 0.7]])

    def test_by_hand(self) -> None:
        counts = confusion_matrix(self.VALUES, self.LABELS)
        assert counts.tolist() == [[2, 1, 0], [1, 0, 0], [0, 0, 1]]
        assert recall(counts).tolist() == pytest.approx([2 / 3, 0, 1])
        assert precision(counts).tolist() == pytest.approx([2 / 3, 0, 1])
        assert accuracy(counts) == pytest.approx(3 / 5)
        assert mean_class_accuracy(counts) == pytest.approx(5 / 9)
        assert [top_k(self.VALUES, self.LABELS, k) for k in (1, 2, 3, 5)] == pytest.approx([0.6, 1, 1, 1])

    def test_a_class_without_samples_is_not_counted_unless_predicted(self) -> None:
        counts = np.asarray([[3, 1, 0, 0], [0, 2, 0, 0], [0, 0, 0, 0], [0, 0, 0, 0]])
        assert mean_class_accuracy(counts) == pytest.approx((0.75 + 1) / 2)
        counts[1, 2] = 2
        assert mean_class_accuracy(counts) == pytest.approx((0.75 + 0.5 + 0) / 3)
        assert np.isnan(recall(counts)).tolist() == [False, False, True, True]
        assert np.isnan(precision(counts)).tolist() == [False, False, False, True]

    def test_equal_probabilities_are_no_success(self) -> None:
        """A stream that says the same of every class recognises the first class only."""
        values, labels = np.full((8, 8), 1 / 8), np.arange(8)
        assert top_k(values, labels, 1) == pytest.approx(1 / 8)
        assert top_k(values, labels, 5) == pytest.approx(5 / 8)

    def test_most_confused_pairs(self) -> None:
        counts = np.asarray([[5, 2, 0], [1, 1, 2], [2, 0, 20]])
        pairs = [(pair.true, pair.predicted, pair.count) for pair in most_confused(counts, 3)]
        assert pairs == [(1, 2, 2), (0, 1, 2), (2, 0, 2)]
        assert most_confused(np.eye(3, dtype=np.int64), 3) == []

    def test_an_empty_matrix_has_no_accuracy(self) -> None:
        assert accuracy(np.zeros((3, 3), dtype=np.int64)) is None

    @given(
        st.integers(2, 7).flatmap(
            lambda classes: st.integers(1, 30).flatmap(
                lambda samples: st.tuples(
                    hnp.arrays(np.float32, (samples, classes), elements=st.floats(0, 1, width=32)),
                    hnp.arrays(np.int64, samples, elements=st.integers(0, classes - 1)),
                )
            )
        )
    )
    def test_properties(self, made: tuple[np.ndarray, np.ndarray]) -> None:
        values, labels = made
        counts = confusion_matrix(values, labels)
        assert counts.sum() == len(labels)
        assert counts.sum(axis=1).tolist() == np.bincount(labels, minlength=values.shape[1]).tolist()
        assert top_k(values, labels, 1) == accuracy(counts)
        shares = [top_k(values, labels, k) for k in range(1, values.shape[1] + 1)]
        assert shares == sorted(shares)
        assert shares[-1] == 1
        order = np.random.default_rng(0).permutation(len(labels))
        again = measure(values[order], labels[order])
        assert again == measure(values, labels)


streams_and_weights = st.dictionaries(st.sampled_from(STREAMS), st.floats(0.01, 100), min_size=1)


class TestFusion:
    @given(st.sampled_from(STREAMS), st.floats(0.01, 100))
    def test_an_ensemble_of_one_is_that_stream(self, stream: str, weight: float) -> None:
        alone = made_scores(stream)
        fused = fuse([alone], {stream: weight})
        ordered = align([alone])[0]
        np.testing.assert_array_equal(fused.probabilities, ordered.probabilities)
        assert measure(fused.probabilities, fused.labels) == measure(alone.probabilities, alone.labels)

    @given(streams_and_weights, st.randoms(use_true_random=False))
    def test_no_order_matters(self, weights: dict[str, float], random: object) -> None:
        scores = [made_scores(stream, seed=number) for number, stream in enumerate(weights)]
        expected = fuse(scores, weights)
        random.shuffle(scores)  # type: ignore[attr-defined]
        shuffled = []
        for number, one in enumerate(scores):
            order = np.random.default_rng(number).permutation(len(one.labels))
            shuffled.append(
                replace(
                    one,
                    sample_ids=one.sample_ids[order],
                    labels=one.labels[order],
                    probabilities=one.probabilities[order],
                )
            )
        found = fuse(shuffled, dict(reversed(weights.items())))
        assert found.streams == expected.streams
        np.testing.assert_array_equal(found.labels, expected.labels)
        np.testing.assert_array_equal(found.probabilities, expected.probabilities)

    @given(streams_and_weights, st.floats(0.01, 1000))
    def test_only_the_ratio_of_the_weights_matters(self, weights: dict[str, float], factor: float) -> None:
        scores = [made_scores(stream, seed=number) for number, stream in enumerate(weights)]
        scaled = {stream: weight * factor for stream, weight in weights.items()}
        one, two = fuse(scores, weights), fuse(scores, scaled)
        np.testing.assert_allclose(one.probabilities, two.probabilities, atol=1e-12)
        np.testing.assert_allclose(one.probabilities.sum(axis=1), 1, atol=1e-5)

    def test_a_stream_of_weight_zero_is_left_out(self) -> None:
        scores = [made_scores("j"), made_scores("b", seed=1)]
        fused = fuse(scores, {"j": 3, "b": 0})
        assert (fused.streams, fused.weights) == (("j",), (3.0,))

    def test_no_stream_with_a_weight(self) -> None:
        with pytest.raises(InputError, match=r"evaluate\.weights: no stream with scores \(found j\)"):
            fuse([made_scores("j")], {"b": 1})

    def test_a_stream_twice(self) -> None:
        with pytest.raises(InputError, match="a stream stands twice in j, j"):
            fuse([made_scores("j"), made_scores("j")], {"j": 1})


class TestMismatch:
    def test_sample_ids(self) -> None:
        one, other = made_scores("j"), made_scores("b")
        other.sample_ids[3] = "foreign"
        with pytest.raises(InputError) as error:
            align([one, other])
        assert "scores of stream j round 1 and scores of stream b round 1 are of different samples" in str(error.value)
        assert "'s3' is missing from the scores of stream b" in str(error.value)

    def test_fewer_samples(self) -> None:
        with pytest.raises(InputError, match="'s10' is missing from the scores of stream b round 1"):
            align([made_scores("j"), made_scores("b", samples=9)])
        with pytest.raises(InputError, match="'s10' is missing from the scores of stream j round 1"):
            align([made_scores("j", samples=9), made_scores("b")])

    def test_labels(self) -> None:
        one, other = made_scores("j"), made_scores("b")
        other.labels[5] = 3
        with pytest.raises(InputError, match=r"labels of 1 samples, e\.g\. 's5' has 1 and 3"):
            align([one, other])

    def test_classes(self) -> None:
        one, other = made_scores("j"), made_scores("b")
        with pytest.raises(InputError, match="differ in the number of classes: 4 and 3"):
            align([one, replace(other, probabilities=other.probabilities[:, :3])])

    def test_a_sample_twice(self) -> None:
        one = made_scores("j")
        one.sample_ids[4] = "s2"
        with pytest.raises(InputError, match="scores of stream j round 1: sample 's2' stands more than once"):
            align([one])
