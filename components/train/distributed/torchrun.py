"""A round in the pod of its task: one process, or with several GPUs one for each, as ``torchrun`` starts them."""

from __future__ import annotations

import json
import signal
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from multiprocessing import get_context
from pathlib import Path

import torch
from torch.distributed.elastic.multiprocessing.api import SignalException
from torch.distributed.elastic.multiprocessing.errors import ChildFailedError
from torch.distributed.launcher.api import LaunchConfig, elastic_launch

from components.train.core import Outputs, train_round
from components.train.distributed.restarts import end_as, in_child, restarted
from components.train.round import Round
from components.train.training.remote_saves import kept_at

PROGRAM = ("-m", "components.train", "run")


def gpus() -> int:
    """Return the number of GPUs that this process sees.

    Counted by a forked process: where NVML is missing, counting initialises CUDA, after which nothing may be forked.
    """
    with get_context("fork").Pool(1) as pool:
        found: int = pool.apply(torch.cuda.device_count)
        pool.close()
        pool.join()
    return found


def experiment(what: Round[str]) -> str:
    """Return an experiment (JSON, which is YAML too) whose one stream has this very configuration."""
    document = {"name": "round", "streams": [what.stream], **what.stage.model_dump(mode="json")}
    return json.dumps({**document, "evaluate": {"weights": {what.stream: 1}}})


def arguments(what: Round[str], *, config: str, output: str, resume: str | None) -> list[str]:
    """Return what ``python -m components.train run`` is given for a round."""
    given = {
        "--config": config,
        "--stream": what.stream,
        "--round": str(what.number),
        "--dataset": what.dataset,
        "--constraints": what.constraints,
        "--previous": what.previous,
        "--output": output,
        "--resume": resume,
    }
    return [word for name, value in given.items() if value for word in (name, value)]


def train_in_pod(processes: int, what: Round[str], *, output: Path, resume: str | None) -> None:
    """Train a round, and go on from its last save where a process is killed.

    Args:
        processes: how many train it together.
        output: folder of the artifacts ``checkpoint``, ``confusion`` and ``scores``.
        resume: folder or URI of saves that outlive the pod; None keeps them in the pod for as long as it lives.

    Raises:
        SkeletonAgentError: as the training raised it, of one process.
        SystemExit: several processes failed, with the status of the first; they have said why.
    """
    with tempfile.TemporaryDirectory(prefix="skeletonagent-") as scratch:
        saves = resume or str(Path(scratch, "saves"))
        if processes > 1:
            restarted(lambda: train_on_all(processes, what, output=str(output), resume=saves))
        else:
            restarted(lambda: in_child(lambda: _train_alone(what, output, saves)))


@contextmanager
def _own_handlers_restored() -> Iterator[None]:
    """Undo what the launcher sets and leaves: its handlers raise ``SignalException`` for ever after."""
    numbers = (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGQUIT)
    handlers = [signal.getsignal(number) for number in numbers]
    try:
        yield
    finally:
        for number, handler in zip(numbers, handlers, strict=True):
            signal.signal(number, handler)


def _train_alone(what: Round[str], output: Path, resume: str) -> None:
    previous = Path(what.previous) if what.previous else None
    here = Round(what.stage, what.stream, what.number, Path(what.dataset), Path(what.constraints), previous)
    outputs = Outputs(*(output / name for name in ("checkpoint", "confusion", "scores")))
    with kept_at(resume) as kept:
        train_round(here, outputs, resume=kept)


def train_on_all(processes: int, what: Round[str], *, output: str, resume: str | None) -> None:
    """Train a round with several processes of this machine.

    Raises:
        KilledError: one of them was ended by a signal.
        SystemExit: with the status of the first that failed; it has said why.
    """
    launch = LaunchConfig(
        min_nodes=1,
        max_nodes=1,
        nproc_per_node=processes,
        run_id="round",
        rdzv_backend="c10d",
        rdzv_endpoint="localhost:0",
        max_restarts=0,  # torchrun's own would try a user's mistake again too
    )
    with tempfile.TemporaryDirectory(prefix="skeletonagent-") as folder:
        config = Path(folder, "experiment.yaml")
        config.write_text(experiment(what))
        words = arguments(what, config=str(config), output=output, resume=resume)
        try:
            with _own_handlers_restored():
                elastic_launch(launch, sys.executable)(*PROGRAM, *words)
        except SignalException as ended:
            sys.exit(128 + ended.sigval)
        except ChildFailedError as failed:
            statuses = [failure.exitcode for failure in failed.failures.values()]
            # Those who lost a killed one fail too; and the launcher sends the rest SIGTERM.
            for status in statuses:
                if status < 0 and -status != signal.SIGTERM:
                    end_as(status)
            end_as(failed.get_first_failure()[1].exitcode)
