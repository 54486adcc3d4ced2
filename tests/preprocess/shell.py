"""Calls of the stage's command line, each in a process of its own that shares the time for imports with the others."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NamedTuple

PROGRAM = """
import json, os, sys, tempfile, traceback
from components.preprocess.__main__ import app
from components.runtime.cli import run

for arguments in json.loads(sys.argv[1]):
    outputs = [tempfile.TemporaryFile(), tempfile.TemporaryFile()]
    child = os.fork()
    if not child:
        for number, file in enumerate(outputs, 1):
            os.dup2(file.fileno(), number)
        sys.argv = ["python -m components.preprocess", *arguments]
        status = 0
        try:
            run(app)
        except SystemExit as end:
            status = end.code if isinstance(end.code, int) else int(end.code is not None)
        except BaseException:
            traceback.print_exc()
            status = 1
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
    status = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    texts = []
    for file in outputs:
        file.seek(0)
        texts.append(file.read().decode())
    print(json.dumps([status, *texts]))
"""


class Ended(NamedTuple):
    """A command that has ended."""

    returncode: int
    stdout: str
    stderr: str


def calls(repository: Path, *commands: Sequence[object]) -> list[Ended]:
    """Run ``python -m components.preprocess`` with each list of arguments."""
    arguments = json.dumps([list(map(str, command)) for command in commands])
    command = [sys.executable, "-c", PROGRAM, arguments]
    done = subprocess.run(command, cwd=repository, capture_output=True, text=True, timeout=120, check=True)
    return [Ended(*json.loads(line)) for line in done.stdout.splitlines()]
