"""The command line, as a user meets it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from agent_helpers import Scene

from components.agent.__main__ import app
from components.agent.core import run_round
from components.contracts import constraints
from components.contracts.config import load_experiment
from components.runtime.cli import run
from components.runtime.logs import LOGGER

Command = Callable[..., int]


@pytest.fixture(autouse=True)
def own_log_handlers(monkeypatch: pytest.MonkeyPatch) -> None:
    """The command line sets up logging to this test's stderr, which must not outlive the test."""
    logger = logging.getLogger(LOGGER)
    monkeypatch.setattr(logger, "handlers", [])
    monkeypatch.setattr(logger, "propagate", False)


@pytest.fixture
def command(monkeypatch: pytest.MonkeyPatch) -> Command:
    """Run the command line in this process and return its exit status."""

    def call(*arguments: str) -> int:
        monkeypatch.setattr(sys, "argv", ["agent", *arguments])
        monkeypatch.setenv("COLUMNS", "160")
        with pytest.raises(SystemExit) as ended:
            run(app)
        return int(ended.value.code or 0)

    return call


@pytest.fixture
def config(repository: Path) -> str:
    return str(repository / "pipelines" / "configs" / "demo.yaml")


def test_module_runs_a_round(repository: Path, config: str, tmp_path: Path) -> None:
    arguments = [sys.executable, "-m", "components.agent", "run", "--config", config, "--output", str(tmp_path / "c0")]
    ran = subprocess.run(arguments, cwd=repository, env=dict(os.environ), capture_output=True, text=True, check=False)
    assert ran.returncode == 0, ran.stderr
    assert ran.stdout == ""
    assert "round 0: 0 classes asked; 10 prior" in ran.stderr
    assert len(constraints.open(tmp_path / "c0").classes) == 10


def test_later_round_and_show(
    scene: Scene, command: Command, repository: Path, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = load_experiment(Path(config)).stage_agent()
    run_round(stage, tmp_path / "c0")
    confusion = scene.confusion(stage, {("reading", "writing"): 4}, stream="b")
    given = ["--confusion", str(confusion), "--previous", str(tmp_path / "c0")]
    run_it = ["run", "--config", config, "--output", str(tmp_path / "c1"), "--round", "1", "--stream", "b", *given]
    assert command(*run_it) == 0
    assert command("show", str(tmp_path / "c1")) == 0
    shown = capsys.readouterr().out
    assert "Round 1, stream b, layout ntu25" in shown
    assert "'writing'" in shown
    assert "answered (offline)" in shown
    assert "not asked:" in shown


def test_show_prints_names_with_brackets_as_they_are(
    scene: Scene, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    run_round(scene.stage(classes=("jump [red]", "[/] sit")), tmp_path / "c0")
    assert command("show", str(tmp_path / "c0")) == 0
    shown = capsys.readouterr().out
    assert "jump [red]" in shown
    assert "[/] sit" in shown


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["show", "nowhere"], "error: nowhere: no such file or directory"),
        (["run", "--config", "absent.yaml", "--output", "x"], "error: absent.yaml: cannot be read: No such file"),
        (["run", "--config", "CONFIG", "--output", "x", "--round", "1"], "error: round 1 needs the confusion artifact"),
        (["run", "--config", "CONFIG", "--output", "ftp://b/x"], "error: ftp://b/x: scheme 'ftp' is not supported"),
        (["show", "HERE"], "not an artifact: manifest.json is missing"),
    ],
)
def test_mistakes_are_one_line(
    command: Command, config: str, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], error: str
) -> None:
    known = {"CONFIG": config, "HERE": str(tmp_path)}
    assert command(*(known.get(argument, argument) for argument in arguments)) == 2
    said = capsys.readouterr().err
    assert error in said
    assert said.startswith("error: ")
    assert len(said.strip().splitlines()) == 1


def test_missing_key_is_one_line(
    command: Command, config: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    document = Path(config).read_text().replace("provider: offline", "provider: openai")
    (tmp_path / "e.yaml").write_text(document)
    assert command("run", "--config", str(tmp_path / "e.yaml"), "--output", str(tmp_path / "c")) == 2
    assert capsys.readouterr().err == (
        "error: OPENAI_API_KEY: not set in the environment; agent.provider 'openai' needs it or an agent.base_url\n"
    )


def test_help_explains_and_shows_an_example(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("run", "--help") == 0
    shown = capsys.readouterr().out
    assert "python -m components.agent run --config" in shown
    for option in ("--config", "--output", "--round", "--stream", "--confusion", "--previous"):
        assert option in shown
    assert command("--help") == 0
    assert "OPENAI_API_KEY" in capsys.readouterr().out
