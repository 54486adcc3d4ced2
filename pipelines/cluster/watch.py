"""Shows the tasks of a run on a cluster: a live table on a terminal, a line for every change elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

from rich.console import Console
from rich.live import Live
from rich.table import Table

from pipelines.cluster.api import Server, UnansweredError

POLL_S = 5.0
PATIENCE_S = 600.0
"""As long may KFP not answer, as while it is upgraded, before the showing ends; runs take days."""
OVER = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
_STYLES = {"SUCCEEDED": "green", "SKIPPED": "dim", "FAILED": "red", "CANCELED": "yellow", "RUNNING": "bold"}


@dataclass(frozen=True)
class Task:
    """One task of ours; ``depth``: how many sub-pipelines and loops it is in; ``seconds``: since its start."""

    id: str
    name: str
    state: str
    depth: int
    seconds: float
    error: str


def tasks_of(run: Any, now: datetime | None = None) -> list[Task]:
    """Return a run's tasks in the order of their start, without the drivers that KFP runs before each."""
    details = (run.run_details.task_details if run.run_details else None) or []
    by_id = {task.task_id: task for task in details}
    moment = now or datetime.now(UTC)
    shown = [task for task in details if task.parent_task_id and not task.display_name.endswith("-driver")]
    shown.sort(key=lambda task: (task.start_time or moment, task.display_name))
    return [
        Task(
            id=task.task_id,
            name=task.display_name,
            state=task.state or "PENDING",
            depth=_depth(task, by_id),
            seconds=((_end(task) or moment) - task.start_time).total_seconds() if task.start_time else 0.0,
            error=" ".join((task.error.message or "").split()) if task.error else "",
        )
        for task in shown
    ]


def follow(server: Server, run_id: str, console: Console) -> str:
    """Show a run until it is over and return its last state."""
    console.print(f"run {run_id}: {server.link(run_id)}", soft_wrap=True, highlight=False)
    state, told = "", dict[str, str]()
    with Live(console=console, auto_refresh=False, transient=False) as live:
        for run in _polled(server, run_id, console):
            state = run.state or "PENDING"
            tasks = tasks_of(run)
            if console.is_terminal:
                live.update(table(tasks, state), refresh=True)
            else:
                _tell(tasks, told, console)
    for line in errors(run):
        console.print(line, style="red", markup=False, soft_wrap=True)
    return state


def errors(run: Any) -> list[str]:
    """Return a line for each task that failed, with what KFP says of it."""
    lines = [f"{task.name}: {task.error or 'failed; see its log'}" for task in tasks_of(run) if task.state == "FAILED"]
    if not lines and run.error and run.error.message:
        lines = [" ".join(run.error.message.split())]
    return lines


def table(tasks: list[Task], state: str) -> Table:
    """Return the tasks as a table."""
    made = Table("task", "state", "time", title=f"run {state.lower()}", title_justify="left", box=None)
    for task in tasks:
        style = _STYLES.get(task.state, "")
        made.add_row(
            "  " * task.depth + task.name,
            f"[{style}]{task.state.lower()}[/]" if style else task.state.lower(),
            duration(task.seconds),
        )
    return made


def duration(seconds: float) -> str:
    """Return hours, minutes and seconds, without hours where there are none."""
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"


def _polled(server: Server, run_id: str, console: Console) -> Iterator[Any]:
    """Yield the run again and again until it is over; ``UnansweredError`` if KFP is away for ``PATIENCE_S``."""
    answered, told = time.monotonic(), False
    while True:
        try:
            run = server.run(run_id)
        except UnansweredError as error:
            if time.monotonic() - answered > PATIENCE_S:
                raise
            if not told:
                console.print(f"{error}; trying again", style="yellow", markup=False, soft_wrap=True)
            told = True
        else:
            answered, told = time.monotonic(), False
            yield run
            if run.state in OVER:
                return
        time.sleep(POLL_S)


def _tell(tasks: list[Task], told: dict[str, str], console: Console) -> None:
    """Print a line for each task whose state is another than was ``told``."""
    for task in tasks:
        if told.get(task.id) != task.state:
            told[task.id] = task.state
            console.print(f"{task.name:<24} {task.state.lower():<10} {duration(task.seconds)}", highlight=False)


def _end(task: Any) -> datetime | None:
    """KFP says 1970 for a task that has not ended."""
    return task.end_time if task.end_time and task.end_time.year > 1970 else None


def _depth(task: Any, by_id: dict[str, Any]) -> int:
    depth, parent = -1, task.parent_task_id
    while parent in by_id:
        depth, parent = depth + 1, by_id[parent].parent_task_id
    return max(depth, 0)
