"""Several GPUs in one pod: the same round under ``torchrun``, one process for each GPU."""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path

import torch

from components.train.round import Round

PROGRAM = ("-m", "components.train", "run")


def gpus() -> int:
    """Return the number of GPUs that this process sees."""
    return torch.cuda.device_count()


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


def train_on_all(number: int, what: Round[str], *, output: str, resume: str | None) -> None:
    """Train a round with ``number`` processes.

    Raises:
        SystemExit: with the status of ``torchrun``, if it fails; the processes have said why.
    """
    with tempfile.TemporaryDirectory(prefix="skeletonagent-") as folder:
        config = Path(folder, "experiment.yaml")
        config.write_text(experiment(what))
        words = arguments(what, config=str(config), output=output, resume=resume)
        launcher = [sys.executable, "-m", "torch.distributed.run", "--standalone", f"--nproc-per-node={number}"]
        ended = subprocess.run([*launcher, *PROGRAM, *words])
    if ended.returncode:
        sys.exit(ended.returncode)
