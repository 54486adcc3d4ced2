"""The whole pipeline on this machine, with its real stages, through the command that users type."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from small_experiment import ROOT, cached, command, pipelines, write_inputs, write_pickle

from components.contracts import report

one_first_run = pytest.mark.xdist_group("local run")
"""The tests that share ``first_run`` run in one process."""


@pytest.fixture(scope="module")
def inputs(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return write_inputs(tmp_path_factory.mktemp("inputs"))


@pytest.fixture(scope="module")
def first_run(
    inputs: tuple[Path, Path], tmp_path_factory: pytest.TempPathFactory
) -> tuple[Path, subprocess.CompletedProcess[str]]:
    root = tmp_path_factory.mktemp("runs")
    return root, run(inputs, root)


def run(inputs: tuple[Path, Path], root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    data, config = inputs
    return pipelines("run", "--data", data, "--config", config, "--root", root, *more)


@one_first_run
@pytest.mark.slow
def test_a_run_ends_with_the_path_of_its_report(
    first_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    root, result = first_run
    assert result.returncode == 0, result.stderr
    last = result.stdout.splitlines()[-1]
    assert Path(last) == root / "small" / "report.html"
    assert "<html" in Path(last).read_text()
    metrics = json.loads((root / "small" / "metrics.json").read_text())
    assert metrics["headline"]["streams"] == ["j", "b"]
    assert {(row["stream"], row["round"]) for row in metrics["streams"]} == {(s, r) for s in "jb" for r in (1, 2)}


@one_first_run
@pytest.mark.slow
def test_the_user_sees_every_task_and_nothing_of_kfp(
    first_run: tuple[Path, subprocess.CompletedProcess[str]],
) -> None:
    root, result = first_run
    trained = [
        f"{stage} {stream} round {r}"
        for stage, last in (("train", 2), ("agent", 1))
        for stream in "jb"
        for r in range(1, last + 1)
    ]
    for task in ("configure", "preprocess", "agent prior", *trained, "evaluate"):
        assert any(line.startswith(task) and "done in" in line for line in result.stderr.splitlines()), task
    assert "KFP" not in result.stderr and "Traceback" not in result.stderr
    assert "[KFP Executor" in (root / "small" / "pipeline.log").read_text()


@one_first_run
@pytest.mark.slow
def test_the_same_run_again_comes_from_the_cache(
    inputs: tuple[Path, Path], first_run: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    root, _ = first_run
    report_before = (root / "small" / "report.html").read_bytes()
    again = run(inputs, root)
    assert again.returncode == 0, again.stderr
    assert cached(again) == {"configure": 1, "preprocess": 1, "agent-prior": 1, "agent": 2, "train": 4, "evaluate": 1}
    assert (root / "small" / "report.html").read_bytes() == report_before


@one_first_run
@pytest.mark.slow
def test_another_learning_rate_repeats_neither_preprocess_nor_the_prior(
    inputs: tuple[Path, Path], first_run: tuple[Path, subprocess.CompletedProcess[str]]
) -> None:
    root, _ = first_run
    changed = run(inputs, root, "--set", "train.learning_rate=0.001", "--rounds", "1", "--streams", "j")
    assert changed.returncode == 0, changed.stderr
    assert cached(changed) == {"preprocess": 1, "agent-prior": 1}


@pytest.mark.slow
def test_a_run_that_was_killed_leaves_nothing_running_and_goes_on_within_its_round(
    inputs: tuple[Path, Path], tmp_path: Path
) -> None:
    data, config = inputs
    settings = ("--rounds", "1", "--streams", "j", "--set", "train.epochs=30")
    arguments: tuple[str | Path, ...] = ("run", "--data", data, "--config", config, *settings, "--root", tmp_path)
    interrupted = subprocess.Popen(command(*arguments), cwd=ROOT, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    saved = tmp_path / "small" / "resume"
    wait_until(lambda: saved_or_over(saved, interrupted), "an epoch was saved")
    assert interrupted.poll() is None, "the run ended before it could be killed"
    os.kill(interrupted.pid, signal.SIGKILL)
    interrupted.wait()
    wait_until(lambda: processes_that_mention(str(tmp_path)) == [], "the training ended with its run")

    again = pipelines(*arguments)
    assert again.returncode == 0, again.stderr
    assert "resuming after epoch" in again.stderr
    assert not list(tmp_path.glob("small/resume/*")), "a finished round keeps no state"
    uninterrupted = pipelines(*arguments[:-1], tmp_path / "other")
    assert uninterrupted.returncode == 0, uninterrupted.stderr
    assert [report.open(path).digest for path in reports(tmp_path)] == [
        report.open(path).digest for path in reports(tmp_path / "other")
    ], "an interrupted training must give the same bytes"


def saved_or_over(saved: Path, process: subprocess.Popen[bytes]) -> bool:
    return bool(list(saved.glob("*/epoch-*/manifest.json"))) or process.poll() is not None


def reports(root: Path) -> list[Path]:
    return sorted(root.glob("artifacts/*/evaluate/report"))


def wait_until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail(f"a minute passed before {what}")


def processes_that_mention(text: str) -> list[str]:
    found = []
    for file in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = file.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if text in line and "executor_main" in line:
            found.append(line)
    return found


def test_a_wrong_config_is_one_line(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    result = run(inputs, tmp_path, "--set", "train.epochs=none")
    assert result.returncode == 2
    assert result.stderr.splitlines()[-1].startswith(f"error: {inputs[1]}: train.epochs: ")
    assert len(result.stderr.splitlines()) == 1 and not result.stdout


def test_a_root_that_cannot_be_written_is_one_line(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    for result in (run(inputs, tmp_path / "file" / "runs"), pipelines("run", "--root", tmp_path / "file" / "runs")):
        assert result.returncode == 2 and "Traceback" not in result.stderr
        assert result.stderr.splitlines()[-1].endswith(
            "file/runs: cannot be written: Not a directory; name another folder with --root (make: ROOT=)"
        )


def test_a_stage_that_refuses_its_input_ends_the_run_with_its_one_line(tmp_path: Path) -> None:
    _, config = write_inputs(tmp_path)
    data = write_pickle(tmp_path / "wrong.pkl", joints=20)
    result = run((data, config), tmp_path / "runs")
    assert result.returncode == 2
    last = result.stderr.splitlines()[-1]
    assert last.startswith("error: preprocess: ") and "20" in last and "15" in last
    assert "Traceback" not in result.stderr


@pytest.mark.parametrize(("given", "missing"), [("--data", "CONFIG="), ("--config", "DATA=")])
def test_data_and_config_come_together(inputs: tuple[Path, Path], tmp_path: Path, given: str, missing: str) -> None:
    result = pipelines("run", given, inputs[0] if given == "--data" else inputs[1], "--root", tmp_path)
    assert result.returncode == 2
    assert missing in result.stderr.splitlines()[-1]
