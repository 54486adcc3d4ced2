"""Command line of the stage: ``python -m components.preprocess --help``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from components.contracts import dataset
from components.contracts.config import load_experiment
from components.preprocess.core import preprocess
from components.runtime.cli import Exchange, application
from components.runtime.cli import run as run_application
from components.runtime.metrics import serve_metrics

SHOWN_REASONS = 10

app = application(
    "preprocess",
    "Turns a file of skeletons into the `dataset` artifact that training reads: packed, checked and normalised.",
)


@app.callback()
def _commands() -> None:
    """Keeps ``run`` a named command, so that others can join it."""


@app.command()
def run(
    source: Annotated[str, typer.Argument(help="The annotation pickle (PYSKL format): a path.")],
    config: Annotated[
        Path, typer.Option("--config", "-c", help="The experiment, a YAML file; its `data` section counts.")
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="Where the dataset goes: a directory.")],
    sha256: Annotated[str | None, typer.Option(help="Refuse the source unless it has this SHA-256.")] = None,
) -> None:
    """Pack every usable sample of SOURCE; list every other one, with its reason, in `skipped.jsonl`.

    SOURCE is read as data: a pickle that asks for anything but containers, numbers, text and NumPy arrays is
    refused, and nothing in it is executed.

    Example:

        python -m components.preprocess run nw_ucla.pkl --config pipelines/configs/nw_ucla.yaml --output out/dataset

    Ends with status 2 and one line on stderr if the source or the configuration cannot be used.
    """
    serve_metrics()
    experiment = load_experiment(config)
    with Exchange() as exchange:
        path = exchange.output(output)
        preprocess(exchange.input(source), experiment.stage_preprocess(), path, expected_sha256=sha256)
        summarise(path, output)


def summarise(path: Path, name: str) -> None:
    """Print what a dataset holds to stdout."""
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    packed, about = dataset.open(path), dataset.verify(path).about
    console.print(f"{name}: {len(packed)} samples packed, {len(packed.skipped)} skipped")
    console.print(f"{packed.frames.sum()} frames, up to {packed.persons.max()} persons, layout {packed.layout.name}")
    table = Table("split", "samples", "frames", "classes")
    for split, numbers in sorted(packed.splits.items()):
        classes = len(set(packed.labels[numbers].tolist()))
        table.add_row(split, str(len(numbers)), str(packed.frames[numbers].sum()), str(classes))
    console.print(table)
    for protocol, count in about["leaks"].items():
        if count:
            console.print(
                f"protocol {protocol}: {count} test samples are byte-equal to training samples", style="yellow"
            )
    for record in packed.skipped[:SHOWN_REASONS]:
        console.print(f"skipped {record.sample_id or f'number {record.position}'}: {record.reason}")
    if len(packed.skipped) > SHOWN_REASONS:
        console.print(f"… and {len(packed.skipped) - SHOWN_REASONS} more, see skipped.jsonl")


if __name__ == "__main__":
    run_application(app)
