"""Trains a round in processes that are killed: run as a program by ``test_kills.py``, forked so that each is cheap."""

from __future__ import annotations

import os
import random
import signal
import sys
import time
from collections.abc import Callable
from pathlib import Path

from train_helpers import experiment

from components.contracts import artifact, checkpoint, confusion, scores
from components.train import core
from components.train.loop import Trainer


def train(data: Path, guidance: Path, folder: Path) -> None:
    stage = experiment(epochs=6, evaluate_every=2).model_copy(update={"rounds": 1}).stage_train("j")
    outputs = core.Outputs(folder / "checkpoint", folder / "confusion", folder / "scores")
    core.train_round(stage, data, guidance, outputs, stream="j", round_number=1, resume=folder / "resume")


def forked(body: Callable[[], None]) -> int:
    process = os.fork()
    if process == 0:
        body()
        os._exit(0)
    return process


def killed_at_random(seed: int, *where: Path) -> int:
    """Kill at random moments until a round gets through; returns the number of kills."""
    started = time.monotonic()
    os.waitpid(forked(lambda: train(*where[:2], where[2] / "calm")), 0)
    whole = time.monotonic() - started
    moments = random.Random(seed)
    for kills in range(1000):
        # The longer a round has failed, the more time it gets: on a busy machine too it ends.
        process = forked(lambda: train(*where[:2], where[2] / "killed"))
        time.sleep(moments.uniform(0, whole * (0.8 + 0.1 * kills)))
        os.kill(process, signal.SIGKILL)
        if os.waitpid(process, 0)[1] == 0:
            return kills
    raise AssertionError("never got through")


def killed_at_step(step: str, count: int, *where: Path) -> int:
    """Kill at the ``count``-th time that a step is taken, then train on."""

    def die_at(owner: object, name: str) -> Callable[[], None]:
        def body() -> None:
            original, left = getattr(owner, name), [count]

            def counted(*arguments: object, **options: object) -> object:
                left[0] -= 1
                if not left[0]:
                    os.kill(os.getpid(), signal.SIGKILL)
                return original(*arguments, **options)

            setattr(owner, name, counted)
            train(*where[:2], where[2] / "killed")

        return body

    owners = {
        "step": (Trainer, "_step"),
        "seal": (checkpoint, "seal"),
        "replace": (artifact, "_replace_directory"),
        "confusion": (confusion, "write"),
        "scores": (scores, "write"),
        "clear": (core.Saves, "clear"),
    }
    process = forked(die_at(*owners[step]))
    assert os.waitpid(process, 0)[1] == signal.SIGKILL
    assert os.waitpid(forked(lambda: train(*where[:2], where[2] / "killed")), 0)[1] == 0
    os.waitpid(forked(lambda: train(*where[:2], where[2] / "calm")), 0)
    return 1


if __name__ == "__main__":
    how, number, *paths = sys.argv[1:]
    folders = [Path(path) for path in paths]
    print(killed_at_random(int(number), *folders) if how == "random" else killed_at_step(how, int(number), *folders))
