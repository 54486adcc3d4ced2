"""The command line, as a user meets it."""

from __future__ import annotations

import logging
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
import yaml
from agent_helpers import Scene

from components.agent.__main__ import app
from components.agent.core import run_round
from components.agent.round import Round
from components.agent.show.figure import draw, place
from components.contracts import constraints
from components.contracts.config import load_experiment
from components.contracts.constraints import ClassConstraint, Provenance
from components.contracts.skeleton import inline_layout, layout_names, load_layout
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
    run_round(Round(stage), tmp_path / "c0")
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
    run_round(Round(scene.stage(classes=("jump [red]", "[/] sit"))), tmp_path / "c0")
    assert command("show", str(tmp_path / "c0")) == 0
    shown = capsys.readouterr().out
    assert "jump [red]" in shown
    assert "[/] sit" in shown


def test_plan_says_whom_it_would_ask_and_asks_nobody(
    scene: Scene, command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)
    prices = {"gpt-4o": {"prompt": 2.5, "completion": 10}}
    stage = scene.stage(provider="openai", prices=prices, max_requests=1)
    config = tmp_path / "e.yaml"
    experiment = {"name": "e", "train": {"epochs": 2}, **stage.model_dump(mode="json")}
    config.write_text(yaml.safe_dump(experiment))
    run_round(Round(scene.stage()), tmp_path / "c0")
    confusion = scene.confusion(stage, {("throw", "carry"): 4})
    round_one = ["--round", "1", "--stream", "j", "--confusion", str(confusion), "--previous", str(tmp_path / "c0")]
    assert command("plan", "--config", str(config), *round_one) == 0
    shown = capsys.readouterr().out
    assert "1 of 10 classes are asked; about" in shown
    assert "confused with carry (4)" in shown
    assert "beyond this round's max_requests (1)" in shown
    assert "no confusion above the thresholds" in shown
    assert "cost 0.0" in shown


def test_diff_prints_what_a_round_changed(
    scene: Scene, command: Command, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    stage = scene.stage()
    run_round(Round(stage), tmp_path / "c0")
    confusion = scene.confusion(stage, {("walk around", "carry"): 9})
    run_round(Round(stage, stream="j", number=1, confusion=confusion, previous=tmp_path / "c0"), tmp_path / "c1")
    assert command("show", "--diff", str(tmp_path / "c0"), str(tmp_path / "c1")) == 0
    shown = capsys.readouterr().out
    assert "2 of 10 classes changed" in shown
    assert "– → carry" in shown
    assert "−" in shown and "+ " in shown
    assert "donning" not in shown


def test_plot_draws_a_class(scene: Scene, command: Command, tmp_path: Path) -> None:
    run_round(Round(scene.stage(classes=("throw", "$x^ [red]"))), tmp_path / "c0")
    pictures = []
    for number, wanted in enumerate(("Throw", "0", "$x^ [red]")):
        output = tmp_path / f"{number}.png"
        assert command("show", str(tmp_path / "c0"), "--plot", wanted, "--output", str(output)) == 0
        pictures.append(output.read_bytes())
    assert all(picture.startswith(b"\x89PNG") for picture in pictures)
    assert pictures[0] == pictures[1] != pictures[2]


def test_every_joint_of_every_layout_has_its_place_in_the_picture(tmp_path: Path) -> None:
    own = {
        "name": "mine",
        "joints": ["root", "left_arm", "tip"],
        "parents": {"root": "root", "left_arm": "root", "tip": "left_arm"},
    }
    layouts = [*(load_layout(name) for name in layout_names()), load_layout(inline_layout(own))]
    for layout in layouts:
        places = [place(joint, layout) for joint in layout.joints]
        assert len(set(places)) >= len(places) - 1, layout.name  # torso and spine are one place
    origin = Provenance(status="prior", provider="offline")
    for layout in (load_layout("mediapipe33"), layouts[-1]):
        every = tuple(range(len(layout.joints)))
        constraint = ClassConstraint(label=0, name="n", description="d", joints=every, provenance=origin)
        draw(constraint, layout, tmp_path / "all.png")
        assert (tmp_path / "all.png").stat().st_size > 10_000 - 2_500 * (len(every) < 5)


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["--diff", "A"], "error: ARTIFACT: 1 found, 2 expected with --diff"),
        (["A", "A"], "error: ARTIFACT: 2 found, 1 expected"),
        (["A", "--plot", "jump"], "error: --output is missing"),
        (["A", "--plot", "jump", "--output", "x.png"], "error: --plot: found 'jump', expected one of: 0 pick up"),
        (["A", "--plot", "throw", "--output", "x.svg"], "error: --output: found 'x.svg', expected a name that ends"),
        (["A", "--plot", "throw", "--output", "/nowhere/x.png"], "error: /nowhere/x.png: cannot be written"),
        (["--diff", "A", "A", "--plot", "throw"], "error: --diff and --plot: found both, expected one"),
        (["--diff", "A", "B"], "error: --diff: the two are of different classes"),
    ],
)
def test_mistakes_in_showing_are_one_line(
    scene: Scene,
    command: Command,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    error: str,
) -> None:
    run_round(Round(scene.stage()), tmp_path / "a")
    run_round(Round(scene.stage(classes=("throw", "carry"))), tmp_path / "b")
    known = {"A": str(tmp_path / "a"), "B": str(tmp_path / "b")}
    capsys.readouterr()
    assert command("show", *(known.get(argument, argument) for argument in arguments)) == 2
    said = capsys.readouterr().err
    assert said.startswith(error)
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize(
    ("arguments", "error"),
    [
        (["show", "nowhere"], "error: nowhere: no such file or directory"),
        (["run", "--config", "absent.yaml", "--output", "x"], "error: absent.yaml: cannot be read: No such file"),
        (["run", "--config", "CONFIG", "--output", "x", "--round", "1"], "error: round 1 needs the confusion artifact"),
        (["run", "--config", "CONFIG", "--output", "ftp://b/x"], "error: ftp://b/x: scheme 'ftp' is not supported"),
        (["plan", "--config", "CONFIG", "--round", "1"], "error: round 1 needs the confusion artifact"),
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


def test_serve_needs_a_token_a_store_and_sensible_endpoints(
    command: Command, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    serve = ("serve", "--store", str(tmp_path / "store"))
    monkeypatch.delenv("SKELETONAGENT_AGENT_TOKEN", raising=False)
    assert command(*serve) == 2
    monkeypatch.setenv("SKELETONAGENT_AGENT_TOKEN", "a\nb")
    assert command(*serve) == 2
    monkeypatch.setenv("SKELETONAGENT_AGENT_TOKEN", "token")
    assert command(*serve, "--base-url", "http://host/v1?key=secret") == 2
    (tmp_path / "store").touch()
    assert command(*serve) == 2
    lines = capsys.readouterr().err.splitlines()
    assert [line.partition(": ")[2].split(";")[0] for line in lines] == [
        "SKELETONAGENT_AGENT_TOKEN: not set in the environment",
        "SKELETONAGENT_AGENT_TOKEN: holds characters that no token has, such as line breaks",
        "config: agent.base_url: carries a user, password or query",
        f"{tmp_path / 'store'}: File exists",
    ]


def test_help_explains_and_shows_an_example(command: Command, capsys: pytest.CaptureFixture[str]) -> None:
    assert command("run", "--help") == 0
    shown = capsys.readouterr().out
    assert "python -m components.agent run --config" in shown
    for option in ("--config", "--output", "--round", "--stream", "--confusion", "--previous", "--cache"):
        assert option in shown
    assert command("--help") == 0
    assert "OPENAI_API_KEY" in capsys.readouterr().out
