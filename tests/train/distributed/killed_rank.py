"""``python -m components.train``, but one process kills itself before a step: ``killed_rank.py RANK STEP run …``."""

from __future__ import annotations

import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[3]))

from components.runtime.cli import run
from components.train.__main__ import app
from components.train.training.loop import Trainer

rank, left = sys.argv.pop(1), int(sys.argv.pop(1))
step = Trainer._step


def counted(*arguments: object) -> None:
    global left
    left -= 1
    if not left and os.environ["RANK"] == rank:
        os.kill(os.getpid(), signal.SIGKILL)
    step(*arguments)  # type: ignore[arg-type]


Trainer._step = counted  # type: ignore[method-assign,assignment]
run(app)
