"""The tasks of a local run as processes of this machine: KFP's subprocess runner without a shell between.

KFP 2.17 puts the interpreter's path unquoted into a shell script, replaces the text ``python3`` in every argument,
hands all inputs over on the command line, and leaves the script's folder behind. So a checkout below a folder with a
space starts no task, data below ``python3/`` are not found, and 3,200 classes are too many. Here a task is a process
that is started directly and takes its inputs from files (``pipelines.local.executor``).
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import tempfile
import threading
from collections.abc import Iterator
from pathlib import Path

from kfp.local import status, subprocess_task_handler

STOP_S = 5.0
"""For how long a task may go on after SIGTERM."""
_EXECUTOR = "kfp.dsl.executor_main"


class Processes:
    """Starts the tasks, and ends them all where the run ends early."""

    def __init__(self) -> None:
        self._running: set[subprocess.Popen[str]] = set()
        self._lock = threading.Lock()
        self._over = False

    def run(self, command: list[str], environment: dict[str, str]) -> int:
        """Run one task as KFP commands it, printing what it prints; return its exit status."""
        with tempfile.TemporaryDirectory(prefix="task-") as folder:
            Path(folder, "task.json").write_text(json.dumps(_module_and_arguments(command, folder)), encoding="utf-8")
            process = self._start(
                [sys.executable, "-m", "pipelines.local.executor", folder], {**environment, "_KFP_RUNTIME": "true"}
            )
            if process is None:
                return 1
            try:
                with process:
                    assert process.stdout is not None
                    for line in process.stdout:
                        print(line, end="")
            finally:
                with self._lock:
                    self._running.discard(process)
            return process.returncode

    def _start(self, command: list[str], environment: dict[str, str]) -> subprocess.Popen[str] | None:
        with self._lock:
            if self._over:
                return None
            process = subprocess.Popen(
                command,
                env={**os.environ, **environment},
                stdout=subprocess.PIPE,
                stderr=subprocess.STDOUT,
                text=True,
                encoding="utf-8",
                errors="replace",
            )
            self._running.add(process)
            return process

    def stop(self) -> None:
        """End the tasks that run, and start no other. Called in a signal's handler, which may hold the lock."""
        self._over = True
        running = list(self._running)
        for process in running:
            process.terminate()
        for process in running:
            try:
                process.wait(STOP_S)
            except subprocess.TimeoutExpired:
                process.kill()


def _module_and_arguments(command: list[str], folder: str) -> list[str]:
    """Return the module that a command of KFP runs, and its arguments; write the component's source into ``folder``.

    KFP ships the source of a component behind a shell script that writes it to a file for KFP's executor. A component
    that names a module of its own (``components.evaluate.component``) is started as it says.
    """
    for place, word in enumerate(command):
        if "ephemeral_component.py" in word and '"$@"' in word:
            source, *arguments = command[place + 1 :]
            Path(folder, "component.py").write_text(source, encoding="utf-8")
            return [_EXECUTOR, "--component_module_path", str(Path(folder, "component.py")), *arguments]
    if "-m" in command:
        return command[command.index("-m") + 1 :]
    raise RuntimeError("KFP starts components in another way than its version 2.17 does")


@contextlib.contextmanager
def started_directly(processes: Processes) -> Iterator[None]:
    """Let KFP's subprocess runner start its tasks by ``processes``."""
    original = subprocess_task_handler.SubprocessTaskHandler

    class Task(original):  # type: ignore[misc, valid-type]
        """KFP's handler; it makes one for each task."""

        def validate_image(self, image: str) -> None:
            """Take any image: KFP warns of those that are not Python's, and none is used here."""

        def run(self) -> status.Status:
            code = processes.run(self.full_command, self.env_vars)
            return status.Status.SUCCESS if code == 0 else status.Status.FAILURE

    subprocess_task_handler.SubprocessTaskHandler = Task
    try:
        yield
    finally:
        subprocess_task_handler.SubprocessTaskHandler = original
