"""The evaluate stage from a shell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from components.contracts import report
from components.contracts.errors import InputError
from components.contracts.skeleton import STREAMS
from components.evaluate.core import evaluate
from components.evaluate.dumps import import_scores
from components.evaluate.measures.ensemble import only_streams
from components.evaluate.report.comparison import compare, open_run
from components.evaluate.report.terminal import print_comparison, print_report
from components.runtime.cli import Exchange, application, parse_settings, read_experiment, run
from components.runtime.store import is_remote

app = application("python -m components.evaluate", "Evaluate: scores of all streams to an ensemble and a report.")


Uris = list[str] | None
Settings = Annotated[
    list[str] | None, typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the experiment.")
]


def artifact(what: str) -> Any:
    """Return the option for an artifact's directory or URI."""
    return typer.Option(metavar="DIR", help=what)


@app.callback()
def main() -> None:
    """Combine the streams' scores into an ensemble, measure every stream and round, and write the report.

    The *ensemble* is the weighted mean of the streams' class probabilities; the weights stand under
    `evaluate.weights` of the experiment. The last round among the given scores is the one reported.
    """


@app.command("run")
def run_evaluation(
    config: Annotated[str, typer.Option(help="Experiment file (YAML), for example pipelines/configs/demo.yaml.")],
    scores: Annotated[list[str], artifact("`scores` artifact of one stream and round. Repeat it for each.")],
    output: Annotated[str, artifact("Where the `report` artifact is written.")],
    confusion: Annotated[Uris, artifact("`confusion` artifact, for the training accuracy. Repeat it for each.")] = None,
    constraints: Annotated[Uris, artifact("`constraints` artifact, for what the agent said. Repeat it.")] = None,
    dataset: Annotated[str | None, artifact("`dataset` artifact, for leaks, a baseline and skeletons.")] = None,
    held_out: Annotated[Uris, artifact("`scores` of held-out training samples, to learn weights from.")] = None,
    baseline: Annotated[Uris, artifact("`scores` of another method, to be held against. Repeat it.")] = None,
    streams: Annotated[str | None, typer.Option(help="Only these of the given streams, e.g. j,b.")] = None,
    set_: Settings = None,
) -> None:
    """Evaluate any streams and rounds together and print the accuracy of each.

    **Reads** `scores` artifacts (at least one; all of the same test samples) and, as far as there are any,
    `confusion` and `constraints` artifacts. Each knows its stream and round, so their order does not matter.
    **Writes** one artifact:

    - `report.html`: the whole report in one file, readable without a network;
    - `metrics.json`: the same numbers for machines (keys: see components/contracts/metrics.py);
    - `predictions.npz`: what the ensemble said of each test sample, for `compare`.

    Weights and a temperature are never learnt on the test split. A run with `train.held_out` brings along scores of
    training samples that it was not trained on, from which both are learnt. `--held-out` gives other ones instead:
    `scores` of a run whose test split is a held-out part of the training split.

    The same inputs give the same bytes.

    **Example**: two streams after one round, the bone stream counting double:

        python -m components.evaluate run --config my.yaml --scores out/j-1/scores --scores out/b-1/scores \\
            --confusion out/j-1/confusion --confusion out/b-1/confusion --constraints out/constraints-0 \\
            --set "evaluate.weights={j: 1, b: 2}" --output out/report
    """
    experiment = read_experiment(config, parse_settings(set_ or []))
    stage = only_streams(experiment.stage_evaluate(), streams.split(",")) if streams else experiment.stage_evaluate()
    with Exchange() as exchange:
        local = exchange.output(output)
        evaluate(
            stage,
            [exchange.input(uri) for uri in scores],
            [exchange.input(uri) for uri in confusion or []],
            [exchange.input(uri) for uri in constraints or []],
            local,
            dataset=exchange.input(dataset) if dataset else None,
            held_out=[exchange.input(uri) for uri in held_out or []],
            baselines=[exchange.input(uri) for uri in baseline or []],
        )
        metrics = report.open(local).metrics
    print_report(metrics, Console())
    print(f"{output.rstrip('/')}/report.html")


@app.command("compare")
def compare_runs(
    first: Annotated[str, typer.Argument(metavar="RUN_A", help="A run's folder (runs/NAME) or a `report` artifact.")],
    second: Annotated[str, typer.Argument(metavar="RUN_B", help="The same, of the same test samples.")],
) -> None:
    """Answer in one sentence: is B better than A?

    Both runs spoke about the same test samples, so they are compared sample by sample: McNemar's exact test, a
    bootstrap interval of the difference, and the classes that changed (p-values adjusted by Holm).

    **Example**: did the agent help? Train twice at the same budget, once without guidance, then

        python -m components.evaluate compare runs/without runs/with
    """
    with Exchange() as exchange:
        runs = [open_run(exchange.input(uri) if is_remote(uri) else Path(uri)) for uri in (first, second)]
    print_comparison(compare(*runs), Console())


@app.command("import")
def import_dump(
    dump: Annotated[str, typer.Argument(help="`result.pkl` or `best_pred.pkl` of the reference or of PYSKL.")],
    config: Annotated[str, typer.Option(help="Experiment file (YAML) with the protocol that the scores are of.")],
    dataset: Annotated[str, typer.Option(metavar="DIR", help="`dataset` artifact of the same annotations.")],
    stream: Annotated[str, typer.Option(help=f"The stream: one of {', '.join(STREAMS)}.")],
    output: Annotated[str, typer.Option(metavar="DIR", help="Where the `scores` artifact is written.")],
    round_number: Annotated[int, typer.Option("--round", min=1, help="The round that they count for.")] = 1,
    set_: Settings = None,
) -> None:
    """Make a `scores` artifact of a score dump of other code, to mix published streams with ours.

    The file is read as data: one that tries to execute anything is refused. It holds no sample ids: its rows are
    taken for the test samples in the order of the annotations, and the top-1 that follows is printed. If that is not
    the one that was published, the annotations are not the ones that the scores were made with.
    """
    if stream not in STREAMS:
        raise InputError(f"--stream: found {stream!r}, expected one of {', '.join(STREAMS)}")
    stage = read_experiment(config, parse_settings(set_ or [])).stage_train(stream)
    with Exchange() as exchange:
        scored, packed = exchange.input(dump), exchange.input(dataset)
        top1 = import_scores(scored, stage, stream, round_number, packed, exchange.output(output))
    print(f"stream {stream}, round {round_number}: top-1 {top1:.1%}")


if __name__ == "__main__":
    run(app)
