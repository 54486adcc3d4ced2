"""Shows a run on a cluster: a line for every change of a task, why one waits, and at the end what came of it."""

from __future__ import annotations

import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Any

from rich.console import Console

from components.contracts.errors import UnavailableError
from pipelines.cluster.api import Server
from pipelines.cluster.outcome import failure_lines, result_lines
from pipelines.cluster.pods import Pod, Pods
from pipelines.cluster.tasks import FAILED, OVER, Task, is_stale, tasks_of

POLL_S = 5.0
PATIENCE_S = 600.0
"""As long may KFP not answer, as while it is upgraded, before the showing ends; runs take days."""
PENDING_S = 30.0
"""A pod that waits longer than this is told with its reason."""
_STYLES = {"succeeded": "green", "cached": "green", "skipped": "dim", FAILED: "red", "stopped": "yellow"}


@dataclass
class Watch:
    """A run, the pods of its namespace (None: no cluster to ask), and where to print."""

    server: Server
    run_id: str
    pods: Pods | None
    console: Console
    _seen: dict[str, Pod] = field(default_factory=dict)
    _told: dict[str, str] = field(default_factory=dict)

    @classmethod
    def of(cls, server: Server, run_id: str, namespace: str, context: str, console: Console) -> Watch:
        """Return a watch of a run whose pods are in ``namespace`` of the kubeconfig's cluster, if there is one."""
        return cls(server, run_id, Pods.connect(namespace, context), console)

    def show(self) -> None:
        """Print what the run's tasks are at now and, if it is over, what came of it."""
        run = self.server.run(self.run_id)
        self._say(f"run {self.run_id}: {run.display_name}: {(run.state or 'PENDING').lower()}")
        self._say(self.server.link(self.run_id))
        for task in self._tasks(run):
            self._line(task)
            self._why_waiting(task)
        self._ending(run)

    def follow(self) -> str:
        """Print the run's changes until it is over, and what came of it; return its last state."""
        self._say(f"run {self.run_id}: {self.server.link(self.run_id)}")
        if self.pods is None:
            self._say("no kubeconfig here: streams, reasons and logs, which only the pods know, are not shown", "dim")
        for run in self._polled():
            for task in self._tasks(run):
                name = f"{task.label} {task.start}" if not task.stream else task.label
                state = f"{task.state} {len(task.pods)}"
                if self._told.get(name) != state:
                    self._told[name] = state
                    self._line(task)
                self._why_waiting(task)
        self._ending(run)
        return str(run.state)

    def _tasks(self, run: Any) -> list[Task]:
        found = self.pods.of_run(self.run_id) if self.pods else None
        self._seen.update({pod.name: pod for pod in found or []})
        return tasks_of(run, sorted(self._seen.values(), key=lambda pod: pod.created))

    def _line(self, task: Task) -> None:
        tries = f"  try {len(task.pods)}" if len(task.pods) > 1 else ""
        driver = "  KFP's driver for it failed" if task.of_driver else ""
        text = f"{task.label:<24} {task.state:<10} {duration(task.seconds):>8}{tries}{driver}"
        self.console.print(text, style=_STYLES.get(task.state, ""), markup=False, highlight=False, soft_wrap=True)

    def _why_waiting(self, task: Task) -> None:
        if task.state != "waiting" or not task.pods or self.pods is None:
            return
        pod = task.pods[-1]
        if (datetime.now(UTC) - pod.created).total_seconds() < PENDING_S:
            return
        reason = self.pods.why_pending(pod)
        if reason and self._told.get(pod.name) != reason:
            self._told[pod.name] = reason
            self._say(f"  {task.label} waits: {reason}", "yellow")

    def _ending(self, run: Any) -> None:
        if run.state not in OVER:
            return
        tasks = self._tasks(run)
        if is_stale(run):
            self._say("KFP's list of tasks is older than the run's end; the user interface shows all", "dim")
        if run.state == "SUCCEEDED":
            for line in result_lines(run, tasks, self.server.link(self.run_id)):
                self._say(line)
        else:
            for line in failure_lines(run, tasks, self.pods, list(self._seen.values())):
                self._say(line, "red" if not line.startswith(" ") else "")

    def _say(self, text: str, style: str = "") -> None:
        self.console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)

    def _polled(self) -> Iterator[Any]:
        """Yield the run again and again until it is over; ``UnavailableError`` if KFP is away for ``PATIENCE_S``."""
        answered, told = time.monotonic(), False
        while True:
            try:
                run = self.server.run(self.run_id)
            except UnavailableError as error:
                if time.monotonic() - answered > PATIENCE_S:
                    raise
                if not told:
                    self._say(f"{error}; trying again", "yellow")
                told = True
            else:
                answered, told = time.monotonic(), False
                yield run
                if run.state in OVER:
                    return
            time.sleep(POLL_S)


def duration(seconds: float) -> str:
    """Return hours, minutes and seconds, without hours where there are none."""
    minutes, rest = divmod(int(max(seconds, 0)), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
