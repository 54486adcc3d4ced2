"""Ends what a killed test session has left: ``python watchdog.py FOLDER``, started by ``conftest.py``.

It reads what the session holds open, and so learns of its end, whatever ended it. A session that came to its own end
has said so; otherwise its servers and tools go on without it, and its temporary folder stays.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time

import psutil

VARIABLE = "PYTEST_SESSION_FOLDER"
"""Stands in the environment of all that a session starts, by which it is found."""
OVER = b"over"
PASSES, PAUSE_S = 20, 0.1


def start(folder: str) -> subprocess.Popen[bytes]:
    """Start it for the session whose temporary folder this is; Ctrl-C in the terminal does not reach it."""
    os.environ[VARIABLE] = folder
    environment = {name: value for name, value in os.environ.items() if name != VARIABLE}
    command = [sys.executable, __file__, folder]
    return subprocess.Popen(command, stdin=subprocess.PIPE, env=environment, start_new_session=True)


def end(watchdog: subprocess.Popen[bytes]) -> None:
    """Say that the session came to its own end."""
    watchdog.communicate(OVER)


def of_session(folder: str) -> list[psutil.Process]:
    """Return the processes of a session."""
    found = []
    for process in psutil.process_iter():
        try:
            if process.environ().get(VARIABLE) == folder and process.status() != psutil.STATUS_ZOMBIE:
                found.append(process)
        except psutil.Error:
            continue
    return found


def main() -> None:
    """Wait for the session's end; clear up if it was not its own."""
    folder = sys.argv[1]
    if sys.stdin.buffer.read() == OVER:
        return
    for _ in range(PASSES):  # what is being started meanwhile is found by the next
        left = of_session(folder)
        for process in left:
            try:
                process.kill()
            except psutil.Error:
                continue
        if not left:
            break
        time.sleep(PAUSE_S)
    shutil.rmtree(folder, ignore_errors=True)


if __name__ == "__main__":
    main()
