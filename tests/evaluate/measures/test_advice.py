"""What the report advises, and what it advises from: baselines, errors by subject, the effect of what was said."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import Run, experiment, history, make_run, numbers, typed, write_dataset

from components.contracts import dataset, report
from components.contracts.errors import InputError
from components.contracts.loop_metrics import Said
from components.contracts.metric_parts import Interval, Paired
from components.contracts.metrics import Baseline, GroupErrors, Metrics
from components.contracts.scores import Scores
from components.contracts.scores import open as open_scores
from components.contracts.scores import write as write_scores
from components.contracts.skeleton import load_layout
from components.evaluate.core import evaluate
from components.evaluate.inputs import open_inputs
from components.evaluate.measures.advice import advice
from components.evaluate.measures.baseline import nearest_neighbour
from components.evaluate.measures.groups import group_errors
from components.evaluate.measures.guidance import guidance
from components.evaluate.measures.statistics import rise_difference
from components.evaluate.report.story import story

SPAN = Interval(low=0.0, high=0.1)


@pytest.fixture(scope="module")
def metrics(tmp_path_factory: pytest.TempPathFactory) -> Metrics:
    """Of a run with nothing to complain about."""
    folder = tmp_path_factory.mktemp("run")
    made = make_run(folder / "run", experiment(), samples_per_class=12, skills=(3.0, 6.0))
    evaluate(*made.arguments(folder / "r"))
    settled = [record.model_copy(update={"top1": 0.97}) for record in history(2, 0)]
    found = typed(numbers(folder / "r"))
    return found.model_copy(update={"history": dict.fromkeys("jb", settled), "without": {}})


def kinds(metrics: Metrics, **changed: Any) -> dict[str, str]:
    return {one.kind: one.text for one in advice(metrics.model_copy(update=changed))}


class TestAdvice:
    def test_a_good_run_needs_none(self, metrics: Metrics) -> None:
        assert kinds(metrics) == {}

    def test_still_rising(self, metrics: Metrics) -> None:
        rising = [one.model_copy(update={"top1": 0.70 + 0.02 * one.epoch}) for one in history(2, 0)]
        found = kinds(metrics, history={"j": metrics.history["j"], "b": rising})
        assert found.keys() == {"train longer"}
        assert "(stream b): train longer, for example train.epochs=16" in found["train longer"]

    def test_the_last_samples_of_those_that_are_known_are_no_reason(self, metrics: Metrics) -> None:
        rising = [one.model_copy(update={"top1": 0.81 + 0.02 * one.epoch}) for one in history(2, 0)]
        assert kinds(metrics, history={"j": metrics.history["j"], "b": rising}) == {}

    def test_settled_too_low(self, metrics: Metrics) -> None:
        low = [one.model_copy(update={"top1": 0.8}) for one in history(2, 0)]
        assert "settled at 80.0" in kinds(metrics, history={"j": low})["underfit"]

    def test_more_training_is_no_cure_for_too_much(self, metrics: Metrics) -> None:
        streams = [row.model_copy(update={"top1": 0.5}) for row in metrics.streams]
        assert kinds(metrics, streams=streams).keys() == {"overfit"}

    def test_a_stream_that_lowers_the_ensemble(self, metrics: Metrics) -> None:
        row = Paired(won=1, lost=5, samples=48, difference=-4 / 48, interval=SPAN, p_value=0.22)
        text = kinds(metrics, without={"b": row})["stream lowers"]
        assert "The bone stream (b) lowers the ensemble by 8.3 points (p = 0.22)" in text
        assert "held-out" in text

    def test_a_class_that_is_never_recognised(self, metrics: Metrics) -> None:
        counts = [row[:] for row in metrics.confusion]
        counts[1] = [0, 0, 3, 9]
        rows = list(metrics.classes)
        rows[1] = rows[1].model_copy(update={"recall": 0.0})
        text = kinds(metrics, classes=rows, confusion=counts)["class lost"]
        assert "1 class is never recognised: class 1 (0 of 12, mostly taken for class 3)" in text

    def test_one_subject_with_half_of_all_errors(self, metrics: Metrics) -> None:
        def groups(*wrong: int) -> list[GroupErrors]:
            return [GroupErrors(kind="subject", name=f"P{n}", samples=12, wrong=one) for n, one in enumerate(wrong)]

        text = kinds(metrics, groups=groups(1, 8, 2, 1))["one subject"]
        assert "Subject P1 has 8 of all 12 errors with 12 of 48 samples" in text
        assert kinds(metrics, groups=groups(3, 4, 3, 2)) == {}

    def test_guidance_that_does_nothing(self, metrics: Metrics) -> None:
        def with_status(status: str) -> list[Said]:
            return [entry.model_copy(update={"status": {status: 4}}) for entry in metrics.constraints]

        text = kinds(metrics, constraints=with_status("no-prior"))["guidance off"]
        assert "agent.priors" in text and "OPENAI_API_KEY" in text
        assert kinds(metrics, constraints=with_status("data")) == {}

    def test_no_better_than_the_nearest_neighbour(self, metrics: Metrics) -> None:
        same = Baseline(name="1-nearest neighbour", top1=metrics.headline.top1, interval=SPAN)
        text = kinds(metrics, baselines=[same])["baseline"]
        assert "no less than this run" in text and "does not carry over" in text and "train longer" not in text
        low = [one.model_copy(update={"top1": 0.8}) for one in history(2, 0)]
        text = kinds(metrics, baselines=[same], history={"j": low})["baseline"]
        assert "it has learnt little" in text and "train longer" in text


@pytest.mark.parametrize(
    ("ids", "subjects", "views"),
    [
        (["S001C001P001R001A001", "S001C002P003R002A060"], ["P001", "P003"], ["C001", "C002"]),
        (["a01_s01_e00_v01", "a12_s10_e04_v03"], ["s01", "s10"], ["v01", "v03"]),
        (["a01_s01_e01", "a20_s02_e03"], ["s01", "s02"], []),
        (["s01s02_01_001", "s07s03_08_002"], ["s01s02", "s07s03"], []),
        (["a01_s01_e00_v01", "a12_s01_e04_v03"], [], ["v01", "v03"]),  # one subject says nothing
        (["a01_s01_e00_v01", "clip 7"], [], []),
    ],
)
def test_ids_tell_subjects_and_views(ids: list[str], subjects: list[str], views: list[str]) -> None:
    found = group_errors(np.asarray(ids), np.asarray([True, False]))
    assert [one.name for one in found if one.kind == "subject"] == subjects
    assert [one.name for one in found if one.kind == "view"] == views
    assert [one.wrong for one in found] == [0, 1] * (len(found) // 2)


def test_the_nearest_neighbour_knows_the_same_motion_elsewhere_faster_and_larger(tmp_path: Path) -> None:
    made = experiment()
    rng = np.random.default_rng(0)
    motions = rng.normal(size=(4, 1, 25, 3)) + np.cumsum(rng.normal(size=(4, 12, 25, 3)), axis=1)
    with dataset.Writer(tmp_path / "d", made.data, made_from={}) as writer:
        for label, motion in enumerate(motions):
            writer.append(f"known {label}", label, motion[None])
            writer.append(f"asked {label}", label, 2 * motion[None, ::2] + 5)
        writer.splits({"train": [f"known {n}" for n in range(4)], "test": [f"asked {n}" for n in range(4)]})
    found = nearest_neighbour(made.stage_evaluate(), dataset.open(tmp_path / "d"))
    assert found.top1 == 1.0
    assert found.interval.low < 0.6  # four samples prove little
    assert found.text == "4 training samples, resampled to 16 frames"


def test_the_page_and_the_file_name_the_baseline(tmp_path: Path) -> None:
    made = make_run(tmp_path / "run", experiment())
    evaluate(*made.arguments(tmp_path / "r"), dataset=write_dataset(tmp_path / "d", made))
    found = numbers(tmp_path / "r")["baselines"]
    assert [one["name"] for one in found] == ["1-nearest neighbour"]
    assert (
        "Uniform guessing would reach 25.0\u202f%, 1-nearest neighbour" in story(typed(numbers(tmp_path / "r")))[1].text
    )


class TestBaselinesThatAreGiven:
    def given(self, run: Run, path: Path, name: str, samples: slice = slice(None)) -> Path:
        """Scores of another method, in another order: those of the joint stream after round 1."""
        one = open_scores(run.scores["j", 1])
        arrays = {key: getattr(one, key)[samples][::-1] for key in ("sample_ids", "labels", "probabilities")}
        write_scores(path, replace(one, stream=name, **arrays), made_from={}, config=run.experiment.stage_train("j"))
        return path

    def test_they_are_held_against_the_headline(self, tmp_path: Path) -> None:
        run = make_run(tmp_path / "run", experiment())
        path = self.given(run, tmp_path / "t", "temporal <convolution>")
        evaluate(*run.arguments(tmp_path / "r"), baselines=[path])
        found = typed(numbers(tmp_path / "r"))
        (one,) = found.baselines
        assert (one.name, one.top1) == ("temporal <convolution>", open_scores(run.scores["j", 1]).top1)
        assert one.interval.low < one.top1 < one.interval.high
        assert one.against is not None
        assert one.against.difference == pytest.approx(one.top1 - found.headline.top1)
        assert "temporal &lt;convolution&gt;</th>" in report.open(tmp_path / "r").html
        assert "baseline.temporal <convolution>" in report.verify(tmp_path / "r").made_from

    def test_other_samples_are_refused(self, tmp_path: Path) -> None:
        run = make_run(tmp_path / "run", experiment())
        path = self.given(run, tmp_path / "t", "few", slice(20))
        with pytest.raises(InputError, match="scores of stream few round 1 are of different samples"):
            evaluate(*run.arguments(tmp_path / "r"), baselines=[path])


class TestClassEffect:
    def test_it_counts_what_the_streams_recognised(self, tmp_path: Path) -> None:
        run = make_run(tmp_path / "run", experiment())
        evaluate(*run.arguments(tmp_path / "r"))
        found = numbers(tmp_path / "r")
        effect = found["loop"]["rounds"][0]["effect"]
        assert (effect["addressed"], effect["others"]) == (4, 4)  # classes 0 and 2, and the others, of two streams
        for name, parity in (("addressed_recall", 0), ("others_recall", 1)):
            for place, number in enumerate((1, 2)):
                shares = [self.recall(open_scores(run.scores[stream, number]), parity) for stream in "jb"]
                assert effect[name][place] == pytest.approx(np.mean(shares))
        text = story(typed(found))[3].text
        assert "By class: after round 1 the recall of 4 classes that it addressed changed by" in text

    def recall(self, scores: Scores, parity: int) -> float:
        inside = scores.labels % 2 == parity
        return float((scores.probabilities.argmax(1) == scores.labels)[inside].mean())

    def test_a_difference_has_an_interval(self) -> None:
        ours, others = [1, 0, 1, 0, 0, 0], [0, 0, 0, 1, 0, 0]
        found = rise_difference(np.asarray([ours] * 50 + [others] * 50))
        assert found is not None and found[0] == 1.0 and found[1].low == 1.0
        assert rise_difference(np.asarray([ours] * 5)) is None


def test_what_was_said_stands_beside_what_the_data_say(tmp_path: Path) -> None:
    """The agent named joints 5 to 7 of the even classes; in the data 6, 7 and 20 separate them best."""
    run = make_run(tmp_path / "run", experiment())
    stage, scores, confusions, constraints, _ = run.arguments(tmp_path)
    inputs = open_inputs(stage, scores, confusions, constraints)
    assert all(entry.measured == [] for said in guidance(inputs) for entry in said.classes)
    separability = np.zeros((4, 25), dtype=np.float32)
    separability[:, [6, 7, 20]] = 0.9, 0.8, 0.7
    measured = {key: replace(one, separability=separability) for key, one in inputs.confusions.items()}
    prior, *answers = guidance(replace(inputs, confusions=measured))
    assert all(entry.measured == [] for entry in prior.classes)  # before anything was trained
    names = load_layout("ntu25").joints
    for entry in (entry for said in answers for entry in said.classes):
        assert entry.measured == [names[joint] for joint in (6, 7, 20)]
        assert entry.agreement == pytest.approx(2 / 3)
