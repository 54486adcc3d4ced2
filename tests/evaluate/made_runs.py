"""Artifacts of made-up runs: as many streams, rounds and classes as a test wants."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.contracts import confusion, constraints, dataset, scores
from components.contracts.config import Experiment
from components.contracts.confusion import Confusion
from components.contracts.constraints import ClassConstraint, Constraints, Provenance
from components.contracts.history import EpochRecord
from components.contracts.metrics import Metrics
from components.contracts.scores import Scores

EPOCHS_PER_ROUND = 4


def experiment(classes: int = 4, **changes: Any) -> Experiment:
    document: dict[str, Any] = {
        "name": "made",
        "rounds": 2,
        "streams": ["j", "b"],
        "data": {
            "layout": "ntu25",
            "classes": [f"class {number}" for number in range(classes)],
            "protocols": {"cross": {"train": "train", "test": "test", "label": "cross-subject"}},
            "protocol": "cross",
        },
        "train": {"epochs": 8},
    }
    for key, value in changes.items():
        section, _, name = key.rpartition("__")
        (document[section] if section else document)[name] = value
    return Experiment.model_validate(document)


def probabilities(labels: np.ndarray, classes: int, skill: float, seed: int) -> np.ndarray:
    """Random class probabilities, the more right the larger ``skill`` is; classes are confused with their neighbour."""
    rng = np.random.default_rng(seed)
    logits = rng.normal(size=(len(labels), classes))
    logits[np.arange(len(labels)), labels] += skill
    logits[np.arange(len(labels)), labels ^ 1 if classes % 2 == 0 else labels] += skill / 2
    values = np.exp(logits)
    return (values / values.sum(axis=1, keepdims=True)).astype(np.float32)


def history(rounds: int, seed: int) -> tuple[EpochRecord, ...]:
    rng = np.random.default_rng(seed)
    epochs = range(1, rounds * EPOCHS_PER_ROUND + 1)
    return tuple(
        EpochRecord(
            epoch=epoch,
            round=(epoch - 1) // EPOCHS_PER_ROUND + 1,
            learning_rate=0.1,
            loss=round(float(9 / epoch + rng.random()), 4),
            loss_clean=1.0,
            loss_mixed=1.0,
            loss_constraint=1.0,
            loss_alignment=1.0,
            top1=round(float(1 - 0.9 / epoch**0.5), 4),
        )
        for epoch in epochs
    )


@dataclass(frozen=True)
class Run:
    """Paths of the artifacts of a run, by (stream, round)."""

    experiment: Experiment
    scores: dict[tuple[str, int], Path]
    confusions: dict[tuple[str, int], Path]
    constraints: dict[tuple[str, int], Path]

    def arguments(self, output: Path) -> tuple[Any, ...]:
        """The arguments of ``evaluate``."""
        stage = self.experiment.stage_evaluate()
        lists = (list(paths.values()) for paths in (self.scores, self.confusions, self.constraints))
        return stage, *lists, output


def make_run(
    folder: Path,
    made: Experiment,
    *,
    samples_per_class: int = 6,
    skills: tuple[float, ...] = (1.0, 1.6, 2.2),
    said: Callable[[np.ndarray, int, float, int], np.ndarray] = probabilities,
) -> Run:
    """Write the artifacts of every stream and round of an experiment."""
    classes = len(made.data.classes)
    labels = np.repeat(np.arange(classes), samples_per_class)
    ids = np.asarray([f"S{number:04d}" for number in range(len(labels))])
    run = Run(made, {}, {}, {("", 0): folder / "constraints-0"})
    write_constraints(run.constraints["", 0], made, "", 0)
    for stream_number, stream in enumerate(made.streams):
        for number in range(1, made.rounds + 1):
            seed = 100 * number + stream_number
            found = said(labels, classes, skills[number - 1], seed)
            key, stage = (stream, number), made.stage_train(stream)
            one = Scores(stream, number, 1, ids, labels, found, history(number, seed))
            run.scores[key] = folder / f"scores-{stream}-{number}"
            scores.write(run.scores[key], one, made_from={"dataset": "0" * 64}, config=stage)
            counts = np.diag(np.full(classes, 18)) + 1
            run.confusions[key] = folder / f"confusion-{stream}-{number}"
            confusion.write(run.confusions[key], Confusion(stream, number, counts, counts), made_from={}, config=stage)
            if number < made.rounds:
                run.constraints[key] = folder / f"constraints-{stream}-{number}"
                write_constraints(run.constraints[key], made, stream, number)
    return run


def numbers(path: Path) -> dict[str, Any]:
    """What stands in the ``metrics.json`` of a report, as another program would read it."""
    found: dict[str, Any] = json.loads((path / "metrics.json").read_text(encoding="utf-8"))
    return found


def typed(found: dict[str, Any]) -> Metrics:
    return Metrics.model_validate(found)


def write_constraints(path: Path, made: Experiment, stream: str, number: int, *, answers: bool = True) -> None:
    """Every class has joints 4–6; in round r ≥ 1 each even class is told apart from its neighbour by 5–7."""
    entries = []
    for label, name in enumerate(made.data.classes):
        answered = answers and number > 0 and label % 2 == 0
        status = "answered" if answered else "kept" if number else "prior"
        tokens = 100 if answered else 0
        entries.append(
            ClassConstraint(
                label=label,
                name=name,
                description=f"{name}, seen in round {number}." if answered else f"{name}: a motion.",
                joints=(5, 6, 7) if answered else (4, 5, 6),
                told_apart_from=(label + 1,) if answered and label + 1 < len(made.data.classes) else (),
                provenance=Provenance(
                    status=status,
                    provider="test",
                    prompt_tokens=tokens,
                    round=number,
                    note="not asked: not confused" if status == "kept" else "",
                ),
            )
        )
    text = np.ones((len(entries), 3), dtype=np.float32)
    told = Constraints(made.data.layout, number, stream, "test", tuple(entries), text)
    constraints.write(path, told, made_from={}, config=made.stage_agent())


def write_dataset(path: Path, run: Run, *, leaks: int = 0, untrained: int = 0, **notes: Any) -> Path:
    """A dataset whose test split is what the scores are of; its training split has four samples per class.

    The last ``untrained`` classes have no training sample. Bodies are random, 6 frames of ntu25, one person. ``notes``
    are further entries of the manifest's ``about``.
    """
    first = scores.open(next(iter(run.scores.values())))
    classes = len(run.experiment.data.classes)
    rng = np.random.default_rng(0)
    trained = [(f"T{number:04d}", number % classes) for number in range(4 * classes)]
    trained = [(sample_id, label) for sample_id, label in trained if label < classes - untrained]
    tested = list(zip(first.sample_ids.tolist(), first.labels.tolist(), strict=True))
    about = {"leaks": {"cross": leaks}, **notes}
    with dataset.Writer(path, run.experiment.data, made_from={}, notes=about) as writer:
        for sample_id, label in trained + tested:
            writer.append(sample_id, label, rng.normal(size=(1, 6, 25, 3)))
        writer.splits(
            {"train": [sample_id for sample_id, _ in trained], "test": [sample_id for sample_id, _ in tested]}
        )
    return path
