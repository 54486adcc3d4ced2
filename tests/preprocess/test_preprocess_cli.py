"""The stage from a shell: a summary on success, one line and status 2 on a user's mistake."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import pytest
from pickles import annotation, content, dump, write_experiment
from shell import Ended, calls

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


@pytest.fixture(scope="module")
def ended(repository: Path, tmp_path_factory: pytest.TempPathFactory) -> dict[str, Ended]:
    """What became of some commands, by what is said of each mistake."""
    folder = tmp_path_factory.mktemp("mistakes")
    settings = write_experiment(folder / "experiment.yaml")
    (folder / "text.pkl").write_text("not a pickle")
    good, out = dump(folder / "in.pkl", content()), folder / "out"
    cases = {
        "does not start like a pickle": (folder / "text.pkl", settings, out),
        "no such file": (folder / "none.pkl", settings, out),
        "cannot be read": (good, folder / "none.yaml", out),
        "scheme 'ftp' is not supported": (good, settings, "ftp://host/out"),
        "cannot be written": (good, settings, folder / "text.pkl" / "out"),
    }
    commands = [["run", source, "--config", config, "--output", output] for source, config, output in cases.values()]
    found = calls(repository, *commands, ["run", "--help"])
    assert not out.exists()
    return dict(zip([*cases, "help"], found, strict=True))


@pytest.mark.parametrize(
    "expected",
    [
        "does not start like a pickle",
        "no such file",
        "cannot be read",
        "scheme 'ftp' is not supported",
        "cannot be written",
    ],
)
def test_mistakes_are_one_line_and_status_2(ended: dict[str, Ended], expected: str) -> None:
    done = ended[expected]
    assert done.returncode == 2 and done.stdout == ""
    lines = done.stderr.splitlines()
    assert len(lines) == 1 and lines[0].startswith("error: ") and expected in lines[0]


def test_help_shows_an_example(ended: dict[str, Ended]) -> None:
    done = ended["help"]
    assert done.returncode == 0 and "Example" in done.stdout and "skipped.jsonl" in done.stdout
