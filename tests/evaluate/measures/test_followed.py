"""The LLM's joints beside the measured ones, and which of both the next round followed.

The agent named joints 5 to 7 of the even classes. In the data these separate class 0 best, and 10 to 12 class 2.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from made_runs import Run, experiment, make_run, numbers, typed

from components.contracts import confusion, report
from components.contracts.loop_metrics import Followed, LoopRound
from components.contracts.metrics import Metrics
from components.contracts.scores import open as open_scores
from components.evaluate.core import evaluate
from components.evaluate.report.story import followed_in_words, story

SAID, MEASURED = [5, 6, 7], [10, 11, 12]


def measured_run(folder: Path) -> Run:
    """A run whose confusions say what the data and the network say; after round 1 it looks at the measured joints."""
    run = make_run(folder, experiment(), samples_per_class=12)
    separability = np.zeros((4, 25), dtype=np.float32)
    separability[0, SAID] = separability[2, MEASURED] = 0.9
    for (stream, number), path in run.confusions.items():
        evidence = np.full((4, 25), -1.0, dtype=np.float32)
        evidence[:, SAID], evidence[:, MEASURED] = 1.0, 1.0 if number == 1 else 3.0
        known = replace(confusion.open(path), separability=separability, evidence=evidence)
        run.confusions[stream, number] = folder / f"measured-{stream}-{number}"
        stage = run.experiment.stage_train(stream)
        confusion.write(run.confusions[stream, number], known, made_from={}, config=stage)
    return run


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Run, Path]:
    folder = tmp_path_factory.mktemp("measured")
    run = measured_run(folder / "run")
    evaluate(*run.arguments(folder / "r"))
    return run, folder / "r"


@pytest.fixture
def metrics(made: tuple[Run, Path]) -> Metrics:
    return typed(numbers(made[1]))


@pytest.fixture
def found(metrics: Metrics) -> Followed:
    assert metrics.loop.followed is not None
    return metrics.loop.followed


def test_each_class_says_how_far_they_agree(metrics: Metrics, found: Followed) -> None:
    assert [(one.stream, one.label, one.agreement) for one in found.classes] == [
        ("j", 0, 1.0), ("j", 2, 0.0), ("b", 0, 1.0), ("b", 2, 0.0)]  # fmt: skip
    assert (found.measured, found.said) == (2, 2)
    said = next(one for one in metrics.constraints[1].classes if one.label == 2)
    assert (said.agreement, len(said.measured)) == (0.0, 3)


def test_the_recall_of_both_groups(made: tuple[Run, Path], found: Followed) -> None:
    def recall(label: int, number: int) -> float:
        scores = [open_scores(made[0].scores[stream, number]) for stream in "jb"]
        return float(np.mean([one.correct[one.labels == label].mean() for one in scores]))

    assert found.recall is not None
    assert found.recall.measured == pytest.approx((recall(0, 1), recall(0, 2)))
    assert found.recall.said == pytest.approx((recall(2, 1), recall(2, 2)))
    rises = [after - before for before, after in (found.recall.measured, found.recall.said)]
    assert found.recall.difference == pytest.approx(rises[0] - rises[1])
    assert found.recall.interval.low < found.recall.difference < found.recall.interval.high


def test_where_the_network_looked(found: Followed) -> None:
    """Of 6 equal joints in round 1 half; in round 2 nine twelfths on the measured ones. Only class 2 differs."""
    assert found.evidence is not None
    assert found.evidence.classes == 2
    assert found.evidence.measured == pytest.approx((0.5, 0.75))
    assert found.evidence.said == pytest.approx((0.5, 0.25))
    assert found.evidence.difference == pytest.approx(0.5)


def test_the_page_says_it_with_its_uncertainty(made: tuple[Run, Path], metrics: Metrics) -> None:
    text = followed_in_words(metrics)
    assert "2 classes (counted per stream and round) are mostly those that separate the class best" in text
    assert "95\u202f% interval" in text
    assert "where it looked followed the measured joints" in text
    html = report.open(made[1]).html
    assert text in html
    assert "measured: left elbow, left wrist, left hand; 3 of 3 are the same" in html


def test_where_all_follow_the_data_there_is_nothing_to_compare(metrics: Metrics) -> None:
    """As where nobody is asked: the joints are the measured ones by definition."""
    followed = Followed(measured=4, said=0, classes=[])
    text = followed_in_words(
        metrics.model_copy(update={"loop": metrics.loop.model_copy(update={"followed": followed})})
    )
    assert text.endswith("those of 0 mostly others. Which of both the next round followed cannot be compared.")


def test_without_measurements_nothing_is_said(tmp_path: Path) -> None:
    evaluate(*make_run(tmp_path / "run", experiment()).arguments(tmp_path / "r"))
    metrics = typed(numbers(tmp_path / "r"))
    assert metrics.loop.followed is None
    assert followed_in_words(metrics) == ""


@pytest.mark.parametrize(
    ("change", "expected"),
    [
        (lambda row: row, "The agent saw the training mistakes"),
        (lambda row: row.model_copy(update={"answered": 0, "measured": 3}), "Nobody was asked after 1 round of 2"),
    ],
)
def test_who_was_asked_is_true(metrics: Metrics, change: Callable[[LoopRound], LoopRound], expected: str) -> None:
    loop = metrics.loop.model_copy(update={"rounds": [change(row) for row in metrics.loop.rounds]})
    text = story(metrics.model_copy(update={"loop": loop}))[2].text
    assert text.startswith(expected)
    assert ("measured from the training data" in text) == expected.startswith("Nobody")
