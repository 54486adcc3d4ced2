"""The whole pipeline on this machine, with its real stages, through the command that users type."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path

import psutil
import pytest
from small_experiment import ROOT, Run, cached, command, pipelines, said, write_inputs, write_pickle

from components.contracts import model, report
from pipelines.local.folders import Uses

one_first_run = pytest.mark.xdist_group("local run")
"""The tests that share ``first_run`` run in one process."""


def run(inputs: tuple[Path, Path], root: Path, *more: str) -> subprocess.CompletedProcess[str]:
    data, config = inputs
    return pipelines("run", "--data", data, "--config", config, "--root", root, *more)


@one_first_run
def test_a_run_ends_with_the_path_of_its_report(first_run: Run) -> None:
    root, result = first_run.root, first_run.result
    assert result.returncode == 0, result.stderr
    last = result.stdout.splitlines()[-1]
    assert Path(last) == root / "small" / "report.html"
    assert "<html" in Path(last).read_text()
    metrics = json.loads((root / "small" / "metrics.json").read_text())
    assert metrics["headline"]["streams"] == ["j", "b"]
    assert {(row["stream"], row["round"]) for row in metrics["streams"]} == {(s, r) for s in "jb" for r in (1, 2)}
    assert "temporal convolution" in {baseline["name"] for baseline in metrics["baselines"]}


@one_first_run
def test_the_user_sees_every_task_and_nothing_of_kfp(first_run: Run) -> None:
    result = first_run.result
    trained = [
        f"{stage} {stream} round {r}"
        for stage, last in (("train", 2), ("agent", 1))
        for stream in "jb"
        for r in range(1, last + 1)
    ]
    for task in ("configure", "preprocess", "agent prior", "baseline", *trained, "model", "evaluate"):
        assert any(line.startswith(task) and "done in" in line for line in result.stderr.splitlines()), task
    assert "KFP" not in result.stderr and "Traceback" not in result.stderr
    assert "[KFP Executor" in first_run.log


@one_first_run
def test_the_log_says_what_happened_in_plain_text(first_run: Run) -> None:
    log = first_run.log
    assert "\x1b" not in log
    assert "test top-1" in log and "Task 'evaluate' finished with status SUCCESS" in log
    assert "Got executor_input" not in log and "nw_ucla" not in log, "neither each task's inputs nor the presets"
    assert max(map(len, log.splitlines())) < 700


@one_first_run
def test_a_run_leaves_nothing_in_the_temporary_folder(first_run: Run) -> None:
    assert list(first_run.temporary.iterdir()) == []
    assert not (first_run.root / "small" / "tmp").exists()


@one_first_run
def test_tensorboard_has_every_training_by_its_run(first_run: Run) -> None:
    board = first_run.root.parent / "board" / "small"
    assert {folder.name for folder in board.iterdir()} == {"j-r1", "j-r2", "b-r1", "b-r2"}
    assert all(list(folder.glob("events.out.tfevents.*")) for folder in board.iterdir())


@one_first_run
def test_a_run_lists_what_it_used(first_run: Run) -> None:
    """By this ``runs delete`` knows what to take away."""
    uses, artifacts = Uses.read(first_run.root / "small"), first_run.root / "artifacts"
    made = {str(file.parent.relative_to(artifacts)) for file in artifacts.rglob("manifest.json")}
    used = {name for name in made if any(f"{name}/".startswith(f"{path}/") for path in uses.artifacts)}
    first = min(name.partition("/")[0] for name in made)
    assert {name for name in made if name.startswith(first)} <= used
    assert {f"{key}.json" for key in uses.keys} <= {file.name for file in (first_run.root / "cache").glob("*.json")}


@one_first_run
def test_the_list_of_runs_has_it(first_run: Run) -> None:
    _, listed = said("runs", "--root", first_run.root)
    (line,) = [line for line in listed.splitlines() if line.startswith("small ")]
    metrics = json.loads((first_run.root / "small" / "metrics.json").read_text())
    assert f"{metrics['headline']['top1']:.1%}" in line and "finished" in line and " MB" in line


@one_first_run
def test_a_run_leaves_its_model_which_takes_no_space_of_its_own(first_run: Run) -> None:
    home = first_run.root / "small"
    opened = model.open(home / "model")
    assert [(one.stream, one.weight) for one in opened.document.streams] == [("j", 2), ("b", 2)]
    # Another run in this root has a model too: one of them is this run's, file for file.
    assert any(
        all(
            file.samefile(home / "model" / file.relative_to(made.parent)) for file in made.parent.rglob("*.safetensors")
        )
        for made in (first_run.root / "artifacts").rglob("model.json")
        if made.read_bytes() == (home / "model" / "model.json").read_bytes()
    )


@one_first_run
def test_the_same_run_again_comes_from_the_cache(inputs: tuple[Path, Path], first_run: Run) -> None:
    root = first_run.root
    report_before = (root / "small" / "report.html").read_bytes()
    again = run(inputs, root)
    assert again.returncode == 0, again.stderr
    once = ("configure", "preprocess", "agent-prior", "baseline", "model", "evaluate")
    assert cached(again) == {**dict.fromkeys(once, 1), "agent": 2, "train": 4}
    assert (root / "small" / "report.html").read_bytes() == report_before


@one_first_run
@pytest.mark.slow
def test_another_learning_rate_repeats_neither_preprocess_nor_the_prior(
    inputs: tuple[Path, Path], first_run: Run
) -> None:
    root = first_run.root
    before = (root / "small" / "report.html").read_bytes()
    changed = run(inputs, root, "--set", "train.learning_rate=0.001", "--rounds", "1", "--streams", "j")
    assert changed.returncode == 0, changed.stderr
    assert cached(changed) == {"preprocess": 1, "agent-prior": 1, "baseline": 1}
    assert (root / "small" / "report.html").read_bytes() == before, "the first run keeps its report"
    assert Path(changed.stdout.splitlines()[-1]) == root / "small-2" / "report.html"
    assert "another run of this name keeps its report" in changed.stderr


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
    wait_until(lambda: not processes_below(tmp_path), "the training ended with its run")

    again = pipelines(*arguments)
    assert again.returncode == 0, again.stderr
    assert "resuming after epoch" in again.stderr
    assert not list(tmp_path.glob("small/resume/*")), "a finished round keeps no state"
    uninterrupted = pipelines(*arguments[:-1], tmp_path / "other")
    assert uninterrupted.returncode == 0, uninterrupted.stderr
    assert [report.open(path).digest for path in reports(tmp_path)] == [
        report.open(path).digest for path in reports(tmp_path / "other")
    ], "an interrupted training must give the same bytes"


@pytest.mark.slow
@pytest.mark.parametrize(("which", "whom"), [("SIGINT", "run"), ("SIGTERM", "run"), ("SIGKILL", "task")])
def test_a_run_that_ends_early_leaves_no_process_and_no_temporary_file(
    inputs: tuple[Path, Path], tmp_path: Path, which: str, whom: str
) -> None:
    temporary, root = tmp_path / "tmp", tmp_path / "runs"
    temporary.mkdir()
    settings = ("--rounds", "1", "--streams", "j", "--set", "train.epochs=500", "--root", root)
    arguments = command("run", "--data", inputs[0], "--config", inputs[1], *settings)
    environment = {**os.environ, "TMPDIR": str(temporary)}
    with subprocess.Popen(arguments, cwd=ROOT, env=environment, stderr=subprocess.PIPE, text=True) as running:
        assert running.stderr is not None
        for line in running.stderr:
            if line.startswith("train j round 1"):
                break
        (task,) = processes_below(root)
        os.kill(running.pid if whom == "run" else task.pid, getattr(signal, which))
        rest = running.stderr.read()
    assert running.returncode == (1 if whom == "task" else 128 + getattr(signal, which)), rest
    assert rest.splitlines()[-1].startswith(
        "error: train j round 1: ended without a word" if whom == "task" else "inter"
    )
    wait_until(lambda: not processes_below(root), "its task ended")
    assert list(temporary.iterdir()) == [] and not list(root.glob("*/tmp"))
    assert "interrupted" in pipelines("runs", "--root", root).stdout or whom == "task"


def saved_or_over(saved: Path, process: subprocess.Popen[bytes]) -> bool:
    return bool(list(saved.glob("*/epoch-*/manifest.json"))) or process.poll() is not None


def reports(root: Path) -> list[Path]:
    return sorted(root.glob("artifacts/*/evaluate/report"))


def wait_until(condition: Callable[[], bool], what: str) -> None:
    for _ in range(3000):
        if condition():
            return
        time.sleep(0.1)
    pytest.fail(f"five minutes passed before {what}")


def processes_below(root: Path) -> list[psutil.Process]:
    """Return the tasks that run for a root of runs."""
    found = []
    for process in psutil.process_iter():
        with contextlib.suppress(psutil.Error):
            words = process.cmdline()
            if "pipelines.local.executor" in words and words[-1].startswith(f"{root}/"):
                found.append(process)
    return found


def test_a_wrong_config_is_one_line(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    data, config = inputs
    options = ("--data", data, "--config", config, "--root", tmp_path)
    status, text = said("run", *options, "--set", "train.epochs=none")
    (line,) = text.splitlines()
    assert status == 2 and line.startswith(f"error: {config}: train.epochs: ")
    _, text = said("run", *options, "--set", "train.epoch=3")
    assert text == f"error: {config}: train.epoch: no such key; did you mean train.epochs?\n"


def test_a_root_that_cannot_be_written_is_one_line(inputs: tuple[Path, Path], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    root = tmp_path / "file" / "runs"
    for options in (("--data", inputs[0], "--config", inputs[1]), ()):
        status, text = said("run", *options, "--root", root)
        expected = f"error: {root}: cannot be written: Not a directory; name another folder with --root (make: ROOT=)\n"
        assert (status, text) == (2, expected)


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
    status, text = said("run", given, inputs[0] if given == "--data" else inputs[1], "--root", tmp_path)
    assert status == 2
    assert missing in text.splitlines()[-1]


def test_a_checkout_that_cannot_be_written_is_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """On a real read-only file system: root may write wherever permissions alone are lacking."""
    folder = tmp_path / "checkout"
    folder.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "ro", "tmpfs", folder], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip(f"no file system can be mounted here: {mounted.stderr.decode().strip()}")
    try:
        monkeypatch.chdir(folder)
        status, text = said("run")
    finally:
        monkeypatch.chdir(tmp_path)
        subprocess.run(["umount", folder], check=True)
    assert (status, text.splitlines()) == (
        2, ["error: runs: cannot be written: Read-only file system; name another folder with --root (make: ROOT=)"]
    )  # fmt: skip
