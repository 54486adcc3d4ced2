"""One small artifact of every kind, and what it should read back as."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np

from components.contracts import checkpoint, confusion, constraints, dataset, model, report, scores
from components.contracts.checkpoint import Checkpoint, TrainState
from components.contracts.config import Experiment
from components.contracts.confusion import Confusion
from components.contracts.constraints import ClassConstraint, Constraints, Provenance
from components.contracts.history import EpochRecord
from components.contracts.metrics import Data, Headline, Metrics
from components.contracts.report import Report
from components.contracts.scores import Scores

DOCUMENT: dict[str, Any] = {
    "name": "made",
    "data": {
        "layout": "sbu15",
        "classes": ["kick", "pünch", "hug"],
        "protocols": {"p": {"train": "train", "test": "test", "label": "a protocol"}},
        "protocol": "p",
    },
    "train": {"epochs": 4},
}
EXPERIMENT = Experiment.model_validate(DOCUMENT)
MADE_FROM = {"input": "ab" * 32}
EPOCH = EpochRecord(
    epoch=1,
    round=1,
    learning_rate=0.1,
    loss=2.0,
    loss_clean=0.5,
    loss_mixed=0.5,
    loss_constraint=0.5,
    loss_alignment=0.5,
    top1=0.25,
)


def write_dataset(path: Path, variant: int = 0) -> None:
    rng = np.random.default_rng(variant)
    with dataset.Writer(path, EXPERIMENT.data, MADE_FROM) as writer:
        writer.append("a", 0, rng.normal(size=(1, 4, 15, 3)))
        writer.append("ü", 2, rng.normal(size=(2, 3, 15, 3)))
        writer.skip(1, "broken", "NaN in frame 3")
        writer.splits({"train": ["a", "broken"], "test": ["ü"]})


def write_constraints(path: Path, variant: int = 0) -> None:
    classes = tuple(
        ClassConstraint(
            label=label,
            name=name,
            description=f"{name} {variant}",
            joints=(label, 7),
            told_apart_from=((label + 1) % 3,),
            provenance=Provenance(status="answered", provider="test", prompt_tokens=3, round=1),
        )
        for label, name in enumerate(EXPERIMENT.data.classes)
    )
    text = np.arange(12, dtype=np.float32).reshape(3, 4) + variant
    told = Constraints("sbu15", 1, "j", "encoder", classes, text)
    constraints.write(path, told, made_from=MADE_FROM, config=EXPERIMENT.stage_agent())


def write_confusion(path: Path, variant: int = 0) -> None:
    counts = np.arange(9).reshape(3, 3) + variant
    matrix = Confusion("j", 1, counts, counts[::-1].copy())
    confusion.write(path, matrix, made_from=MADE_FROM, config=EXPERIMENT.stage_train("j"))


def write_checkpoint(path: Path, variant: int = 0) -> None:
    tensors = {"w": np.arange(6, dtype=np.float32).reshape(2, 3) + variant, "n": np.asarray(variant, dtype=np.int64)}
    state = TrainState(stream="j", round=1, epoch=1, step=9, text_dimensions=4, history=(EPOCH,))
    made = Checkpoint(tensors, {"w": tensors["w"] / 2}, state, EXPERIMENT.stage_train("j"))
    checkpoint.write(path, made, made_from=MADE_FROM)


def write_model(path: Path, variant: int = 0) -> None:
    tensors = {"w": np.arange(6, dtype=np.float32).reshape(2, 3) + variant}
    made = [
        Checkpoint(
            tensors,
            {"w": tensors["w"] / 2},
            TrainState(stream=stream, round=2, epoch=4, step=9, text_dimensions=4, history=(EPOCH,)),
            EXPERIMENT.stage_train(stream),
            best=tensors,
        )
        for stream in ("b", "j")
    ]
    joined = model.made_of(EXPERIMENT.stage_evaluate(), [(path / one.state.stream, one) for one in made])
    model.write(path, joined, made_from=MADE_FROM, config=EXPERIMENT.stage_evaluate())


def write_scores(path: Path, variant: int = 0) -> None:
    probabilities = np.asarray([[0.5, 0.25, 0.25], [0.125, 0.125, 0.75]], dtype=np.float32)
    ids = np.asarray(["a", "ü"])
    made = Scores("j", 1, 10, ids, np.asarray([0, variant]), probabilities, (EPOCH,))
    scores.write(path, made, made_from=MADE_FROM, config=EXPERIMENT.stage_train("j"))


def made_metrics(variant: int = 0, top1: float = 0.5) -> Metrics:
    measures = {"top1": top1, "top5": 1.0, "mean_class": 0.5}
    split = {"train_split": "train", "test_split": "test", "test_samples": 2}
    return Metrics(
        name="made",
        description=f"variant {variant}",
        data=Data(layout="ntu25", classes=["a", "b"], protocol="p", protocol_label="p", **split),
        headline=Headline(round=1, streams=["j"], weights=[1.0], correct=1, **measures),
        streams=[],
        ensembles=[],
        confusion=[[1, 0], [1, 0]],
        confused_pairs=[],
        classes=[],
        constraints=[],
        history={},
    )


def write_report(path: Path, variant: int = 0) -> None:
    page = Report(f"<!doctype html><title>é {variant}</title>", made_metrics(variant))
    report.write(path, page, made_from=MADE_FROM, config=EXPERIMENT.stage_evaluate())


@dataclass(frozen=True)
class Kind:
    """A kind of artifact: its module, its files besides the manifest, and how to write one."""

    module: ModuleType
    files: tuple[str, ...]
    write: Callable[..., None]

    @property
    def name(self) -> str:
        return str(self.module.SCHEMA.name)


CHECKPOINT = ("manifest.json", "model.safetensors", "state.safetensors", "state.json")
KINDS = [
    Kind(dataset, ("keypoints.npy", "index.npz", "skipped.jsonl"), write_dataset),
    Kind(constraints, ("constraints.json", "text.npy"), write_constraints),
    Kind(confusion, ("confusion.npz",), write_confusion),
    Kind(checkpoint, ("model.safetensors", "state.safetensors", "state.json"), write_checkpoint),
    Kind(scores, ("scores.npz", "history.json"), write_scores),
    Kind(report, ("report.html", "metrics.json"), write_report),
    Kind(model, ("model.json", *(f"{stream}/{file}" for stream in "jb" for file in CHECKPOINT)), write_model),
]
