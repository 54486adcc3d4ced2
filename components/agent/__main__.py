"""The agent stage from a shell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table
from rich.text import Text

from components.agent.core import run_round
from components.contracts import constraints
from components.contracts.config import load_experiment
from components.contracts.skeleton import STREAMS, load_layout
from components.runtime.cli import Exchange, application, run

app = application(
    "python -m components.agent",
    """Tells the recogniser what to look at: a description and critical joints per class.

Before training (round 0) these come from the written priors, or from an LLM. After each training round the
classes that were newly confused are asked about again; all others keep what they have. Whatever happens to
the LLM, the round ends with constraints for every class, and each says where it came from.

The key of a hosted LLM is read from the environment variable `OPENAI_API_KEY`, and from nowhere else.
""",
)


@app.command("run")
def run_command(
    config: Annotated[Path, typer.Option(help="The experiment (YAML); its `data` and `agent` sections are used.")],
    output: Annotated[str, typer.Option(help="Where to write the constraints artifact (a directory).")],
    round_number: Annotated[int, typer.Option("--round", min=0, help="0: before training; r: after round r.")] = 0,
    stream: Annotated[
        str, typer.Option(help=f"From round 1: the stream, one of {', '.join(STREAMS)}.", show_default=False)
    ] = "",
    confusion: Annotated[
        str | None, typer.Option(help="From round 1: the confusion artifact that training round r left.")
    ] = None,
    previous: Annotated[
        str | None, typer.Option(help="From round 1: the constraints artifact that training round r used.")
    ] = None,
) -> None:
    """Make the constraints of one round.

    Before training, then after round 1 of the joint stream:

        python -m components.agent run --config pipelines/configs/nw_ucla.yaml --output runs/constraints0

        python -m components.agent run --config pipelines/configs/nw_ucla.yaml --output runs/constraints1
        --round 1 --stream j --confusion runs/confusion1 --previous runs/constraints0
    """
    stage = load_experiment(config).stage_agent()
    with Exchange() as exchange:
        run_round(
            stage,
            exchange.output(output),
            stream=stream,
            round_number=round_number,
            confusion=exchange.input(confusion) if confusion else None,
            previous=exchange.input(previous) if previous else None,
        )


@app.command("show")
def show_command(
    artifact: Annotated[str, typer.Argument(help="A constraints artifact (a directory).")],
) -> None:
    """Print a constraints artifact as a table: what each class is told, and where that came from."""
    with Exchange() as exchange:
        found = constraints.open(exchange.input(artifact))
    names = load_layout(found.layout).joints
    stream = f", stream {found.stream}" if found.stream else ""
    table = Table(title=f"Round {found.round}{stream}, layout {found.layout}", show_lines=True)
    for heading in ("", "class", "description", "critical joints", "told apart from", "status"):
        table.add_column(heading, justify="right" if not heading else "left", overflow="fold")
    for entry in found.classes:
        every = len(entry.joints) == len(names)
        origin = entry.provenance
        cells = (
            str(entry.label),
            entry.name,
            entry.description,
            "all" if every else ", ".join(names[joint].replace("_", " ") for joint in entry.joints),
            ", ".join(found.classes[other].name for other in entry.told_apart_from),
            f"{origin.status} ({origin.provider})" + (f": {origin.note}" if origin.note else ""),
        )
        # Names and answers are data: brackets in them are no markup.
        table.add_row(*(Text(cell) for cell in cells))
    Console().print(table)


if __name__ == "__main__":
    run(app)
