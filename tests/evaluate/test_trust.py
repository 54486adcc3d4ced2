"""Leaks, imbalance and contradictions are refused or flagged; other code's scores and runs can be compared."""

from __future__ import annotations

import pickle
from dataclasses import replace
from io import StringIO
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from made_runs import Run, experiment, make_run, numbers, probabilities, typed, write_constraints, write_dataset
from rich.console import Console
from test_evaluate_cli import invoked

from components.contracts import report, scores
from components.contracts.errors import InputError
from components.contracts.scores import Scores
from components.evaluate.core import evaluate
from components.evaluate.dumps import import_scores, read_dump
from components.evaluate.report.comparison import compare, open_run
from components.evaluate.report.story import story
from components.evaluate.report.terminal import print_report


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("run"), experiment())


def metrics_of(run: Run, output: Path, **more: Any) -> dict[str, Any]:
    evaluate(*run.arguments(output), **more)
    return numbers(output)


def statuses(metrics: dict[str, Any]) -> dict[str, str]:
    return {check["name"]: check["status"] for check in metrics["checks"]}


class TestChecks:
    def test_a_clean_dataset(self, run: Run, tmp_path: Path) -> None:
        packed = write_dataset(tmp_path / "d", run)
        metrics = metrics_of(run, tmp_path / "r", dataset=packed)
        found = statuses(metrics)
        assert found["Leaks"] == "ok"
        assert found["One dataset"] == "bad"  # the made scores name another dataset
        assert "Dataset" not in found
        assert metrics["data"]["train_samples"] == 16
        assert 'class="strip"' in report.open(tmp_path / "r").html

    def test_without_the_dataset_it_says_so(self, run: Run, tmp_path: Path) -> None:
        assert statuses(metrics_of(run, tmp_path / "r"))["Dataset"] == "unknown"

    def test_leaks_and_untrained_classes_are_red(self, run: Run, tmp_path: Path) -> None:
        packed = write_dataset(tmp_path / "d", run, leaks=3, untrained=1)
        metrics = metrics_of(run, tmp_path / "r", dataset=packed)
        assert (statuses(metrics)["Leaks"], statuses(metrics)["Training classes"]) == ("bad", "bad")
        answer = story(typed(metrics))[-1]
        assert answer.status == "bad"
        assert "3 of 24 test samples are byte-equal to a training sample" in answer.text
        assert "tested but never trained: class 3" in answer.text
        assert report.open(tmp_path / "r").html.count('class="notice bad"') == 3

    def test_a_collapsed_stream_is_red(self, run: Run, tmp_path: Path) -> None:
        opened = scores.open(run.scores["b", 2])
        flat = np.tile(np.float32([0.4, 0.3, 0.2, 0.1]), (24, 1))
        stage = run.experiment.stage_train("b")
        scores.write(tmp_path / "b", replace(opened, probabilities=flat), made_from={}, config=stage)
        metrics = metrics_of(replace(run, scores={**run.scores, ("b", 2): tmp_path / "b"}), tmp_path / "r")
        assert statuses(metrics)["Collapsed stream"] == "bad"

    def test_labels_that_differ_from_the_dataset_are_refused(self, run: Run, tmp_path: Path) -> None:
        other = make_run(tmp_path / "other", experiment(), samples_per_class=5)
        packed = write_dataset(tmp_path / "d", other)
        with pytest.raises(InputError, match=r"sample 'S0005' has label 1, the scores say 0"):
            metrics_of(run, tmp_path / "r", dataset=packed)

    def test_samples_that_are_not_in_the_test_split_are_refused(self, run: Run, tmp_path: Path) -> None:
        few = make_run(tmp_path / "few", experiment(), samples_per_class=1)
        changed = {**run.scores}
        packed = write_dataset(tmp_path / "d", few)
        with pytest.raises(InputError, match=r"sample 'S000\d'"):
            metrics_of(replace(run, scores=changed), tmp_path / "r", dataset=packed)


class TestHeldOut:
    def held_out(self, run: Run, path: Path, stream: str, prefix: str, skill: float) -> Path:
        labels = np.arange(40) % 4
        ids = np.asarray([f"{prefix}{number:04d}" for number in range(40)])
        found = probabilities(labels, 4, skill, 5)
        one = Scores(stream, 2, 1, ids, labels, found)
        scores.write(path, one, made_from={}, config=run.experiment.stage_train(stream))
        return path

    def test_weights_and_temperature_are_learnt_from_it(self, run: Run, tmp_path: Path) -> None:
        paths = [self.held_out(run, tmp_path / s, s, "H", skill) for s, skill in (("j", 4.0), ("b", 0.1))]
        metrics = metrics_of(run, tmp_path / "r", held_out=paths)
        learnt = next(row for row in metrics["ensembles"] if row["name"] == "learnt")
        assert learnt["weights"][0] > 0.8
        assert metrics["calibration"]["held_out"]["samples"] == 40
        assert metrics["headline"]["weights"] == [2, 2]

    def brought(self, run: Run, folder: Path, prefixes: dict[str, str]) -> Run:
        """The run, whose last scores bring along held-out samples."""
        changed = {**run.scores}
        for stream, prefix in prefixes.items():
            held_out = scores.open(self.held_out(run, folder / f"{stream}-held-out", stream, prefix, 4.0))
            whole = replace(scores.open(run.scores[stream, 2]), held_out=replace(held_out, history=()))
            changed[stream, 2] = folder / stream
            scores.write(folder / stream, whole, made_from={}, config=run.experiment.stage_train(stream))
        return replace(run, scores=changed)

    def test_scores_bring_it_along(self, run: Run, tmp_path: Path) -> None:
        paths = [tmp_path / "j-held-out", tmp_path / "b-held-out"]
        brought = metrics_of(self.brought(run, tmp_path, {"j": "H", "b": "H"}), tmp_path / "r")
        given = metrics_of(run, tmp_path / "given", held_out=paths)
        assert brought["last"] == given["last"]
        assert brought["calibration"] == given["calibration"]
        assert "Held-out samples" not in statuses(brought)

    def test_what_is_given_counts_instead(self, run: Run, tmp_path: Path) -> None:
        given = [self.held_out(run, tmp_path / f"{s}-given", s, "G", skill) for s, skill in (("j", 0.1), ("b", 4.0))]
        metrics = metrics_of(self.brought(run, tmp_path, {"j": "H", "b": "H"}), tmp_path / "r", held_out=given)
        learnt = next(row for row in metrics["ensembles"] if row["name"] == "learnt")
        assert dict(zip(learnt["streams"], learnt["weights"], strict=True))["b"] > 0.8

    def test_streams_that_held_out_others_are_said(self, run: Run, tmp_path: Path) -> None:
        metrics = metrics_of(self.brought(run, tmp_path, {"j": "H", "b": "G"}), tmp_path / "r")
        assert statuses(metrics)["Held-out samples"] == "warn"
        assert metrics["calibration"]["held_out"] is None
        assert "learnt" not in {row["name"] for row in metrics["ensembles"]}

    def test_test_samples_that_are_brought_along_are_refused(self, run: Run, tmp_path: Path) -> None:
        with pytest.raises(InputError, match="sample 'S0000' is a test sample: nothing may be learnt from it"):
            metrics_of(self.brought(run, tmp_path, {"j": "S"}), tmp_path / "r")

    def test_the_terminal_says_what_was_learnt(self, run: Run, tmp_path: Path) -> None:
        metrics = metrics_of(self.brought(run, tmp_path, {"j": "H", "b": "H"}), tmp_path / "r")
        console = Console(record=True, width=200, file=StringIO())
        print_report(typed(metrics), console)
        said = " ".join(console.export_text().split())
        assert "With weights learnt from 40 held-out training samples (j 0.50, b 0.50) it is" in said
        assert "learnt from 40 held-out training samples" in said.partition("Calibration error")[2]

    def test_test_samples_are_refused(self, run: Run, tmp_path: Path) -> None:
        path = self.held_out(run, tmp_path / "j", "j", "S", 1.0)
        with pytest.raises(InputError, match="sample 'S0000' is a test sample: nothing may be learnt from it"):
            metrics_of(run, tmp_path / "r", held_out=[path])

    def test_strangers_are_refused(self, run: Run, tmp_path: Path) -> None:
        path = self.held_out(run, tmp_path / "j", "j", "H", 1.0)
        packed = write_dataset(tmp_path / "d", run)
        with pytest.raises(InputError, match="sample 'H0000' is not in training split 'train'"):
            metrics_of(run, tmp_path / "r", held_out=[path], dataset=packed)


class TestLoop:
    def test_what_changed_is_counted(self, run: Run, tmp_path: Path) -> None:
        loop = metrics_of(run, tmp_path / "r")["loop"]
        assert loop["rounds"][0]["joints_changed"] == loop["told"] == 4
        assert loop["tokens"] == 400
        effect = loop["effect"]
        wrong = {"before": 0, "after": 0}
        for (_, number), path in run.scores.items():
            one = scores.open(path)
            wrong["before" if number == 1 else "after"] += int((one.probabilities.argmax(1) != one.labels).sum())
        assert effect["addressed"][0] + effect["others"][0] == wrong["before"]
        assert effect["addressed"][1] + effect["others"][1] == wrong["after"]

    def test_nothing_new_gained_nothing(self, run: Run, tmp_path: Path) -> None:
        told = {("", 0): run.constraints["", 0]}
        for stream in "jb":
            told[stream, 1] = tmp_path / stream
            write_constraints(told[stream, 1], run.experiment, stream, 1, answers=False)
        metrics = metrics_of(replace(run, constraints=told), tmp_path / "r")
        assert metrics["loop"]["told"] == 0
        answer = story(typed(metrics))[3].text
        assert answer.startswith("The guidance gained nothing: the agent said nothing new")


class TestDumps:
    def dump(self, path: Path, rows: Any) -> Path:
        path.write_bytes(pickle.dumps(rows, protocol=2))
        return path

    def test_a_dump_becomes_scores_of_the_test_samples(self, run: Run, tmp_path: Path) -> None:
        packed = write_dataset(tmp_path / "d", run)
        opened = scores.open(run.scores["j", 2])
        dump = self.dump(tmp_path / "result.pkl", list(opened.probabilities))
        top1 = import_scores(dump, run.experiment.stage_train("k"), "k", 2, packed, tmp_path / "k")
        found = scores.open(tmp_path / "k")
        assert found.sample_ids.tolist() == opened.sample_ids.tolist()
        np.testing.assert_allclose(found.probabilities, opened.probabilities, rtol=1e-6)
        assert top1 == (opened.probabilities.argmax(1) == opened.labels).mean()
        mixed = replace(run, scores={**run.scores, ("k", 2): tmp_path / "k"})
        metrics = metrics_of(mixed, tmp_path / "r")
        assert metrics["headline"]["streams"] == ["j", "b", "k"]
        assert statuses(metrics)["Imported scores"] == "warn"

    @pytest.mark.parametrize(
        ("rows", "message"),
        [
            ({"a": 1}, "found dict, expected a list"),
            ([np.zeros((2, 4), np.float32)], "entry 0: found float32 2×4"),
            ([np.float32([0.5, 0.5]), "x"], "entry 1: found str"),
            ([np.float32([np.nan, 1])], "NaN or infinity"),
        ],
    )
    def test_anything_else_is_refused(self, tmp_path: Path, rows: Any, message: str) -> None:
        with pytest.raises(InputError, match=message):
            read_dump(self.dump(tmp_path / "x.pkl", rows))

    def test_code_is_refused(self, tmp_path: Path) -> None:
        class Evil:
            def __reduce__(self) -> tuple[Any, ...]:
                return (print, ("owned",))

        with pytest.raises(InputError, match="not an acceptable pickle"):
            read_dump(self.dump(tmp_path / "x.pkl", [Evil()]))

    @pytest.mark.parametrize(
        ("rows", "message"),
        [(np.full((5, 4), 0.25), "scores of 5 samples found, 24"), (np.full((24, 4), 3.0), "no probabilities"),
         (np.full((24, 5), 0.2), "5 classes found, 4 expected")],
    )  # fmt: skip
    def test_a_dump_that_does_not_fit(self, run: Run, tmp_path: Path, rows: np.ndarray, message: str) -> None:
        packed = write_dataset(tmp_path / "d", run)
        dump = self.dump(tmp_path / "x.pkl", list(rows.astype(np.float32)))
        with pytest.raises(InputError, match=message):
            import_scores(dump, run.experiment.stage_train("k"), "k", 1, packed, tmp_path / "k")


@pytest.fixture(scope="module")
def reports(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder, paths = tmp_path_factory.mktemp("reports"), {}
    for name, skills in (("weak", (0.5, 0.6)), ("strong", (1.0, 4.0))):
        made = make_run(folder / f"{name}-run", experiment(), samples_per_class=20, skills=skills)
        paths[name] = folder / name
        evaluate(*made.arguments(paths[name]))
    return paths


class TestCompare:
    def test_better(self, reports: dict[str, Path]) -> None:
        runs = {name: open_run(path) for name, path in reports.items()}
        found = compare(runs["weak"], runs["strong"])
        assert found.answer.startswith("Yes, B is better than A: ")
        assert found.overall.interval.low > 0
        assert sum(row.paired.won - row.paired.lost for row in found.classes) == found.overall.won - found.overall.lost
        back = compare(runs["strong"], runs["weak"])
        assert back.answer.startswith("No, A is better than B: ")
        assert back.overall.difference == -found.overall.difference

    def test_the_same(self, reports: dict[str, Path]) -> None:
        run = open_run(reports["weak"])
        assert compare(run, run).answer.startswith("No: A and B have the same samples right")

    def test_from_a_shell_on_a_runs_folder(self, reports: dict[str, Path], tmp_path: Path) -> None:
        folder = tmp_path / "published"
        folder.mkdir()
        for name in ("metrics.json", "predictions.npz"):
            (folder / name).write_bytes((reports["strong"] / name).read_bytes())
        done = invoked("compare", reports["weak"], folder)
        assert done.exit_code == 0, done.output
        assert "Yes, B is better than A" in done.stdout.splitlines()[0]

    def test_other_samples_are_refused(self, reports: dict[str, Path], run: Run, tmp_path: Path) -> None:
        evaluate(*run.arguments(tmp_path / "r"))
        with pytest.raises(InputError, match="the runs are of different test samples: 56 are in one only"):
            compare(open_run(tmp_path / "r"), open_run(reports["weak"]))

    def test_no_run(self, tmp_path: Path) -> None:
        with pytest.raises(InputError, match=r"no metrics\.json found"):
            open_run(tmp_path)
