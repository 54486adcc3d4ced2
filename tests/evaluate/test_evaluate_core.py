"""The evaluate stage as a whole: what the numbers say, what is refused, and that the bytes depend on nothing else."""

from __future__ import annotations

import json
import random
from pathlib import Path

import numpy as np
import pytest
from made_runs import Run, experiment, make_run, numbers, typed, write_constraints

from components.contracts import report, scores
from components.contracts.artifact import digest
from components.contracts.config import load_experiment
from components.contracts.errors import InputError
from components.contracts.metrics import Metrics
from components.evaluate.core import evaluate
from components.evaluate.kfp_outputs import kfp_outputs


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("run"), experiment())


@pytest.fixture(scope="module")
def six(tmp_path_factory: pytest.TempPathFactory) -> Run:
    made = experiment(6, streams=["j", "b", "k", "jm", "bm", "km"], rounds=1)
    return make_run(tmp_path_factory.mktemp("six"), made)


def numbers_of(run: Run, output: Path) -> dict:
    evaluate(*run.arguments(output))
    return numbers(output)


class TestNumbers:
    def test_streams_and_rounds(self, run: Run, tmp_path: Path) -> None:
        metrics = numbers_of(run, tmp_path / "r")
        assert [(row["stream"], row["round"]) for row in metrics["streams"]] == [
            ("j", 1), ("j", 2), ("b", 1), ("b", 2)]  # fmt: skip
        for row in metrics["streams"]:
            opened = scores.open(run.scores[row["stream"], row["round"]])
            assert row["top1"] == pytest.approx((opened.probabilities.argmax(1) == opened.labels).mean())
            assert row["train_top1"] == pytest.approx(19 / 22)
            assert row["top5"] == 1.0

    def test_headline_is_the_weighted_ensemble_of_the_last_round(self, run: Run, tmp_path: Path) -> None:
        metrics = numbers_of(run, tmp_path / "r")
        j, b = (scores.open(run.scores[stream, 2]) for stream in "jb")
        predicted = (j.probabilities + b.probabilities).argmax(1)
        headline = metrics["headline"]
        assert (headline["round"], headline["streams"], headline["weights"]) == (2, ["j", "b"], [2, 2])
        assert headline["correct"] == (predicted == j.labels).sum()
        assert headline["top1"] == pytest.approx(headline["correct"] / len(j.labels))
        assert np.trace(metrics["confusion"]) == headline["correct"]
        assert np.sum(metrics["confusion"], axis=1).tolist() == [6, 6, 6, 6]

    def test_ensembles_of_every_round(self, run: Run, tmp_path: Path) -> None:
        metrics = numbers_of(run, tmp_path / "r")
        rows = {(row["name"], row["round"]): row for row in metrics["ensembles"]}
        assert set(rows) == {(name, number) for name in ("configured", "published 2-stream") for number in (1, 2)}
        first, last = rows["configured", 1], rows["configured", 2]
        assert metrics["gain"]["top1"] == pytest.approx(last["top1"] - first["top1"])
        assert metrics["gain"]["correct"] == round((last["top1"] - first["top1"]) * 24)

    def test_published_combinations(self, six: Run, tmp_path: Path) -> None:
        rows = {row["name"]: row for row in numbers_of(six, tmp_path / "r")["ensembles"]}
        assert rows["published 2-stream"]["streams"] == ["j", "b"]
        assert rows["published 4-stream"]["streams"] == ["j", "b", "jm", "bm"]
        assert rows["published 4-stream"]["weights"] == [2, 2, 1, 1]
        assert rows["published 6-stream"]["weights"] == [2, 2, 2, 1, 1, 1]
        assert rows["published 6-stream"]["top1"] == rows["configured"]["top1"]

    def test_classes(self, run: Run, tmp_path: Path) -> None:
        metrics = numbers_of(run, tmp_path / "r")
        counts = np.asarray(metrics["confusion"])
        for label, row in enumerate(metrics["classes"]):
            assert (row["label"], row["name"], row["samples"]) == (label, f"class {label}", 6)
            assert row["recall"] == pytest.approx(counts[label, label] / 6)
            assert row["change"] == pytest.approx(row["recall_by_round"]["2"] - row["recall_by_round"]["1"])
        off_diagonal = counts.sum() - np.trace(counts)
        assert sum(pair["count"] for pair in metrics["confused_pairs"]) == off_diagonal

    def test_what_the_agent_said(self, run: Run, tmp_path: Path) -> None:
        told = {(entry["stream"], entry["round"]): entry for entry in numbers_of(run, tmp_path / "r")["constraints"]}
        assert list(told) == [("", 0), ("j", 1), ("b", 1)]
        prior, answer = told["", 0], told["j", 1]
        assert prior["status"] == {"prior": 4}
        assert prior["joints_changed"] is None
        assert len(prior["classes"]) == 4
        assert answer["status"] == {"answered": 2, "kept": 2}
        assert answer["notes"] == {"not asked: not confused": 2}
        assert (answer["joints_changed"], answer["descriptions_changed"], answer["prompt_tokens"]) == (2, 2, 200)
        first = answer["classes"][0]
        assert (first["name"], first["told_apart_from"]) == ("class 0", [1])
        assert (first["joints_added"], first["joints_removed"]) == (["left_hand"], ["left_shoulder"])

    def test_history_and_data(self, run: Run, tmp_path: Path) -> None:
        metrics = numbers_of(run, tmp_path / "r")
        assert [record["epoch"] for record in metrics["history"]["j"]] == list(range(1, 9))
        assert metrics["data"]["protocol_label"] == "cross-subject"
        assert metrics["data"]["test_samples"] == 24

    def test_kfp_gets_plain_numbers(self, run: Run, tmp_path: Path) -> None:
        metrics = numbers_of(run, tmp_path / "r")
        shown = kfp_outputs(typed(metrics))
        assert shown.categories == ["class 0", "class 1", "class 2", "class 3"]
        assert shown.matrix == metrics["confusion"]
        assert shown.numbers["ensemble_top1"] == metrics["headline"]["top1"]
        assert {"j_round1_top1", "b_round2_top1", "gain_top1", "ensemble_top5"} <= set(shown.numbers)
        assert all(type(value) is float for value in shown.numbers.values())
        assert all(type(count) is int for row in shown.matrix for count in row)


class TestMetricsFile:
    """``metrics.json`` as its readers find it."""

    def test_it_is_what_the_schema_says_and_sorted(self, run: Run, tmp_path: Path) -> None:
        evaluate(*run.arguments(tmp_path / "r"))
        text = (tmp_path / "r" / "metrics.json").read_text(encoding="utf-8")
        found = json.loads(text)
        assert Metrics.model_validate(found).model_dump(mode="json") == found
        assert text == json.dumps(found, indent=1, sort_keys=True, ensure_ascii=False) + "\n"

    def test_one_of_schema_1_0_opens(self, run: Run, tmp_path: Path) -> None:
        """It had no intervals, no calibration, no checks and nothing of the loop."""
        found = numbers_of(run, tmp_path / "r")
        for name in ("training", "checks", "calibration", "last", "without", "loop", "baselines", "groups", "advice"):
            del found[name]
        for row in (*found["streams"], *found["ensembles"]):
            del row["interval"]
        del found["headline"]["intervals"], found["headline"]["mean_average_precision"]
        (tmp_path / "metrics.json").write_text(json.dumps(found))
        opened = report.read_metrics(tmp_path / "metrics.json")
        assert opened.headline.top1 == found["headline"]["top1"]
        assert (opened.headline.intervals.top1.low, opened.headline.intervals.top1.high) == (0, 1)
        assert kfp_outputs(opened).numbers["ensemble_top1"] == found["headline"]["top1"]

    def test_a_damaged_one_is_refused_by_field(self, run: Run, tmp_path: Path) -> None:
        found = numbers_of(run, tmp_path / "r")
        found["headline"]["top1"] = "much"
        (tmp_path / "metrics.json").write_text(json.dumps(found))
        with pytest.raises(InputError, match=r"metrics\.json: not the metrics of a run: headline\.top1: "):
            report.read_metrics(tmp_path / "metrics.json")


class TestBytes:
    def test_the_order_of_the_inputs_does_not_matter(self, run: Run, tmp_path: Path) -> None:
        stage, *lists, _ = run.arguments(tmp_path)
        evaluate(stage, *lists, tmp_path / "one")
        for paths in lists:
            random.Random(1).shuffle(paths)
        evaluate(stage, *lists, tmp_path / "two")
        assert digest(tmp_path / "one") == digest(tmp_path / "two")

    def test_an_artifact_given_twice_counts_once(self, run: Run, tmp_path: Path) -> None:
        stage, *lists, _ = run.arguments(tmp_path)
        evaluate(stage, *lists, tmp_path / "one")
        evaluate(stage, *[paths * 2 for paths in lists], tmp_path / "two")
        assert digest(tmp_path / "one") == digest(tmp_path / "two")

    def test_the_manifest_names_every_input(self, run: Run, tmp_path: Path) -> None:
        evaluate(*run.arguments(tmp_path / "r"))
        manifest = report.verify(tmp_path / "r")
        assert manifest.made_from["scores.j.2"] == digest(run.scores["j", 2])
        assert manifest.made_from["constraints.0"] == digest(run.constraints["", 0])
        assert len(manifest.made_from) == 4 + 4 + 3


class TestPartialRuns:
    def test_one_stream_and_one_round(self, tmp_path: Path) -> None:
        made = experiment(streams=["k"], rounds=1)
        metrics = numbers_of(make_run(tmp_path / "run", made), tmp_path / "r")
        assert metrics["gain"] is None
        assert metrics["notices"] == []
        assert metrics["headline"]["top1"] == metrics["streams"][0]["top1"]

    def test_scores_alone_suffice(self, run: Run, tmp_path: Path) -> None:
        evaluate(run.experiment.stage_evaluate(), [run.scores["b", 2]], [], [], tmp_path / "r")
        metrics = numbers(tmp_path / "r")
        assert metrics["headline"]["streams"] == ["b"]
        assert metrics["streams"][0]["train_top1"] is None
        assert metrics["constraints"] == []

    def test_missing_scores_are_said(self, run: Run, tmp_path: Path) -> None:
        paths = [run.scores["j", 1], run.scores["j", 2], run.scores["b", 1]]
        evaluate(run.experiment.stage_evaluate(), paths, [], [], tmp_path / "r")
        metrics = numbers(tmp_path / "r")
        assert metrics["headline"]["streams"] == ["j"]
        assert metrics["gain"] is None
        assert metrics["notices"] == [{"kind": "incomplete", "text": "stream b has no scores of round 2."}]

    def test_an_unfinished_run_is_said(self, run: Run, tmp_path: Path) -> None:
        paths = [run.scores["j", 1], run.scores["b", 1]]
        evaluate(run.experiment.stage_evaluate(), paths, [], [], tmp_path / "r")
        notices = numbers(tmp_path / "r")["notices"]
        assert notices == [{"kind": "incomplete", "text": "scores are given up to round 1 of 2."}]

    def test_no_scores(self, run: Run, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="scores: none given"):
            evaluate(run.experiment.stage_evaluate(), [], [], [], tmp_path / "r")


class TestNotices:
    @pytest.mark.parametrize(
        ("label", "kinds"),
        [
            ("cross-view, as published: LEAKS 95 test sequences into training", ["leak"]),
            ("leaky", ["leak"]),
            ("cross-view, clean (95 leaked twins removed from training)", []),
            ("cross-view without leaks", []),
            ("synthetic, cross-subject", ["synthetic"]),
            ("cross-subject", []),
        ],
    )
    def test_what_the_protocol_label_says(self, tmp_path: Path, label: str, kinds: list[str]) -> None:
        protocols = {"p": {"train": "train", "test": "test", "label": label}}
        made = experiment(streams=["j"], rounds=1, data__protocols=protocols, data__protocol="p")
        metrics = numbers_of(make_run(tmp_path / "run", made), tmp_path / "r")
        assert [notice["kind"] for notice in metrics["notices"]] == kinds

    def test_the_demo_is_called_synthetic(self, repository: Path, tmp_path: Path) -> None:
        made = load_experiment(repository / "pipelines" / "configs" / "demo.yaml")
        metrics = numbers_of(make_run(tmp_path / "run", made, samples_per_class=2), tmp_path / "r")
        assert "synthetic" in [notice["kind"] for notice in metrics["notices"]]


class TestRefusals:
    def refusal(self, run: Run, output: Path, **changes: object) -> str:
        stage, found, confusions, told, _ = run.arguments(output)
        given = {"stage": stage, "scores": found, "confusions": confusions, "constraints": told, **changes}
        with pytest.raises(InputError) as error:
            evaluate(**given, output=output)  # type: ignore[arg-type]
        assert not output.exists()
        assert "\n" not in str(error.value)
        return str(error.value)

    def test_another_kind_of_artifact(self, run: Run, tmp_path: Path) -> None:
        message = self.refusal(run, tmp_path / "r", scores=[run.confusions["j", 1]])
        assert "expected a scores artifact, found 'confusion'" in message

    def test_two_different_scores_of_one_stream_and_round(self, run: Run, tmp_path: Path) -> None:
        other = make_run(tmp_path / "other", experiment(), skills=(0.1, 0.1))
        message = self.refusal(run, tmp_path / "r", scores=[run.scores["j", 1], other.scores["j", 1]])
        assert "two different scores artifacts of stream 'j' round 1" in message

    def test_scores_of_another_protocol(self, run: Run, tmp_path: Path) -> None:
        protocols = {"cross": {"train": "train_leaky", "test": "test"}}
        stage = experiment(data__protocols=protocols).stage_evaluate()
        message = self.refusal(run, tmp_path / "r", stage=stage)
        assert "train split 'train' found, 'train_leaky' expected" in message

    def test_scores_of_other_classes(self, run: Run, tmp_path: Path) -> None:
        message = self.refusal(run, tmp_path / "r", stage=experiment(5).stage_evaluate())
        assert "scores-j-1: 4 classes found, 5 expected" in message

    def test_constraints_of_another_layout(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "told"
        write_constraints(path, experiment(data__layout="coco17"), "", 0)
        assert "layout 'coco17' found, 'ntu25' expected" in self.refusal(run, tmp_path / "r", constraints=[path])

    def test_constraints_of_other_classes(self, run: Run, tmp_path: Path) -> None:
        path = tmp_path / "told"
        write_constraints(path, experiment(6), "", 0)
        assert "told: 6 classes found, 4 expected" in self.refusal(run, tmp_path / "r", constraints=[path])

    def test_streams_of_different_samples(self, run: Run, tmp_path: Path) -> None:
        other = make_run(tmp_path / "other", experiment(), samples_per_class=5)
        message = self.refusal(run, tmp_path / "r", scores=[run.scores["j", 1], other.scores["b", 1]])
        assert "are of different samples: 4 differ" in message
        assert "'S0020'" in message

    def test_no_stream_with_a_weight(self, run: Run, tmp_path: Path) -> None:
        stage = run.experiment.stage_evaluate()
        weights = stage.evaluate.model_copy(update={"weights": {"km": 1.0}})
        message = self.refusal(run, tmp_path / "r", stage=stage.model_copy(update={"evaluate": weights}))
        assert "no stream with scores of round 2 (j, b) has a positive weight" in message
