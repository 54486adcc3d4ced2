"""The evaluate stage from a shell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

from components.contracts import report
from components.contracts.config import load_experiment
from components.evaluate.core import evaluate
from components.runtime.cli import Exchange, application, parse_settings, run

app = application("python -m components.evaluate", "Evaluate: scores of all streams to an ensemble and a report.")


@app.callback()
def main() -> None:
    """Combine the streams' scores into an ensemble, measure every stream and round, and write the report.

    The *ensemble* is the weighted mean of the streams' class probabilities; the weights stand under
    `evaluate.weights` of the experiment. The last round among the given scores is the one reported.
    """


@app.command("run")
def run_evaluation(
    config: Annotated[Path, typer.Option(help="Experiment file (YAML), for example pipelines/configs/demo.yaml.")],
    scores: Annotated[
        list[str],
        typer.Option(metavar="DIR", help="`scores` artifact of one stream and round. Repeat it for each."),
    ],
    output: Annotated[str, typer.Option(metavar="DIR", help="Where the `report` artifact is written.")],
    confusion: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="`confusion` artifact, for the training accuracy. Repeat it for each."),
    ] = None,
    constraints: Annotated[
        list[str] | None,
        typer.Option(metavar="DIR", help="`constraints` artifact, for what the agent said. Repeat it for each."),
    ] = None,
    set_: Annotated[
        list[str] | None,
        typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the experiment."),
    ] = None,
) -> None:
    """Evaluate any streams and rounds together and print the accuracy of each.

    **Reads** `scores` artifacts (at least one; all of the same test samples) and, as far as there are any,
    `confusion` and `constraints` artifacts. Each knows its stream and round, so their order does not matter.
    **Writes** one artifact:

    - `report.html`: the whole report in one file, readable without a network;
    - `metrics.json`: the same numbers for machines (keys: see components/evaluate/summary.py).

    The same inputs give the same bytes.

    **Example**: two streams after one round, the bone stream counting double:

        python -m components.evaluate run --config my.yaml --scores out/j-1/scores --scores out/b-1/scores \\
            --confusion out/j-1/confusion --confusion out/b-1/confusion --constraints out/constraints-0 \\
            --set "evaluate.weights={j: 1, b: 2}" --output out/report
    """
    experiment = load_experiment(config, parse_settings(set_ or []))
    with Exchange() as exchange:
        local = exchange.output(output)
        evaluate(
            experiment.stage_evaluate(),
            [exchange.input(uri) for uri in scores],
            [exchange.input(uri) for uri in confusion or []],
            [exchange.input(uri) for uri in constraints or []],
            local,
        )
        metrics = report.open(local).metrics
    Console().print(_table(metrics))
    print(f"{output.rstrip('/')}/report.html")


def _table(metrics: dict[str, Any]) -> Table:
    headline, data = metrics["headline"], metrics["data"]
    title = f"{metrics['name']}: {headline['top1']:.1%} top-1, {data['protocol_label']}"
    table = Table(title=escape(title), title_justify="left", title_style="bold")
    table.add_column("stream or ensemble")
    for name in ("round", "top-1", f"top-{min(5, len(data['classes']))}", "mean class"):
        table.add_column(name, justify="right")
    for row in metrics["streams"]:
        table.add_row(row["stream"], *_cells(row))
    table.add_section()
    for row in metrics["ensembles"]:
        chosen = row["name"] == "configured" and row["round"] == headline["round"]
        table.add_row(f"{row['name']} ({'+'.join(row['streams'])})", *_cells(row), style="bold" if chosen else None)
    return table


def _cells(row: dict[str, Any]) -> list[str]:
    return [str(row["round"]), *(f"{row[name]:.1%}" for name in ("top1", "top5", "mean_class"))]


if __name__ == "__main__":
    run(app)
