"""The commands around what was trained: ``model``, ``predict`` and ``export``, and ``baseline`` beside it."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer

from components.contracts import scores as scores_contract
from components.contracts.errors import InputError
from components.runtime.cli import Exchange, parse_settings, read_experiment
from components.train.distributed.process_group import default_device
from components.train.trained.baseline import open_dataset, temporal_convolution
from components.train.trained.ensemble import load_model
from components.train.trained.exporting import OPSET, TOLERANCE, export
from components.train.trained.joining import join_streams
from components.train.trained.predicting import predict

_TRAINED = "A run's folder (`runs/demo`), a `model` artifact, or a single `checkpoint`; a path or s3:// URI."
_NAMED = 5
"""How many of the clips that cannot be used the last line names; every one has a line of its own before."""

Trained = Annotated[str, typer.Argument(metavar="MODEL", help=_TRAINED)]


Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the experiment, e.g. data.protocol=published."),
]


def join_command(
    checkpoint: Annotated[list[str], typer.Option(help="`checkpoint` artifact of a stream's last round. Repeatable.")],
    config: Annotated[str, typer.Option(help="Experiment file (YAML): `evaluate.weights` are the ensemble's.")],
    output: Annotated[str, typer.Option(help="Where the `model` artifact goes.")],
    set_: Settings = None,
) -> None:
    """Join the last checkpoint of every stream into a `model`, which `predict` and `export` take.

    A pipeline does this by itself: the model is in `runs/<name>/model`, on a cluster the output `model` of the run.

    **Example**

        python -m components.train model --checkpoint out/j-2/checkpoint --checkpoint out/b-2/checkpoint \\
            --config my.yaml --output out/model
    """
    stage = read_experiment(config, parse_settings(set_ or [])).stage_evaluate()
    with Exchange() as exchange:
        join_streams(stage, [exchange.input(one) for one in checkpoint], exchange.output(output))
    print(output)


def predict_command(
    trained: Trained,
    clips: Annotated[
        list[str],
        typer.Argument(metavar="CLIPS…", help="Files or folders of raw skeletons, or `dataset` artifacts."),
    ],
    top: Annotated[int, typer.Option(min=1, help="How many classes and joints to name.")] = 5,
    test_clips: Annotated[
        int | None, typer.Option("--clips", min=1, help="Clips per sample; else as in training's test.")
    ] = None,
    best: Annotated[
        bool, typer.Option("--best/--last", help="Of a checkpoint: weights of the best tested epoch, or of the last.")
    ] = False,
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line, for machines.")] = False,
) -> None:
    """Name what is done in raw skeletons, and the joints that say so.

    The model's streams are asked together: their probabilities are averaged with the weights of the evaluation.
    CLIPS are one or more of

    - `.npy`, `.npz`, `.csv`: one clip, `[T, V, C]` or `[M, T, V, C]` (persons, frames, joints; C is x, y, z, or
      x, y, score);
    - `.json`: such an array as nested lists; what MMPose, COCO, AlphaPose, OpenPose, Ultralytics or MediaPipe write; or
      `{"clips": [{"id": …, "keypoint": …, "keypoint_score": …, "img_shape": [height, width]}, …]}`, all but `keypoint`
      optional;
    - `.pkl`: an annotation pickle of PYSKL (`split` and `label` not needed), read as data, never executed;
    - a folder or archive of such clips, a file each or a file for each frame;
    - a `dataset` artifact that was packed with the same `data` settings: all of its samples, as they are. This is the
      one form that the training image takes, where `components.preprocess` is not.

    Raw skeletons are normalised as the training data were. A clip that cannot be used is named on stderr with its
    reason, the others are recognised, and the command ends with status 2.

    A joint's *evidence* is what it adds to the logit of the class above the average class, averaged over the streams
    with their weights; in bone streams a bone counts for the joint at its outer end. With one stream, the sum over all
    joints (and a constant) is the logit itself, nothing estimated.

    **Example**

        python -m components.train predict runs/demo walk.npy more/ --json
    """
    failed: list[InputError] = []
    said = 0
    with Exchange() as exchange:
        model = load_model(exchange.input(trained), clips=test_clips, best=best)
        given = _fetched(exchange, clips, failed)
        for found in predict(model, [Path(path) for path in given]):
            if isinstance(found, InputError):
                _tell(found.renamed(given), failed)
                continue
            said += 1
            found = found.said_of(given.get(found.source, found.source))
            print(found.to_json(top) if as_json else found.to_text(top), flush=True)
    if failed:
        raise InputError(f"{len(failed)} of {said + len(failed)} could not be used: {_named(failed)}")


def _fetched(exchange: Exchange, clips: list[str], failed: list[InputError]) -> dict[str, str]:
    """Return local path → what the user calls it."""
    given: dict[str, str] = {}
    for uri in clips:
        try:
            given[str(exchange.input(uri))] = uri
        except InputError as error:
            _tell(error, failed)
    return given


def _named(failed: list[InputError]) -> str:
    places = list(dict.fromkeys(one.at for one in failed))
    return ", ".join(places[:_NAMED]) + (f" and {len(places) - _NAMED} more" if len(places) > _NAMED else "")


def _tell(error: InputError, failed: list[InputError]) -> None:
    failed.append(error)
    print(f"error: {error}", file=sys.stderr, flush=True)


def export_command(
    trained: Trained,
    output: Annotated[Path, typer.Option(help="The file to write, such as `model.onnx`.")],
    stream: Annotated[str | None, typer.Option(help="This stream alone; else all in one graph, weighted.")] = None,
) -> None:
    """Write the model as ONNX: packed joints in, class probabilities out.

    Bones, motion, all networks and their weighted mean are in the graph. Inputs: `joints`, float32 `[N, M, T, V, 3]`,
    N clips of T frames as `preprocess` packs and normalises them, absent persons zero; and `following`, of the same
    shape, the positions one frame later, where `train.motion` is not `clip`. Output: `probabilities`, float32
    `[N, classes]`. The file's metadata name classes, joints, frames, normalisation and sampling.

    Where onnxruntime is installed, the file is held against the networks, on random clips and on clips like bodies.

    **Example**

        python -m components.train export runs/demo --output model.onnx
    """
    with Exchange() as exchange:
        made = export(load_model(exchange.input(trained)), output, stream=stream)
    shape = ", ".join(map(str, made.shape))
    print(
        f"{output}: opset {OPSET}; {' and '.join(made.inputs)} float32 [{shape}] → probabilities float32 [N, classes]"
    )
    if made.difference is None:
        print("not checked: onnxruntime is not installed (.venv/bin/python -m pip install -e '.[export]')")
    else:
        print(f"checked with onnxruntime: differs from the networks by {made.difference:.1e} (at most {TOLERANCE:g})")


def baseline_command(
    dataset: Annotated[str, typer.Argument(help="`dataset` artifact, written by components.preprocess.")],
    config: Annotated[str, typer.Option(help="Experiment file (YAML) of the data.")],
    output: Annotated[str | None, typer.Option(help="Where its `scores` artifact goes; none without.")] = None,
    set_: Settings = None,
) -> None:
    """Train a small temporal convolution, and say what it reaches on the test split: a minute's work.

    It sees joints and velocities and knows nothing of the skeleton; clips are augmented as the recogniser's. A run that
    is not above it has learnt little. A pipeline does this by itself, unless `evaluate.baseline` is false; the scores
    are for `python -m components.evaluate … --baseline`.

    **Example**

        python -m components.train baseline out/dataset --config my.yaml
    """
    stage = read_experiment(config, parse_settings(set_ or [])).stage_baseline()
    with Exchange() as exchange:
        packed = open_dataset(stage, exchange.input(dataset))
        place = exchange.output(output) if output is not None else None
        found = temporal_convolution(stage, packed, default_device())
        if place is not None:
            scores_contract.write(place, found.scores, made_from={"dataset": packed.digest}, config=stage)
    print(found)
