"""The train stage from a shell."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Annotated

import typer

from components.runtime.cli import Exchange, application, parse_settings, read_experiment, run
from components.train.core import Outputs, train_round
from components.train.distributed.process_group import leave, process_group
from components.train.round import Round
from components.train.trained import commands
from components.train.trained.curve import draw_curve
from components.train.trained.published import import_reference
from components.train.trained.scoring import test_checkpoint
from components.train.training.allocator import keep_memory
from components.train.training.remote_saves import kept_at
from components.train.training.telemetry import Loggers

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the experiment, e.g. train.epochs=4."),
]

app = application("python -m components.train", "Train the recogniser: one stream, one round. Use what was trained.")


@app.callback()
def main() -> None:
    """Train the skeleton action recogniser under the agent's constraints.

    A *stream* is one view of the skeleton (joints `j`, bones `b`, k-bones `k`, and their motions `jm`, `bm`,
    `km`); a *round* is its share of the epochs between two visits to the agent.
    """
    keep_memory()


@app.command("run")
def run_round(
    config: Annotated[str, typer.Option(help="Experiment file (YAML), for example pipelines/configs/demo.yaml.")],
    dataset: Annotated[str, typer.Option(help="`dataset` artifact, written by components.preprocess.")],
    constraints: Annotated[str, typer.Option(help="`constraints` artifact that guides this round.")],
    output: Annotated[str, typer.Option(help="Folder for the artifacts `checkpoint`, `confusion` and `scores`.")],
    stream: Annotated[str, typer.Option(help="j, b, k, jm, bm or km.")] = "j",
    round_number: Annotated[int, typer.Option("--round", min=1, help="Round of the experiment, from 1.")] = 1,
    previous: Annotated[str | None, typer.Option(help="`checkpoint` artifact of the round before.")] = None,
    resume: Annotated[
        str | None,
        typer.Option(help="Folder or s3:// URI for a save of every epoch; a killed round goes on from there."),
    ] = None,
    log: Annotated[Path | None, typer.Option(help="JSONL file to which every epoch appends a line.")] = None,
    tensorboard: Annotated[Path | None, typer.Option(help="Folder for TensorBoard's files.")] = None,
    set_: Settings = None,
) -> None:
    """Train one round of one stream and score the test split.

    **Writes** three artifacts below `--output`:

    - `checkpoint`: weights, optimiser state and history, from which the next round goes on;
    - `confusion`: who was taken for whom on the training split (the agent's input) and on the test split;
    - `scores`: class probabilities of the test split (the evaluation's input), and with `train.held_out`, after the
      last round, of the training samples that were held out.

    Threads follow `OMP_NUM_THREADS`; a CUDA device is used if there is one. `METRICS_PORT` serves
    Prometheus metrics while the round runs. The same inputs, seed and number of threads give the same bytes.

    **Example**, round 1 and then round 2 of the bone stream:

        python -m components.train run --config my.yaml --dataset out/dataset \\
            --constraints out/constraints-0 --stream b --round 1 --output out/b-1

        python -m components.train run --config my.yaml --dataset out/dataset \\
            --constraints out/constraints-b-1 --stream b --round 2 --previous out/b-1/checkpoint --output out/b-2

    Four GPUs, one process each, which share every batch of the configuration:

        torchrun --nproc-per-node 4 -m components.train run --config my.yaml …

    Of inputs in an object store, each node fetches one copy.
    """
    experiment = read_experiment(config, parse_settings(set_ or []))
    # In this order: a process that fails says so before its copies of the inputs, which others use, are gone.
    with Exchange() as exchange, process_group() as group, kept_at(resume if group.is_main else None) as kept:
        place, once = exchange.output if group.is_main else Path, group.once_a_node
        outputs = Outputs(*(place(f"{output}/{name}") for name in ("checkpoint", "confusion", "scores")))
        what = Round(
            experiment.stage_train(stream),
            stream,
            round_number,
            exchange.input(dataset, once),
            exchange.input(constraints, once),
            exchange.input(previous, once) if previous else None,
        )
        train_round(what, outputs, resume=kept, group=group, loggers=Loggers(log, tensorboard))
    leave(group)


@app.command("import")
def import_command(
    checkpoint: Annotated[str, typer.Argument(help="Reference checkpoint, a `.pth` state dict.")],
    config: Annotated[str, typer.Option(help="Experiment file whose `model` and `data` fit the checkpoint.")],
    output: Annotated[str, typer.Option(help="Where the `checkpoint` artifact goes.")],
    stream: Annotated[str, typer.Option(help="The stream it was trained on: j, b, k, jm, bm or km.")] = "j",
    set_: Settings = None,
) -> None:
    """Turn a published SkeletonAgent checkpoint into a `checkpoint` artifact.

    The file is loaded as plain tensors only; nothing in it can run. Tensors without a counterpart here are named:
    the text tower (frozen and outside the recogniser) and the constraint matrix (part of `constraints`).

    **Example**

        python -m components.train import best_top1.pth --config ntu60.yaml --stream j --output out/checkpoint
    """
    stage = read_experiment(config, parse_settings(set_ or [])).stage_train(stream)
    with Exchange() as exchange:
        unmapped = import_reference(exchange.input(checkpoint), stage, exchange.output(output), stream=stream)
    groups = Counter(".".join(name.split(".")[:2]) for name in unmapped)
    named = ", ".join(f"{name} ({count})" for name, count in sorted(groups.items())) or "none"
    print(f"{output}: imported; not mapped: {named}")


@app.command("test")
def test_command(
    checkpoint: Annotated[str, typer.Argument(help="`checkpoint` artifact.")],
    config: Annotated[str, typer.Option(help="Experiment file (YAML) that the checkpoint fits.")],
    dataset: Annotated[str, typer.Option(help="`dataset` artifact, written by components.preprocess.")],
    output: Annotated[str | None, typer.Option(help="Where a `scores` artifact goes, if one is wanted.")] = None,
    stream: Annotated[str, typer.Option(help="The checkpoint's stream.")] = "j",
    clips: Annotated[int | None, typer.Option(min=1, help="Clips per sample; else `train.test_clips`.")] = None,
    best: Annotated[
        bool, typer.Option("--best/--last", help="Weights of the best tested epoch, or of the last one.")
    ] = False,
    set_: Settings = None,
) -> None:
    """Score the test split of the protocol with a checkpoint, without training.

    Prints top-1, top-5, mean-class accuracy, mean average precision, and how many clips were scored per second.
    `--best` picks the epoch by its accuracy on this very split, where training watched it (`train.evaluate_every`):
    that is how the reference reports, and it flatters.

    **Example**, ten clips per sample under another protocol, with scores that `components.evaluate` reads:

        python -m components.train test out/checkpoint --config my.yaml --dataset out/dataset --output out/scores \\
            --clips 10 --set data.protocol=published
    """
    settings = parse_settings(set_ or []) | ({"train.test_clips": clips} if clips else {})
    stage = read_experiment(config, settings).stage_train(stream)
    with Exchange() as exchange:
        place = exchange.output(output) if output else None
        tested = test_checkpoint(
            stage, exchange.input(dataset), exchange.input(checkpoint), place, stream=stream, best=best
        )
    weights = "best tested epoch" if best else "last epoch"
    print(f"{checkpoint} ({weights}): {tested.samples} samples, clips per sample: {stage.train.test_clips}")
    for name, share in (
        ("top-1", tested.top1),
        ("top-5", tested.top5),
        ("mean-class accuracy", tested.mean_class),
        ("mean average precision", tested.mean_average_precision),
    ):
        print(f"{name:<24}{share:.2%}")
    print(f"{'throughput':<24}{tested.clips_per_second:.1f} clips/s")


@app.command("curve")
def curve_command(
    artifact: Annotated[str, typer.Argument(help="`checkpoint` or `scores` artifact.")],
    plot: Annotated[Path, typer.Option(help="Picture to write: `.png`, `.svg` or `.pdf`.")],
) -> None:
    """Draw the learning curve of all epochs so far: loss and its parts, accuracy, learning rate.

    **Example**

        python -m components.train curve out/b-2/checkpoint --plot curve.png
    """
    with Exchange() as exchange:
        draw_curve(exchange.input(artifact), plot)
    print(plot)


for name, command in (
    ("model", commands.join_command),
    ("predict", commands.predict_command),
    ("export", commands.export_command),
    ("baseline", commands.baseline_command),
):
    app.command(name)(command)


if __name__ == "__main__":
    run(app)
