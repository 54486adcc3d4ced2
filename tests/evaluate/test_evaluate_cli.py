"""The stage from a shell."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from click.testing import Result
from made_runs import Run, experiment, make_run, numbers
from typer.testing import CliRunner

from components.contracts.artifact import digest
from components.evaluate.__main__ import app
from components.evaluate.core import evaluate


def shell(*arguments: str | Path) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "COLUMNS": "200", "NO_COLOR": "1"}
    command = [sys.executable, "-m", "components.evaluate", *map(str, arguments)]
    return subprocess.run(command, capture_output=True, text=True, env=environment, check=False)


def invoked(*arguments: str | Path) -> Result:
    """The command within this process, which a second of imports need not precede."""
    return CliRunner().invoke(app, list(map(str, arguments)), env={"COLUMNS": "200", "NO_COLOR": "1"})


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Run:
    return make_run(tmp_path_factory.mktemp("run"), experiment())


@pytest.fixture
def config(run: Run, tmp_path: Path) -> Path:
    file = tmp_path / "my.yaml"
    file.write_text(yaml.safe_dump(run.experiment.model_dump(mode="json")))
    return file


def options(run: Run) -> list[str | Path]:
    lists = (("--scores", run.scores), ("--confusion", run.confusions), ("--constraints", run.constraints))
    return [part for option, paths in lists for path in paths.values() for part in (option, path)]


def test_it_writes_the_report_of_the_core_and_prints_its_path(run: Run, config: Path, tmp_path: Path) -> None:
    done = shell("run", "--config", config, *options(run), "--output", tmp_path / "cli")
    assert done.returncode == 0, done.stderr
    evaluate(*run.arguments(tmp_path / "core"))
    assert digest(tmp_path / "cli") == digest(tmp_path / "core")
    lines = done.stdout.splitlines()
    assert lines[-1] == f"{tmp_path / 'cli'}/report.html"
    top1 = f"{numbers(tmp_path / 'cli')['headline']['top1']:.1%}"
    assert f"made: {top1} top-1, cross-subject" in done.stdout
    assert any("configured (j+b)" in line and top1 in line for line in lines)


def test_settings_replace_values(run: Run, config: Path, tmp_path: Path) -> None:
    setting = ("--set", "evaluate.weights={j: 1, b: 0}")
    done = invoked("run", "--config", config, *options(run), "--output", tmp_path / "r", *setting)
    assert done.exit_code == 0, done.output
    assert numbers(tmp_path / "r")["headline"]["streams"] == ["j"]


def test_a_mistake_is_one_line(run: Run, config: Path, tmp_path: Path) -> None:
    done = shell("run", "--config", config, "--scores", tmp_path / "nowhere", "--output", tmp_path / "r")
    assert done.returncode == 2
    assert done.stderr.strip() == f"error: {tmp_path / 'nowhere'}: no such file or directory"
    assert not (tmp_path / "r").exists()


def test_help() -> None:
    done = invoked("run", "--help")
    assert done.exit_code == 0
    for word in ("--scores", "--confusion", "--constraints", "--output", "Example", "report.html"):
        assert word in done.stdout
