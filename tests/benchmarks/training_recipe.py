"""Which training recipe is best? One change at a time, cross-validated by subject within the training split.

``python tests/benchmarks/training_recipe.py --help``. The test split is never opened: of the training split, each fold
holds the samples of some subjects back and trains on the others. Every change is compared with the config as it is on
the same folds and seeds, and the table gives the difference with its 95 % interval over folds and seeds.

    python tests/benchmarks/training_recipe.py dataset --config pipelines/configs/nw_ucla_quick.yaml \\
        --output build/recipe --change "no rotation: train.augmentation.rotation=0" \\
        --change "decay: train.weight_decay=1e-4"

Finished cells are kept below ``--output``, and an interrupted one goes on from its last epoch.
"""

from __future__ import annotations

import json
import re
from dataclasses import dataclass
from itertools import product
from pathlib import Path
from statistics import mean
from typing import Annotated, Any

import numpy as np
import typer
from closed_loop_summary import half_width
from rich.console import Console
from rich.table import Table

from components.agent.core import run_round
from components.agent.round import Round as AgentRound
from components.contracts import dataset, scores
from components.contracts.config import DataConfig, Experiment, load_experiment
from components.contracts.dataset import Dataset
from components.contracts.errors import InputError
from components.runtime.cli import parse_settings
from components.train.core import Outputs, train_round
from components.train.round import Round
from components.train.training.saves import SavePlace

BASE = "as it is"


@dataclass(frozen=True)
class Cell:
    """One training run."""

    change: str
    fold: int
    seed: int

    @property
    def name(self) -> str:
        return f"{re.sub(r'[^a-z0-9]+', '-', self.change.lower())}-fold{self.fold}-seed{self.seed}"


def subjects(packed: Dataset, split: str, pattern: str) -> list[str]:
    """Return the subject of every sample of a split, by the one group of a pattern in its id."""
    found = []
    for sample_id in packed.sample_ids[packed.split(split)].tolist():
        if (match := re.search(pattern, sample_id)) is None:
            raise InputError(f"sample {sample_id!r} found, expected ids in which {pattern!r} finds a subject")
        found.append(match[1])
    return found


def fold_dataset(packed: Dataset, split: str, pattern: str, folds: int, path: Path) -> Path:
    """Write the training split as a dataset with splits ``train-k`` and ``test-k``: subjects dealt out in turn."""
    if path.exists():
        return path
    numbers, of_sample = packed.split(split), subjects(packed, split, pattern)
    turn = {subject: place % folds for place, subject in enumerate(sorted(set(of_sample)))}
    ids = packed.sample_ids[numbers].tolist()
    document = packed.config.model_dump(mode="json") | {"protocols": protocols(folds), "protocol": "fold-0"}
    config = DataConfig.model_validate(document)
    with dataset.Writer(path, config, made_from={"dataset": packed.digest}, dtype=packed.keypoints.dtype) as writer:
        for number, sample_id in zip(numbers.tolist(), ids, strict=True):
            writer.append(sample_id, int(packed.labels[number]), packed.sample(number), int(packed.widths[number]))
        splits = {}
        for fold in range(folds):
            held = [turn[subject] == fold for subject in of_sample]
            splits[f"train-{fold}"] = [name for name, out in zip(ids, held, strict=True) if not out]
            splits[f"test-{fold}"] = [name for name, out in zip(ids, held, strict=True) if out]
        writer.splits(splits)
    return path


def protocols(folds: int) -> dict[str, Any]:
    return {f"fold-{fold}": {"train": f"train-{fold}", "test": f"test-{fold}"} for fold in range(folds)}


def run_cell(cell: Cell, experiment: Experiment, packed: Path, stream: str, output: Path) -> float:
    """Train one cell in one round and return its top-1 (0 to 1) on the subjects that were held back."""
    result, work = output / "cells" / f"{cell.name}.json", output / "work" / cell.name
    if result.exists():
        return float(json.loads(result.read_text())["top1"])
    work.mkdir(parents=True, exist_ok=True)
    guidance = output / "constraints"
    if not guidance.exists():
        run_round(AgentRound(experiment.stage_agent()), guidance)
    outputs = Outputs(*(work / name for name in ("checkpoint", "confusion", "scores")))
    what = Round(experiment.stage_train(stream), stream, 1, packed, guidance)
    train_round(what, outputs, resume=SavePlace(work / "resume"))
    top1 = scores.open(outputs.scores).top1
    result.parent.mkdir(parents=True, exist_ok=True)
    result.write_text(json.dumps({"change": cell.change, "fold": cell.fold, "seed": cell.seed, "top1": top1}))
    return top1


def main(
    data: Annotated[Path, typer.Argument(help="`dataset` artifact.")],
    config: Annotated[Path, typer.Option(help="Experiment that the changes start from.")],
    output: Annotated[Path, typer.Option(help="Folder of finished cells and unfinished work.")],
    change: Annotated[list[str] | None, typer.Option(help="NAME: KEY=VALUE [KEY=VALUE …], one change.")] = None,
    set_: Annotated[list[str] | None, typer.Option("--set", help="Replace a value in every cell.")] = None,
    stream: Annotated[str, typer.Option(help="Stream.")] = "j",
    folds: Annotated[int, typer.Option(min=2, help="Groups of subjects.")] = 3,
    seeds: Annotated[int, typer.Option(min=1, help="Seeds, from 0.")] = 3,
    subject: Annotated[
        str, typer.Option(help="Pattern whose one group is the subject in a sample's id.")
    ] = r"_s(\d+)_",
) -> None:
    """Print top-1 by change, and its difference from the config as it is."""
    settings = {"rounds": 1, **parse_settings(set_ or [])}
    changes: dict[str, dict[str, Any]] = {BASE: {}}
    for text in change or []:
        name, _, values = text.partition(":")
        changes[name.strip()] = parse_settings(values.split(), option="--change")
    opened = dataset.open(data)
    split = load_experiment(config, settings).data.chosen.train
    packed = fold_dataset(opened, split, subject, folds, output / "dataset")
    found: dict[str, list[float]] = {name: [] for name in changes}
    for seed, fold, (name, own) in product(range(seeds), range(folds), changes.items()):
        where = {"data.protocols": protocols(folds), "data.protocol": f"fold-{fold}", "seed": seed}
        experiment = load_experiment(config, {**settings, **own, **where})
        found[name].append(run_cell(Cell(name, fold, seed), experiment, packed, stream, output))
    table = Table("change", "top-1", "difference", "95 %")
    for name, values in found.items():
        apart = [100 * (value - base) for value, base in zip(values, found[BASE], strict=True)]
        shown = ("", "") if name == BASE else (f"{mean(apart):+.1f}", f"± {half_width([apart]):.1f}")
        table.add_row(name, f"{100 * float(np.mean(values)):.1f} %", *shown)
    Console().print(table)


if __name__ == "__main__":
    typer.run(main)
