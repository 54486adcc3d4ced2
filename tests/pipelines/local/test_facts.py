"""What a run's page says about the run itself."""

from __future__ import annotations

import shlex
from itertools import pairwise
from pathlib import Path

from components.evaluate.report.facts import MARK, RunFacts
from components.runtime.cli import parse_settings
from pipelines.local.facts import add_facts, command, machine


def test_the_command_repeats_the_run() -> None:
    settings = {"train.epochs": 4, "streams": ["j", "b"], "name": "it's mine", "train.mix": False}
    text = command(Path("my data.pkl"), Path("my.yaml"), settings, Path("elsewhere"), "", in_containers=True)
    words = shlex.split(text)
    assert words[:8] == ["python", "-m", "pipelines", "run", "--data", "my data.pkl", "--config", "my.yaml"]
    assert words[-3:] == ["--root", "elsewhere", "--containers"]
    assert parse_settings([after for word, after in pairwise(words) if word == "--set"]) == settings


def test_they_are_put_on_the_page(tmp_path: Path) -> None:
    page = tmp_path / "report.html"
    page.write_text(f"<main>ü {MARK}</main>", encoding="utf-8")
    add_facts(page, RunFacts(machine=machine(2), model="runs/x/model"))
    html = page.read_text(encoding="utf-8")
    assert "ü" in html
    assert "2 cores, " in html
    assert "<code>runs/x/model</code>" in html
