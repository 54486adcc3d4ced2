"""Trains rounds in processes that are killed: a program that ``test_kills.py`` runs once; forks, so that each is cheap.

Arguments: dataset, constraints, folder, then the cases, each ``NAME:NUMBER``. The folder gets a round that was left in
peace, ``calm``, and one per case. Standard output gets a line per case, with the number of times it was killed.
"""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path

from train_helpers import experiment

from components.contracts import artifact, checkpoint, confusion, scores
from components.train import core
from components.train.round import Round
from components.train.training.loop import Trainer

STEPS = {
    "step": (Trainer, "_step"),
    "seal": (checkpoint, "seal"),
    "replace": (artifact, "_replace_directory"),
    "confusion": (confusion, "write"),
    "scores": (scores, "write"),
    "clear": (core.Saves, "clear"),
}
"""What a kill can precede; all rounds train 4 epochs of 3 steps."""


def train(data: Path, guidance: Path, folder: Path) -> None:
    stage = experiment(rounds=1, epochs=4, batch=14, evaluate_every=2).stage_train("j")
    outputs = core.Outputs(folder / "checkpoint", folder / "confusion", folder / "scores")
    core.train_round(Round(stage, "j", 1, data, guidance), outputs, resume=folder / "resume")


def forked(body: Callable[[], None]) -> int:
    process = os.fork()
    if process == 0:
        body()
        os._exit(0)
    return process


def ended(process: int) -> int:
    return os.waitpid(process, 0)[1]


def killed_at_random(seed: int, whole: float, run: Callable[[], None]) -> int:
    """Kill at random moments until a round gets through; returns the number of kills."""
    moments = random.Random(seed)
    for kills in range(1000):
        process = forked(run)
        # The longer a round has failed, the more time it gets: on a busy machine too it ends.
        time.sleep(moments.uniform(0, whole * (0.8 + 0.1 * kills)))
        os.kill(process, signal.SIGKILL)
        if ended(process) == 0:
            return kills
    raise AssertionError("never got through")


def killed_before(owner: object, name: str, count: int, run: Callable[[], None]) -> int:
    """Kill before a function is called for the ``count``-th time, then train on."""
    original, left = getattr(owner, name), [count]

    def counted(*arguments: object, **options: object) -> object:
        left[0] -= 1
        if not left[0]:
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    setattr(owner, name, counted)
    assert ended(forked(run)) == signal.SIGKILL
    setattr(owner, name, original)
    assert ended(forked(run)) == 0
    return 1


def main(data: Path, guidance: Path, folder: Path, cases: list[str]) -> None:
    started = time.monotonic()
    assert ended(forked(lambda: train(data, guidance, folder / "calm"))) == 0
    whole = time.monotonic() - started
    for case in cases:
        name, number = case.split(":")
        run = partial(train, data, guidance, folder / case.replace(":", "-"))
        if name == "random":
            kills = killed_at_random(int(number), whole, run)
        else:
            kills = killed_before(*STEPS[name], int(number), run)
        print(case, kills, flush=True)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]), sys.argv[4:])
