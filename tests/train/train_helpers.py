"""The tiny experiment that the tests of the train stage share."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
from pathlib import Path

from components.contracts.config import Experiment

CLASSES = ("left slow", "left fast", "right slow", "right fast", "both slow", "both fast")
LAYOUT = "kinect20"


def experiment(*, rounds: int = 2, **train: object) -> Experiment:
    """Return a tiny experiment; keyword arguments replace values of its ``train`` section."""
    settings = {"epochs": 4, "batch": 12, "frames": 16, "sampling": "resize", "learning_rate": 0.1, "test_clips": 2}
    return Experiment.model_validate(
        {
            "name": "tiny",
            "seed": 3,
            "rounds": rounds,
            "streams": ["j", "b"],
            "data": {
                "layout": LAYOUT,
                "classes": CLASSES,
                "normalisation": "none",
                "max_persons": 2,
                "protocols": {"all": {"train": "train", "test": "test"}},
                "protocol": "all",
            },
            "model": {"width": 16, "blocks": 2, "inflate_at": [1], "subsets": 4, "temporal": ["3x1", "max3", "1x1"]},
            "train": settings | train,
        }
    )


def torchrun(
    processes: int, what: Experiment, data: Path, guidance: Path, folder: Path, *more: object
) -> subprocess.Popen[str]:
    folder.mkdir(parents=True, exist_ok=True)
    config = folder / "experiment.yaml"
    config.write_text(what.to_json(), encoding="utf-8")
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    launch = [sys.executable, "-m", "torch.distributed.run", f"--nproc-per-node={processes}", f"--master-port={port}"]
    given = {"config": config, "dataset": data, "constraints": guidance, "output": folder}
    flags = [str(word) for name, value in given.items() for word in (f"--{name}", value)]
    return subprocess.Popen(
        [*launch, "-m", "components.train", "run", *flags, *map(str, more)],
        stderr=subprocess.PIPE,
        text=True,
        env=os.environ | {"OMP_NUM_THREADS": "1", "CUDA_VISIBLE_DEVICES": ""},
    )
