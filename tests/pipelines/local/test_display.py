"""What a run shows of its tasks where there is no terminal."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from components.runtime import events
from pipelines.local import display
from pipelines.local.display import Display


def test_a_long_training_says_how_long_the_run_will_take(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(events.VARIABLE, str(tmp_path / "events.jsonl"))
    seconds = iter(range(0, 1000, 20))
    output = io.StringIO()
    name = "train j round 1"
    with Display(tmp_path / "events.jsonl", Console(file=output, width=200), 2, lambda: next(seconds)):
        events.name_task(name)
        events.emit("start")
        for done in (0, 10, 50):
            events.emit("progress", title=name, done=done, total=100, note="epoch 1/4")
    assert f"{name}    50/100 epoch 1/4; the run: about 2 min left" in output.getvalue()


def test_an_error_keeps_its_kind(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv(events.VARIABLE, str(tmp_path / "events.jsonl"))
    with Display(tmp_path / "events.jsonl", Console(file=io.StringIO())) as shown:
        events.name_task("preprocess")
        events.emit("start")
        events.emit("error", text="s3://lab: busy", input=True, status=75)
    assert shown.errors == [display.TaskError("preprocess", "s3://lab: busy", 75)]
