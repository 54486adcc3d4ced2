"""The training of a pipeline's task, in a process of its own that is started again where it is killed.

A pod is not tried again by the pipeline because a process in it died. The kernel kills the largest process where
memory runs out, which is the one that trains; its parent, the task, is small, survives, and starts another, which goes
on from the last epoch saved. (Where the kubelet has a whole container killed at once, nothing in the pod can help.)
"""

from __future__ import annotations

import ctypes
import json
import platform
import signal
import sys
import tempfile
import traceback
from collections.abc import Callable
from multiprocessing import get_context
from multiprocessing.connection import Connection

from components.contracts import errors
from components.contracts.errors import ResourceError, SkeletonAgentError
from components.runtime.logs import stage_logger

RESTARTS = 2
_ON_PURPOSE = (signal.SIGTERM, signal.SIGINT)
_PR_SET_PDEATHSIG = 1  # linux/prctl.h
_log = stage_logger("train")


class KilledError(Exception):
    """A training process was ended by a signal that nobody sends to say that it should end."""

    def __init__(self, number: int) -> None:
        self.signal = signal.Signals(number).name
        super().__init__(self.signal)


def restarted(train: Callable[[], None]) -> None:
    """Call ``train``, again where it raises ``KilledError``, at most ``RESTARTS`` times.

    Raises:
        ResourceError: it was killed every time.
    """
    for attempt in range(RESTARTS + 1):
        try:
            return train()
        except KilledError as killed:
            name = killed.signal
        if attempt < RESTARTS:
            _log.warning(
                "training was killed (%s, often for lack of memory); started again from the last epoch saved, %d of %d",
                name,
                attempt + 1,
                RESTARTS,
            )
    raise ResourceError(f"training was killed {RESTARTS + 1} times, the last time by {name}; it may lack memory")


def in_child(train: Callable[[], None]) -> None:
    """Call ``train`` in a forked process, and end as it does.

    Forked, so that packages need not be loaded again; no thread and no device is in use in this process yet.

    Raises:
        SkeletonAgentError: as ``train`` raised it.
        KilledError: the process was ended by a signal.
        SystemExit: with its status, if it ended with another one than 0.
    """
    context = get_context("fork")
    receiver, sender = context.Pipe(duplex=False)
    # What a killed process leaves in the temporary folder goes with this one.
    with tempfile.TemporaryDirectory(prefix="skeletonagent-") as scratch:
        process = context.Process(target=_child, args=(train, sender, scratch))
        process.start()
        sender.close()
        try:
            error = _received(receiver)
            process.join()
        except BaseException:  # this process is to end, and the training with it
            process.terminate()
            process.join()
            raise
    if error is not None:
        raise error
    end_as(process.exitcode or 0)


def end_as(status: int) -> None:
    """End as a process with this exit status did, which is that of ``subprocess``: negative for a signal.

    Raises:
        KilledError: by a signal that means a failure.
        SystemExit: any other status but 0.
    """
    if status < 0 and -status not in _ON_PURPOSE:
        raise KilledError(-status)
    if status:
        sys.exit(status if status > 0 else 128 - status)


def _child(train: Callable[[], None], sender: Connection, scratch: str) -> None:
    _end_with_parent()
    tempfile.tempdir = scratch
    try:
        train()
    except SkeletonAgentError as error:
        sender.send_bytes(json.dumps([type(error).__name__, error.what, error.at]).encode())
        sys.exit(error.exit_status)
    except Exception as error:
        traceback.print_exc()
        sender.send_bytes(json.dumps(["", f"{type(error).__name__}: {error}", ""]).encode())
        sys.exit(1)


def _received(receiver: Connection) -> Exception | None:
    """Wait for the child's end, and return the error that it ended by, if it could send one."""
    try:
        kind, what, at = json.loads(receiver.recv_bytes())
    except EOFError:
        return None
    if kind:
        error: Exception = getattr(errors, kind)(what, at=at)
        return error
    return RuntimeError(f"training ended by {what}; its traceback stands above")


def _end_with_parent() -> None:
    """Have the kernel end this process with its parent, whatever ends that (Linux only)."""
    if platform.system() == "Linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)
