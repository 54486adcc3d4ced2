"""Shows a running pipeline: a bar per running task on a terminal, lines where there is none, and the time left.

The tasks write events (``components.runtime.events``) into one file; this follows it.
"""

from __future__ import annotations

import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import TracebackType
from typing import Any

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn

from pipelines.local.eta import Estimate, words

POLL_S = 0.1
LINE_EVERY_S = 10.0


@dataclass(frozen=True)
class TaskError:
    """Why a task failed; ``status``: its exit status, by which the kind of the error is known; 1 is a defect."""

    task: str
    text: str
    status: int


class Display:
    """Follows the events of a run of so many ``trainings`` between ``with`` and its end; ``clock`` counts seconds."""

    def __init__(
        self, events: Path, console: Console, trainings: int = 0, clock: Callable[[], float] = time.monotonic
    ) -> None:
        self.errors: list[TaskError] = []
        self.running: dict[str, float] = {}
        self.cached: Counter[str] = Counter()
        self.finished = 0
        self._estimate = Estimate(trainings)
        self._console = console
        self._events = events
        self._clock = clock
        self._bars = Progress(
            TextColumn("{task.description}"),
            BarColumn(bar_width=24),
            MofNCompleteColumn(),
            TimeElapsedColumn(),
            TextColumn("{task.fields[note]}"),
            console=console,
            transient=True,
            disable=not console.is_terminal,
        )
        self._bar_of: dict[str, TaskID] = {}
        self._whole: TaskID | None = None
        self._last_line: dict[str, float] = {}
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._follow, daemon=True)

    def __enter__(self) -> Display:
        self._events.write_text("")
        if self._estimate.trainings:
            self._whole = self._bars.add_task("all trainings", total=self._estimate.trainings, note="")
        self._bars.start()
        self._thread.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.stop()

    def stop(self) -> None:
        """Show what is left to show and give the terminal back."""
        self._over.set()
        self._thread.join(timeout=5)
        self._bars.stop()

    def line(self, who: str, text: str, style: str = "") -> None:
        """Print one lasting line."""
        body = f"[{style}]{escape(text)}[/]" if style else escape(text)
        self._console.print(f"[bold]{escape(who):<18}[/] {body}", highlight=False, soft_wrap=True)

    def _follow(self) -> None:
        with self._events.open(encoding="utf-8") as stream:
            rest = ""
            while True:
                over = self._over.is_set()  # read before the file, so that nothing written earlier is missed
                *lines, rest = (rest + stream.read()).split("\n")
                for line in lines:
                    self._show(json.loads(line))
                if over:
                    return
                self._over.wait(POLL_S)

    def _show(self, event: dict[str, Any]) -> None:
        task = event["task"]
        match event["event"]:
            case "start":
                self.running[task] = self._clock()
                self._bar_of[task] = self._bars.add_task(task, total=None, note="")
                if not self._console.is_terminal:
                    self.line(task, "started")
            case "progress":
                self._progress(task, event)
            case "log":
                self.line(task, event["text"], {"WARNING": "yellow", "ERROR": "red"}.get(event["level"], ""))
            case "end":
                self._finish(task)
                self.finished += 1
                self.line(task, f"done in {event['seconds']:.1f} s", "green")
            case "error":
                self._finish(task)
                self.errors.append(TaskError(task, event["text"], event.get("status", 1)))
                self.line(task, event["text"], "red")

    def _progress(self, task: str, event: dict[str, Any]) -> None:
        note = event["note"] if event["title"] == task else f"{event['title']} {event['note']}".rstrip()
        self._bars.update(self._bar_of[task], total=event["total"], completed=event["done"], note=note)
        now = self._clock()
        left = self._time_left(task, event, now) if event["title"] == task and event["total"] else ""
        since = self._last_line.setdefault(task, self.running.get(task, now))
        if not self._console.is_terminal and now - since >= LINE_EVERY_S:
            self._last_line[task] = now
            self.line(
                task, f"{event['done']}/{event['total']} {note}".rstrip() + (f"; the run: {left}" if left else "")
            )

    def _time_left(self, task: str, event: dict[str, Any], now: float) -> str:
        """Take a training's progress into the estimate; return what it says of the whole run, if anything."""
        if not task.startswith("train "):
            return ""
        self._estimate.progress(task, event["done"] / event["total"], now)
        cached = self.cached["train"]
        seconds = self._estimate.left(now, cached)
        left = "" if seconds is None else f"about {words(seconds)} left"
        if self._whole is not None:
            self._bars.update(self._whole, completed=int(self._estimate.done) + cached, note=left)
        return left

    def _finish(self, task: str) -> None:
        self.running.pop(task, None)
        if task in self._bar_of:
            self._bars.remove_task(self._bar_of.pop(task))
