"""Does the closed loop pay? No guidance, priors that stay, priors that follow the confusions, joints from the data.

``python tests/benchmarks/closed_loop.py --help``. All arms train the same network on the same samples in the same
order with the same random numbers: a pair of cells of one protocol, stream and seed differs in the constraints only.

The agent answers from its written priors; in the arm ``data`` it has none, and the joints that separate a class best
from those it is confused with are critical from round 1 on. With ``--llm URL --llm-model NAME`` there is an arm ``llm``
too: it starts from the priors as well, and an LLM answers the confusions. ``--llm small`` starts the small real LLM of
``make install-llm`` for that, on this machine. What was answered is remembered: no seed asks a question again.
(To have an LLM make the first constraints of all arms too: ``--set agent.provider=openai --set agent.base_url=URL``.)

Finished cells are kept below ``--output``, and an interrupted one goes on from its last epoch, so that the study may
be stopped at any time; the table at the end, and ``study.json``, hold the cells that there are.
"""

from __future__ import annotations

import json
import shutil
import time
from collections.abc import Callable, Iterable, Sequence
from contextlib import nullcontext
from dataclasses import asdict, dataclass, field
from itertools import product
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import torch
import typer
import yaml
from closed_loop_llm import SMALL, account, llm_settings, small_llm, tally
from closed_loop_summary import print_summary, summarise
from rich.console import Console

from components.agent.core import run_round
from components.agent.llm.chat import OPENAI
from components.agent.round import Round as AgentRound
from components.contracts import scores
from components.contracts.config import Experiment, load_experiment
from components.contracts.errors import InputError
from components.preprocess.core import preprocess
from components.train.core import Outputs, train_round
from components.train.round import Round
from components.train.training.saves import SavePlace

LLM = "llm"
ARMS: dict[str, dict[str, Any]] = {
    "none": {"train.constraint_weight": 0.0, "train.alignment_weight": 0.0},
    "fixed": {},
    "texts": {"agent.joints": "fixed"},
    "moving": {"agent.joints": "moving"},
    "soft": {"agent.joints": "moving", "agent.joint_weights": "agreement"},
    "data": {"agent.priors": None},
    LLM: {"agent.joints": "moving", "agent.provider": OPENAI},
}
"""What an arm sets.

none: no constraints; fixed: those of round 0 stay; texts: only the texts follow; moving: joints and texts do;
soft: as moving, and a joint weighs as much as the answers agree on it; data: nobody says anything, what the training
data say counts; llm: as moving, but an LLM answers.
"""
FOLLOWING = ("texts", "moving", "soft", "data", LLM)
"""The arms in which the agent answers the confusions after every round but the last."""


@dataclass(frozen=True)
class Cell:
    """One training run."""

    protocol: str
    stream: str
    seed: int
    arm: str

    @property
    def group(self) -> str:
        """What the arms to be compared have in common."""
        return f"{self.protocol}-{self.stream}-{self.seed}"

    @property
    def name(self) -> str:
        return f"{self.group}-{self.arm}"


@dataclass(frozen=True)
class Study:
    """The data, the configuration that every cell starts from, and where everything is kept."""

    data: Path
    config: Path
    settings: dict[str, Any]
    output: Path
    llm: dict[str, Any] = field(default_factory=dict)
    """Settings of the arm ``llm`` alone."""

    @property
    def memory(self) -> Path:
        """Where an LLM's answers are remembered."""
        return self.output / "llm"

    def opening(self, cell: Cell) -> Experiment:
        """Return the experiment that makes the constraints of round 0, which the arms with priors share."""
        own = {key: value for key, value in ARMS[cell.arm].items() if key == "agent.priors"}
        return load_experiment(self.config, {**self.settings, **self._where(cell), **own})

    @staticmethod
    def _where(cell: Cell) -> dict[str, Any]:
        return {"data.protocol": cell.protocol, "seed": cell.seed}

    def experiment(self, cell: Cell) -> Experiment:
        own = {**self._where(cell), **ARMS[cell.arm]}
        return load_experiment(self.config, {**self.settings, **own, **(self.llm if cell.arm == LLM else {})})

    def result(self, cell: Cell) -> Path:
        return self.output / "cells" / f"{cell.name}.json"

    def work(self, cell: Cell) -> Path:
        return self.output / "work" / cell.group


def run_cell(study: Study, cell: Cell) -> dict[str, Any]:
    """Train one cell through all its rounds and return its accuracies (0 to 1) per round.

    The arms with priors share their first round, which is the same run.
    """
    experiment, home = study.experiment(cell), study.work(cell)
    alone = cell.arm in ("none", "data")
    begun = cell.arm if alone else "first"
    packed = study.output / "datasets" / cell.protocol
    if not packed.exists():
        preprocess(study.data, experiment.stage_preprocess(), packed)
    opening = study.opening(cell).stage_agent()
    guidance = _once(home / f"constraints-{begun}", lambda out: run_round(AgentRound(opening), out, cache=study.memory))
    answers, top1, mean_class = [], [], []
    previous: Outputs | None = None
    started = time.process_time()
    for number in range(1, experiment.rounds + 1):
        folder = home / (begun if number == 1 else cell.arm) / str(number)
        if previous is not None and cell.arm in FOLLOWING:
            before, confusion = guidance, previous.confusion
            guidance = _once(
                folder / "constraints",
                lambda out, n=number, c=confusion, b=before: run_round(
                    AgentRound(experiment.stage_agent(), cell.stream, n - 1, c, b), out, cache=study.memory
                ),
            )
            answers.append(tally(guidance))
        previous = _train(experiment, cell, packed, guidance, folder, number, previous)
        found = scores.open(previous.scores)
        top1.append(found.top1)
        mean_class.append(_mean_class_accuracy(found))
    return {
        **asdict(cell),
        "top1": top1,
        "mean_class": mean_class,
        "answers": answers,
        "cpu_seconds": round(time.process_time() - started, 1),
    }


def _once(path: Path, make: Callable[[Path], None]) -> Path:
    if not path.exists():  # artifacts appear whole or not at all
        path.parent.mkdir(parents=True, exist_ok=True)
        make(path)
    return path


def _train(
    experiment: Experiment,
    cell: Cell,
    packed: Path,
    guidance: Path,
    folder: Path,
    number: int,
    previous: Outputs | None,
) -> Outputs:
    outputs = Outputs(folder / "checkpoint", folder / "confusion", folder / "scores")
    if not outputs.scores.exists():  # written last
        folder.mkdir(parents=True, exist_ok=True)
        for partial in (outputs.checkpoint, outputs.confusion):
            shutil.rmtree(partial, ignore_errors=True)
        before = previous.checkpoint if previous else None
        what = Round(experiment.stage_train(cell.stream), cell.stream, number, packed, guidance, before)
        train_round(what, outputs, resume=SavePlace(folder / "resume"))
    return outputs


def _mean_class_accuracy(found: scores.Scores) -> float:
    correct = found.correct
    return float(np.mean([correct[found.labels == label].mean() for label in np.unique(found.labels)]))


def report(study: Study, cells: Sequence[Cell]) -> None:
    """Print the tables of what is finished and write ``study.json``."""
    arms = list(dict.fromkeys(cell.arm for cell in cells))
    results = [json.loads(study.result(cell).read_text()) for cell in cells if study.result(cell).exists()]
    groups = sorted({(result["protocol"], result["stream"]) for result in results})
    parts = {f"{p} {s}": [r for r in results if (r["protocol"], r["stream"]) == (p, s)] for p, s in groups}
    tables = {name: summarise(part, arms) for name, part in parts.items()}
    tables["all"] = summarise(results, arms)
    for name, summary in tables.items():
        if name != "all" or len(parts) > 1:
            print_summary(f"{study.config.stem}, {name}", summary)
    said = []
    for arm in FOLLOWING:
        if of_arm := [result for result in results if result["arm"] == arm]:
            agent = study.experiment(Cell(of_arm[0]["protocol"], "j", 0, arm)).agent
            tallies = [counts for result in of_arm for counts in result["answers"]]
            said.append(account(arm, agent, tallies, study.memory))
    print(*said, f"{len(results)} of {len(cells)} cells finished", sep="\n")
    about = {"settings": study.settings, "llm": study.llm, "answers": said}
    _write(study.output / "study.json", {**about, "cells": results, "summary": tables})


def _write(file: Path, document: Any) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    scratch = file.with_suffix(".partial")
    scratch.write_text(json.dumps(document, indent=1, sort_keys=True) + "\n")
    scratch.replace(file)


def _claim(file: Path, identity: dict[str, Any]) -> None:
    """Refuse to add cells to a study of other settings: they could not be compared."""
    if file.exists() and json.loads(file.read_text()) != identity:
        raise InputError(f"{file}: holds a study of other data or settings; choose another --output")
    _write(file, identity)


def _values(text: str) -> list[str]:
    return [value.strip() for value in text.split(",") if value.strip()]


def _settings(pairs: Iterable[str], epochs: int | None, rounds: int) -> dict[str, Any]:
    settings: dict[str, Any] = {"rounds": rounds}
    if epochs is not None:
        settings["train.epochs"] = epochs
    for pair in pairs:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"--set: found {pair!r}, expected KEY=VALUE")
        settings[key] = yaml.safe_load(value)
    return settings


def main(
    data: Annotated[Path, typer.Option(help="Input file, as for the pipeline.")],
    config: Annotated[Path, typer.Option(help="The experiment that every cell starts from.")],
    output: Annotated[Path, typer.Option(help="Folder of finished cells, unfinished work and study.json.")],
    folds: str = typer.Option("", help="Protocols of the experiment, separated by commas; by default its own."),
    streams: str = typer.Option("j", help="Streams, separated by commas."),
    seeds: str = typer.Option("0,1,2", help="Seeds, separated by commas."),
    arms: str = typer.Option(
        "", help=f"Of {', '.join(ARMS)}, separated by commas; by default none, fixed, moving, data, and llm with --llm."
    ),
    epochs: int | None = typer.Option(None, help="Epochs of a cell; by default the experiment's."),
    rounds: int = typer.Option(4, help="Rounds of a cell: the agent answers after each but the last."),
    set_: Annotated[list[str] | None, typer.Option("--set", help="KEY=VALUE of the experiment; repeatable.")] = None,
    llm: str = typer.Option("", help=f"Base URL of an OpenAI-compatible endpoint, or '{SMALL}': adds the arm llm."),
    llm_model: str = typer.Option("gpt-4o", help="The model at that URL."),
    report_only: bool = typer.Option(False, help="Train nothing; print the table of what is finished."),
) -> None:
    """Run what is not finished, then print the table."""
    try:
        study = Study(data, config, _settings(set_ or [], epochs, rounds), output, llm_settings(llm, llm_model))
        cells = _cells(study, _values(folds), _values(streams), _values(seeds), _values(arms))
        with small_llm() if llm == SMALL and not report_only else nullcontext():
            _run(study, [] if report_only else cells)
        report(study, cells)
    except InputError as error:
        Console(stderr=True).print(f"error: {error}", highlight=False, markup=False, soft_wrap=True)
        raise typer.Exit(2) from None


def _cells(study: Study, folds: list[str], streams: list[str], seeds: list[str], arms: list[str]) -> list[Cell]:
    """Return the cells of a study whose settings are those of its folder."""
    arms = arms or ["none", "fixed", "moving", "data", *([LLM] if study.llm else [])]
    if unknown := set(arms) - ARMS.keys():
        raise InputError(f"--arms: found {', '.join(sorted(unknown))}, expected some of {', '.join(ARMS)}")
    if LLM in arms and not study.llm:
        raise InputError(f"--arms: {LLM} needs --llm, the URL of an endpoint or '{SMALL}'")
    if not all(seed.isdigit() for seed in seeds):
        raise InputError(f"--seeds: found {', '.join(seeds)}, expected whole numbers")
    start = load_experiment(study.config, study.settings)
    _claim(study.output / "settings.json", {"data": study.data.name, "config": start.model_dump(mode="json")})
    if study.llm:
        _claim(study.output / "llm.json", study.llm)
    protocols = folds or [start.data.protocol]
    # Seed by seed: whenever it is stopped, as many seeds as possible are whole.
    return [
        Cell(protocol, stream, int(seed), arm)
        for seed, protocol, stream, arm in product(seeds, protocols, streams, arms)
    ]


def _run(study: Study, cells: Sequence[Cell]) -> None:
    """Train the cells that are not finished, and clear away what served only those that are."""
    torch.set_num_threads(1)
    for done, cell in enumerate(cells):
        if not study.result(cell).exists():
            print(f"cell {done + 1} of {len(cells)}: {cell.name}", flush=True)
            _write(study.result(cell), run_cell(study, cell))
        group = [other for other in cells if other.group == cell.group]
        if all(study.result(other).exists() for other in group):
            shutil.rmtree(study.work(cell), ignore_errors=True)


if __name__ == "__main__":
    typer.run(main)
