"""What a test must not leave behind: threads, processes, and files in the temporary folder."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

import psutil

TASKS = Path("/proc/self/task")
LISTS = any(TASKS.glob("*/children"))
"""Whether this kernel lists the children of a process."""
GRACE_S = 5.0
"""For how long what was told to end may take to do so."""

KEPT_THREADS = (
    "asyncio_",  # asyncio's default executor keeps its idle threads until its loop is closed
    "AnyIO worker thread",  # idle ones of Starlette's test client; they end with the loop's root task
    "OnnxRuntime",
    "tqdm_monitor",  # one for the process
    "execnet",  # pytest-xdist's
)
KEPT_PROCESSES = (
    "multiprocessing.resource_tracker",  # one for the process, ends with it
    "multiprocessing.forkserver",
    "/swift-",  # the servers of the session's object store, which tests kill and start again; they end with the session
)
KEPT_FILES = (
    "pytest-of-",  # pytest's own, with what tmp_path gave
    ".org.chromium.",  # Chromium removes these after its process has ended
    "org.chromium.",
    "hsperfdata_",  # of Java virtual machines, one folder for all
    "hypothesis-",
    "torchinductor_",
    "matplotlib-",
    "playwright",  # its driver ends with the session
    ".ses",  # onnxruntime's, made when it is imported
    "skeletonagent-",  # of stages that a test kills; a run of the pipeline has a folder of its own for these
    "torchelastic_",  # of torchrun, where a test kills it
)


@dataclass(frozen=True)
class Seen:
    """What runs at one moment."""

    threads: frozenset[threading.Thread] = frozenset()
    processes: frozenset[int] = frozenset()

    @classmethod
    def now(cls) -> Seen:
        """Look at this process and at those that it has started."""
        return cls(frozenset(threading.enumerate()), frozenset(_children()))

    def __or__(self, other: Seen) -> Seen:
        return Seen(self.threads | other.threads, self.processes | other.processes)

    def __sub__(self, other: Seen) -> Seen:
        return Seen(self.threads - other.threads, self.processes - other.processes)


def _children() -> Iterable[int]:
    if LISTS:  # a hundred times as fast as to ask every process of the machine for its parent
        for file in TASKS.glob("*/children"):
            with contextlib.suppress(OSError):
                yield from map(int, file.read_text().split())
    else:
        yield from (child.pid for child in psutil.Process().children())


def left_since(before: Seen) -> list[str]:
    """Return what runs now and did not before, after a while in which it may end."""
    deadline = time.monotonic() + GRACE_S
    while (left := _left(before)) and time.monotonic() < deadline:
        time.sleep(0.02)
    return left


def _left(before: Seen) -> list[str]:
    now = Seen.now()
    threads = [f"thread {one.name}" for one in now.threads - before.threads if not one.name.startswith(KEPT_THREADS)]
    processes = []
    for number in now.processes - before.processes:
        try:
            process = psutil.Process(number)
            line = " ".join(process.cmdline())
            ended = process.status() == psutil.STATUS_ZOMBIE
        except psutil.Error:
            continue
        if not ended and not any(kept in line for kept in KEPT_PROCESSES):
            processes.append(f"process {line[:200]}")
    return sorted(threads + processes)


def files_left(folder: Path) -> list[str]:
    """Return what lies in a session's temporary folder and should not."""
    return sorted(path.name for path in folder.iterdir() if not path.name.startswith(KEPT_FILES))
