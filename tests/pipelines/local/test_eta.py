"""The time that is left of a run."""

from __future__ import annotations

import pytest

from pipelines.local.eta import Estimate, words


def test_two_trainings_side_by_side_of_four() -> None:
    estimate = Estimate(4)
    for name in ("train j round 1", "train b round 1"):
        estimate.progress(name, 0.0, 100.0)
        estimate.progress(name, 0.5, 130.0)
    assert estimate.left(130.0) == pytest.approx(90.0)


def test_what_a_resumed_training_had_done_says_nothing_about_its_speed() -> None:
    estimate = Estimate(1)
    estimate.progress("train j round 1", 0.8, 0.0)
    estimate.progress("train j round 1", 0.9, 10.0)
    assert estimate.left(10.0) == pytest.approx(10.0)


def test_trainings_from_the_cache_are_not_waited_for() -> None:
    estimate = Estimate(4)
    estimate.progress("train j round 2", 0.0, 0.0)
    estimate.progress("train j round 2", 0.5, 10.0)
    assert estimate.left(10.0, cached=3) == pytest.approx(10.0)


def test_nothing_is_said_too_early_or_too_late() -> None:
    estimate = Estimate(1)
    assert estimate.left(0.0) is None
    estimate.progress("train j round 1", 0.0, 0.0)
    estimate.progress("train j round 1", 0.5, 1.0)
    assert estimate.left(1.0) is None
    estimate.progress("train j round 1", 1.0, 20.0)
    assert estimate.left(20.0) is None


@pytest.mark.parametrize(
    ("seconds", "text"), [(2, "5 s"), (61, "60 s"), (100, "2 min"), (89 * 60, "89 min"), (7260, "2 h 1 min")]
)
def test_durations_in_words(seconds: float, text: str) -> None:
    assert words(seconds) == text
