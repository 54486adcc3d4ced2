"""The stage from a shell: a summary on success, one line and status 2 on a user's mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pickles import annotation, content, dump, write_experiment

from components.contracts import dataset


@pytest.fixture
def experiment(tmp_path: Path) -> Path:
    return write_experiment(tmp_path / "experiment.yaml")


def call(repository: Path, *arguments: object) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, "-m", "components.preprocess", *map(str, arguments)]
    return subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=60, check=False)


def test_success_prints_a_summary(repository: Path, tmp_path: Path, experiment: Path) -> None:
    source = dump(tmp_path / "in.pkl", content(annotation("[red]odd[/red]", 5)))
    done = call(repository, "run", source, "--config", experiment, "--output", tmp_path / "out")
    assert done.returncode == 0, done.stderr
    assert "4 samples packed, 1 skipped" in done.stdout
    assert "48 frames" in done.stdout and "train" in done.stdout
    assert "skipped [red]odd[/red]: label: found 5, expected 0 to 1" in done.stdout
    assert "1 samples skipped, see skipped.jsonl" in done.stderr
    assert len(dataset.open(tmp_path / "out")) == 4


def test_mistakes_are_one_line_and_status_2(repository: Path, tmp_path: Path, experiment: Path) -> None:
    (tmp_path / "text.pkl").write_text("not a pickle")
    good, out = dump(tmp_path / "in.pkl", content()), tmp_path / "out"
    cases = [
        (tmp_path / "text.pkl", experiment, out, "does not start like a pickle"),
        (tmp_path / "none.pkl", experiment, out, "no such file"),
        (good, tmp_path / "none.yaml", out, "cannot be read"),
        (good, experiment, "ftp://host/out", "scheme 'ftp' is not supported"),
        (good, experiment, tmp_path / "text.pkl" / "out", "cannot be written"),
    ]
    for source, settings, output, expected in cases:
        done = call(repository, "run", source, "--config", settings, "--output", output)
        assert done.returncode == 2 and done.stdout == ""
        lines = done.stderr.splitlines()
        assert len(lines) == 1 and lines[0].startswith("error: ") and expected in lines[0]
    assert not out.exists()


def test_help_shows_an_example(repository: Path) -> None:
    done = call(repository, "run", "--help")
    assert done.returncode == 0 and "Example" in done.stdout and "skipped.jsonl" in done.stdout
