"""The tiny experiment that the tests of the train stage share."""

from __future__ import annotations

from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from components.contracts import constraints
from components.contracts.config import Experiment
from components.contracts.skeleton import load_layout
from components.train.core import Outputs, train_round
from components.train.distributed import torchrun
from components.train.round import Round
from components.train.training.saves import SavePlace

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


def train_on(
    processes: int, tiny: Experiment, data: Path, guidance: Path, folder: Path, resume: Path | None = None
) -> Outputs:
    """Train the first round of stream j with so many processes on the CPU, as a pod with as many GPUs would."""
    what = Round(tiny.stage_train("j"), "j", 1, str(data), str(guidance))
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(Path(__file__).resolve().parents[2])
        patch.setenv("OMP_NUM_THREADS", "1")
        patch.setenv("CUDA_VISIBLE_DEVICES", "")
        torchrun.train_on_all(processes, what, output=str(folder), resume=str(resume) if resume else None)
    return outputs(folder)


STATE_FILES = ("model.safetensors", "state.safetensors")


def outputs(folder: Path) -> Outputs:
    return Outputs(folder / "checkpoint", folder / "confusion", folder / "scores")


def run(
    tiny: Experiment,
    data: Path,
    guidance: Path,
    folder: Path,
    round_number: int = 1,
    stream: str = "j",
    *,
    previous: Path | None = None,
    resume: Path | None = None,
) -> Outputs:
    made = outputs(folder)
    stage = tiny.stage_train(stream)
    place = SavePlace(resume) if resume else None
    train_round(Round(stage, stream, round_number, data, guidance, previous), made, resume=place)
    return made


def state_bytes(made: Outputs) -> list[bytes]:
    return [(made.checkpoint / name).read_bytes() for name in STATE_FILES]


def all_bytes(folder: Path) -> dict[str, bytes]:
    return {str(file.relative_to(folder)): file.read_bytes() for file in sorted(folder.rglob("*")) if file.is_file()}


def uninformed(guidance: Path, path: Path) -> Path:
    """What the agent writes where nobody was asked: all joints for every class."""
    told = constraints.open(guidance)
    unknown = constraints.Provenance(status="no-prior", provider="offline")
    joints = tuple(range(len(load_layout(told.layout).joints)))
    classes = tuple(entry.model_copy(update={"joints": joints, "provenance": unknown}) for entry in told.classes)
    constraints.write(path, replace(told, classes=classes), made_from={}, config=experiment().stage_agent())
    return path


@dataclass(frozen=True)
class Joined:
    """``made``: what each stream's last round wrote; ``path``: the model."""

    experiment: Experiment
    made: dict[str, Outputs]
    path: Path
