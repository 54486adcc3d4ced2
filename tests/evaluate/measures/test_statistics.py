"""Intervals and tests: against closed forms, by hand, and the same twice."""

from __future__ import annotations

from math import comb

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from components.contracts.accuracy import mean_average_precision, mean_class_accuracy, top_k
from components.contracts.scores import Scores
from components.evaluate.measures.calibration import (
    calibration_error,
    crossed_temperature,
    fit_temperature,
    reliability,
    tempered,
)
from components.evaluate.measures.ensemble import learnt_weights
from components.evaluate.measures.statistics import (
    holm,
    mcnemar,
    mean_class_interval,
    paired,
    ratio_change,
    share_interval,
    wilson,
)
from components.evaluate.report.seriation import clustered_order


class TestMcNemar:
    @given(st.integers(0, 60), st.integers(0, 60))
    def test_is_the_binomial_sum(self, won: int, lost: int) -> None:
        tosses = won + lost
        expected = min(1.0, 2 * sum(comb(tosses, heads) for heads in range(min(won, lost) + 1)) / 2**tosses)
        assert mcnemar(won, lost) == pytest.approx(expected if tosses else 1.0, rel=1e-9)
        assert mcnemar(won, lost) == mcnemar(lost, won)

    def test_by_hand(self) -> None:
        assert mcnemar(8, 1) == pytest.approx(2 * (1 + 9) / 2**9)

    def test_holm(self) -> None:
        assert holm([0.01, 0.04, 0.03]) == pytest.approx([0.03, 0.06, 0.06])
        assert holm([]) == []


class TestIntervals:
    @pytest.mark.parametrize(("part", "whole"), [(50, 100), (900, 1000), (30, 55)])
    def test_a_share_is_as_sure_as_theory_says(self, part: int, whole: int) -> None:
        share = part / whole
        deviation = 1.96 * (share * (1 - share) / whole) ** 0.5
        found = share_interval(part, whole)
        assert found.low == pytest.approx(share - deviation, abs=0.25 * deviation)
        assert found.high == pytest.approx(share + deviation, abs=0.25 * deviation)

    @pytest.mark.parametrize("part", [0, 20])
    def test_all_or_none_is_not_certainty(self, part: int) -> None:
        found = share_interval(part, 20)
        assert found == wilson(part, 20)
        assert 0.1 < found.high - found.low < 0.25

    def test_a_pair_by_hand(self) -> None:
        first = np.asarray([True] * 5 + [False] * 5)
        second = np.asarray([True] * 4 + [False] + [True] * 3 + [False] * 2)
        found = paired(first, second)
        assert (found.won, found.lost, found.samples) == (3, 1, 10)
        assert found.difference == pytest.approx(0.2)
        assert found.interval.low < 0 < found.interval.high
        assert paired(first, second) == found

    @pytest.mark.parametrize(("won", "lost"), [(2, 0), (4, 0), (9, 1), (10, 5), (30, 12)])
    def test_the_interval_agrees_with_the_test_but_on_the_border(self, won: int, lost: int) -> None:
        first = np.asarray([False] * won + [True] * lost + [True] * (100 - won - lost))
        second = np.asarray([True] * won + [False] * lost + [True] * (100 - won - lost))
        found = paired(first, second)
        assert (found.interval.low > 0) == (found.p_value < 0.05)

    def test_pairs_know_more_than_two_separate_intervals(self) -> None:
        rng = np.random.default_rng(0)
        first = rng.random(400) < 0.8
        second = first | (rng.random(400) < 0.15)
        assert paired(first, second).interval.low > 0
        assert share_interval(int(first.sum()), 400).high > share_interval(int(second.sum()), 400).low

    def test_mean_class(self) -> None:
        labels = np.repeat(np.arange(4), 50)
        right = np.random.default_rng(1).random(200) < 0.7
        found = mean_class_interval(np.where(right, labels, (labels + 1) % 4), labels, 5)
        assert found.low < right.mean() < found.high
        assert found.high - found.low < 0.15

    @pytest.mark.parametrize("wrong", [60, 0, 200])
    def test_mean_class_with_samples_taken_for_a_class_that_has_none(self, wrong: int) -> None:
        labels = np.repeat(np.arange(4), 50)
        predicted = labels.copy()
        predicted[np.random.default_rng(1).permutation(200)[:wrong]] = 4
        found = mean_class_interval(predicted, labels, 5)
        counts = np.zeros((5, 5), dtype=np.int64)
        np.add.at(counts, (labels, predicted), 1)
        assert found.low <= mean_class_accuracy(counts) <= found.high

    def test_ratios(self) -> None:
        rows = np.repeat([[1, 0, 1, 1], [1, 1, 0, 0], [0, 0, 1, 1]], [40, 20, 40], axis=0)
        found = ratio_change(rows)
        assert found is not None
        assert found[0] == pytest.approx(20 / 60 - 1)
        assert found[1].high < 0
        assert ratio_change(rows * [0, 1, 1, 1]) is None


class TestCalibration:
    def overconfident(self, samples: int = 4000) -> tuple[np.ndarray, np.ndarray]:
        rng = np.random.default_rng(0)
        logits = rng.normal(size=(samples, 6)) * 1.5
        shares = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
        labels = np.asarray([rng.choice(6, p=row) for row in shares])
        return tempered(shares, 0.5), labels

    def test_the_temperature_that_was_applied_is_found(self) -> None:
        values, labels = self.overconfident()
        assert fit_temperature(values, labels) == pytest.approx(2.0, rel=0.08)
        before = calibration_error(reliability(values, labels))
        temperature, after = crossed_temperature(values, labels)
        assert temperature == pytest.approx(2.0, rel=0.1)
        assert after < 0.04
        assert before > 2.5 * after

    def test_the_ranking_stays(self) -> None:
        values, labels = self.overconfident(200)
        assert top_k(tempered(values, 3.0), labels, 2) == top_k(values, labels, 2)

    def test_bins_hold_every_sample(self) -> None:
        values, labels = self.overconfident(300)
        bins = reliability(values, labels)
        assert sum(one.samples for one in bins) == 300
        assert all(one.low < one.confidence <= one.high + 1e-12 for one in bins)

    def test_perfect_and_sure(self) -> None:
        assert calibration_error(reliability(np.eye(3), np.arange(3))) == 0


class TestLearntWeights:
    def test_the_better_stream_weighs_more(self) -> None:
        rng = np.random.default_rng(0)
        labels = rng.integers(0, 5, 400)
        ids = np.asarray([f"h{number}" for number in range(400)])
        noise = rng.dirichlet(np.ones(5), size=400).astype(np.float32)
        good = (0.7 * np.eye(5)[labels] + 0.3 * noise).astype(np.float32)
        found = learnt_weights([Scores("b", 1, 1, ids, labels, noise), Scores("j", 1, 1, ids, labels, good)])
        assert list(found) == ["j", "b"]
        assert found["j"] > 0.95
        assert sum(found.values()) == pytest.approx(1, abs=1e-3)


class TestOrderAndArea:
    def test_confused_classes_stand_together(self) -> None:
        counts = np.diag(np.full(20, 10))
        for one, two in ((0, 13), (4, 19), (7, 8)):
            counts[one, two] = counts[two, one] = 5
        order = clustered_order(counts)
        assert sorted(order) == list(range(20))
        for one, two in ((0, 13), (4, 19), (7, 8)):
            assert abs(order.index(one) - order.index(two)) == 1

    @given(st.integers(2, 12), st.integers(0, 5))
    def test_any_counts_give_a_permutation(self, classes: int, seed: int) -> None:
        counts = np.random.default_rng(seed).integers(0, 3, (classes, classes))
        assert sorted(clustered_order(counts)) == list(range(classes))

    def test_average_precision_by_hand(self) -> None:
        values = np.asarray([[0.9, 0.1], [0.4, 0.6], [0.6, 0.4], [0.3, 0.7]])
        labels = np.asarray([0, 0, 1, 1])
        # Class 0 is ranked 1st and 3rd, class 1 1st and 3rd.
        assert mean_average_precision(values, labels) == pytest.approx((1 + 2 / 3) / 2)
        assert mean_average_precision(np.full((4, 2), 0.5), labels) == pytest.approx(0.5)
