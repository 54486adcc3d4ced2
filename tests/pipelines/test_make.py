"""What ``make`` hands over to the commands, whatever characters it has."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import typer
from small_experiment import ROOT

from components.contracts.errors import InputError
from pipelines.__main__ import app
from pipelines.make import arguments, settings

pytestmark = pytest.mark.skipif(shutil.which("make") is None, reason="make is not installed")


@pytest.fixture
def make(tmp_path: Path) -> Any:
    """Run make with this Python in the place of an installed environment."""
    python = tmp_path / "env" / "bin" / "python"
    python.parent.mkdir(parents=True)
    python.write_text(f'#!/bin/sh\nexec "{sys.executable}" "$@"\n')
    python.chmod(0o755)
    (tmp_path / "env" / ".installed").touch()
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MAKE")}

    def run(*words: str) -> subprocess.CompletedProcess[str]:
        command = ["make", f"VENV={tmp_path / 'env'}", *words]
        return subprocess.run(command, cwd=ROOT, env=environment, capture_output=True, text=True, timeout=120)

    return run


def first_line(result: subprocess.CompletedProcess[str]) -> str:
    """Return what was said, without make's own last line."""
    said = [line for line in result.stderr.splitlines() if not line.startswith("make: ***")]
    assert len(said) == 1 and result.returncode != 0, result.stderr
    return said[0]


def test_text_reaches_the_command_as_it_was_typed(make: Any) -> None:
    path = '/nowhere/it\'s "my" $HOME `work` (2)/a;b.pkl'
    said = first_line(make("run", f"DATA={path}", "CONFIG=demo", "SET=name=my run train.epochs=4"))
    assert said.startswith("error: ") and "name: String should match pattern" in said and "'my run'" in said
    assert first_line(make("run", f"DATA={path}", "CONFIG=demo")) == f"error: {path}: no such file or folder"


def test_a_variable_in_lower_case_is_answered_with_the_right_one(make: Any) -> None:
    assert "data: no such variable; did you mean DATA?" in first_line(make("run", "data=my.pkl"))
    assert "torch-index: no such variable; did you mean TORCH_INDEX?" in first_line(make("install", "torch-index=x"))


def test_a_variable_of_another_command_is_not_passed_over(make: Any) -> None:
    assert first_line(make("run", "STREAM=j")) == "error: STREAM: make run has no such variable; did you mean STREAMS?"


def test_without_an_engine_there_is_one_line(make: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    client = tmp_path / "bin" / "docker"
    client.parent.mkdir()
    client.write_text("#!/bin/sh\n[ \"$1\" = buildx ] || { echo 'Cannot connect to the Docker daemon' >&2; exit 1; }\n")
    client.chmod(0o755)
    environment = {"PATH": f"{client.parent}:{os.environ['PATH']}", "DOCKER_HOST": f"unix://{tmp_path}/none.sock"}
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    build = [sys.executable, "docker/build.py", "agent", "--torch", "torch==1"]
    images = subprocess.run(build, cwd=ROOT, capture_output=True, text=True, check=False)
    assert images.stderr.splitlines() == ["error: no container engine answers; start one, such as dockerd as root"]
    command = [sys.executable, "-m", "pipelines", "run", "--containers", "--root", str(tmp_path / "runs")]
    run = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False)
    assert run.returncode == 69 and run.stderr.splitlines()[-1].startswith("error: no container engine: ")
    assert "Traceback" not in run.stderr


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", []),
        ("seed=1", ["seed=1"]),
        ("seed=1  train.epochs=4", ["seed=1", "train.epochs=4"]),
        ("data.protocols.p.label=Ann's place seed=1", ["data.protocols.p.label=Ann's place", "seed=1"]),
        ("label='a b=c' seed=1", ["label='a b=c'", "seed=1"]),
        ("data.classes=[sit down, stand up]", ["data.classes=[sit down, stand up]"]),
        ("seed", ["seed"]),
        ("seed name=x", ["seed", "name=x"]),
    ],
)
def test_a_setting_goes_on_until_the_next(text: str, expected: list[str]) -> None:
    assert settings(text) == expected


def test_options_flags_and_arguments() -> None:
    commands: Any = typer.main.get_command(app)
    given = {"MAKE_DATA": "-x y", "MAKE_SET": "seed=1 name=a b", "MAKE_ROUNDS": "", "HOST": "not ours"}
    assert arguments(commands.commands["run"], given) == ["--data=-x y", "--set=seed=1", "--set=name=a b"]
    again = {"MAKE_STAGE": "train", "MAKE_ROUND": "2", "MAKE_DRY_RUN": "1"}
    assert arguments(commands.commands["replay"], again)[-2:] == ["--", "train"]
    with pytest.raises(InputError, match=r"^STREAM: make run has no such variable; did you mean STREAMS"):
        arguments(commands.commands["run"], {"MAKE_GIVEN": "STREAM", "MAKE_STREAM": "j", "MAKE_STREAMS": ""})


@pytest.mark.slow
def test_the_whole_of_it_in_a_folder_that_a_shell_would_misread(tmp_path: Path) -> None:
    """``make run`` as a user has it, in a copy of the tree with this environment."""
    checkout = tmp_path / "my work (2)" / "Ann's"
    checkout.mkdir(parents=True)
    for name in ("components", "pipelines", "docker"):
        shutil.copytree(ROOT / name, checkout / name, ignore=shutil.ignore_patterns("__pycache__", "wheels"))
    for name in ("Makefile", "pyproject.toml", "requirements.lock"):
        shutil.copyfile(ROOT / name, checkout / name)
    prefix = Path(sys.prefix)
    (checkout / ".venv" / "bin").mkdir(parents=True)
    for name in ("lib", "lib64", "pyvenv.cfg"):
        if (prefix / name).exists():
            (checkout / ".venv" / name).symlink_to(prefix / name)
    (checkout / ".venv" / "bin" / "python").symlink_to(Path(sys.executable).resolve())
    (checkout / ".venv" / ".installed").touch()
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "PYTHONPATH"))}
    command = ["make", "run", "STREAMS=j", "SET=train.epochs=1 rounds=1 description=Ann's (2)"]
    result = subprocess.run(command, cwd=checkout, env=environment, capture_output=True, text=True, timeout=600)
    assert result.returncode == 0, result.stderr
    report = checkout / result.stdout.splitlines()[-1]
    assert report == checkout / "runs" / "demo" / "report.html" and "Ann&#39;s (2)" in report.read_text()
    assert not (ROOT / "runs" / "demo" / "tmp").exists()
