"""Trains rounds in processes that are killed: a program that ``test_kills.py`` runs once; forks, so that each is cheap.

Arguments: dataset, constraints, folder, then the cases, each ``NAME:NUMBER``. The folder gets a round that was left in
peace, ``calm``, and one per case. Standard output gets a line per case, with the number of times it was killed.

Every kill comes at an event, before a function is called for the n-th time: no clock decides what is tested.
"""

from __future__ import annotations

import os
import random
import signal
import sys
from collections.abc import Callable
from functools import partial
from importlib import import_module
from pathlib import Path

from train_helpers import experiment

from components.contracts import artifact, checkpoint, confusion, scores
from components.runtime.logs import setup_logging
from components.train import core
from components.train.__main__ import app
from components.train.distributed import torchrun
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
EVENTS = 12 + 4 + 6 + 3
"""How often all of these come in a round that is left in peace: steps; checkpoints; artifacts; the rest."""
TINY = experiment(rounds=1, epochs=4, batch=14, evaluate_every=2)


def train(data: Path, guidance: Path, folder: Path) -> None:
    """Train a round as from a shell."""
    config = folder.with_suffix(".yaml")
    config.write_text(TINY.to_json(), encoding="utf-8")  # JSON is YAML
    given = {"config": config, "dataset": data, "constraints": guidance, "output": folder, "resume": folder / "resume"}
    app(["run", *(str(word) for name, value in given.items() for word in (f"--{name}", value))], standalone_mode=False)


def train_in_pod(data: Path, guidance: Path, folder: Path) -> None:
    """Train a round as a pipeline's task does, which starts it again by itself."""
    folder.mkdir()
    what = Round(TINY.stage_train("j"), "j", 1, str(data), str(guidance))
    torchrun.train_in_pod(1, what, output=folder, resume=None)


def forked(body: Callable[[], None]) -> int:
    """Run a body in a process of its own; return how it ended: 0, or the signal that killed it."""
    process = os.fork()
    if process == 0:
        try:
            body()
        except BaseException as error:
            print(f"{type(error).__name__}: {error}", file=sys.stderr, flush=True)
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(process, 0)[1])


def kill_before(count: int, names: tuple[str, ...], once: Path | None = None) -> Callable[[], None]:
    """Have a process that is yet to be forked killed before the ``count``-th call of these; returns what undoes that.

    Args:
        once: a file; a process that finds it there is left in peace.
    """
    originals = {name: getattr(*STEPS[name]) for name in names}
    left = [count]

    def counted(original: Callable[..., object], *arguments: object, **options: object) -> object:
        left[0] -= 1
        if not left[0] and not (once and once.exists()):
            if once:
                once.touch()
            os.kill(os.getpid(), signal.SIGKILL)
        return original(*arguments, **options)

    def wrap(original: Callable[..., object]) -> Callable[..., object]:
        return lambda *arguments, **options: counted(original, *arguments, **options)

    for name, original in originals.items():
        setattr(*STEPS[name], wrap(original))

    def undo() -> None:
        for name, original in originals.items():
            setattr(*STEPS[name], original)

    return undo


def killed(counts: list[int], names: tuple[str, ...], run: Callable[[], None]) -> int:
    """Kill one process after the other, then train on; returns the number of kills."""
    kills = 0
    for count in counts:
        undo = kill_before(count, names)
        ended = forked(run)
        undo()
        kills += ended == -signal.SIGKILL
        if ended == 0:  # fewer events were left
            return kills
        assert ended == -signal.SIGKILL
    assert forked(run) == 0
    return kills


def main(data: Path, guidance: Path, folder: Path, cases: list[str]) -> None:
    setup_logging()
    import_module(
        "torch._dynamo"
    )  # the optimiser loads it late, which takes longer than a round: once, before the forks
    assert forked(lambda: train(data, guidance, folder / "calm")) == 0
    for case in cases:
        name, number = case.split(":")
        place = folder / case.replace(":", "-")
        if name == "random":
            moments = random.Random(int(number))
            counts = [moments.randint(1, EVENTS) for _ in range(2)]
            kills = killed(counts, tuple(STEPS), partial(train, data, guidance, place))
        elif name == "pod":
            undo = kill_before(int(number), ("step",), once=folder / "killed-once")
            assert forked(partial(train_in_pod, data, guidance, place)) == 0
            undo()
            kills = int((folder / "killed-once").exists())
        else:
            kills = killed([int(number)], (name,), partial(train, data, guidance, place))
        print(case, kills, flush=True)


if __name__ == "__main__":
    main(*(Path(argument) for argument in sys.argv[1:4]), sys.argv[4:])
