"""Command line of the stage: ``python -m components.preprocess --help``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from components.contracts import dataset
from components.contracts.config import parse_experiment
from components.contracts.data_config import Format
from components.contracts.errors import InputError
from components.contracts.skeleton import is_layout_path, read_layout
from components.preprocess.core import preprocess
from components.preprocess.inspect import inspection
from components.preprocess.inspect.config_text import text_of
from components.preprocess.inspect.draft import draft
from components.preprocess.inspect.effort import duration
from components.preprocess.inspect.report import printable, show
from components.runtime.cli import Exchange, application, read_experiment
from components.runtime.cli import run as run_application
from components.runtime.metrics import serve_metrics

SHOWN_REASONS = 10

app = application(
    "preprocess",
    "Turns a file of skeletons into the `dataset` artifact that training reads: packed, checked and normalised.",
)


@app.command()
def run(
    source: Annotated[
        str,
        typer.Argument(
            help="A pickle (PYSKL or Kinetics index), a folder, a .zip, .tar or .tar.gz of one; or its s3:// URI."
        ),
    ],
    config: Annotated[
        str, typer.Option("--config", "-c", help="The experiment, a YAML file; its `data` section counts.")
    ],
    output: Annotated[str, typer.Option("--output", "-o", help="Where the dataset goes: a directory or s3:// URI.")],
    sha256: Annotated[str | None, typer.Option(help="Refuse the source unless it has this SHA-256.")] = None,
    kind: Annotated[
        Format | None, typer.Option("--format", help="The source's format; else data.format counts.")
    ] = None,
    processes: Annotated[
        int | None, typer.Option(min=1, help="Processes that pack; else one per core, for all but small inputs.")
    ] = None,
) -> None:
    """Pack every usable sample of SOURCE; list every other one, with its reason, in `skipped.jsonl`.

    SOURCE is one of

    - an annotation pickle of PYSKL (`pyskl`);
    - the Kinetics index of PYSKL with its folder `kpfiles` beside it (`kinetics`);
    - a folder of raw NTU RGB+D recordings, `S001C001P001R001A001.skeleton` … (`ntu`); recordings that a file
      `*missing*.txt` in it names are skipped; splits `xsub_*`, `xview_*` and `xset_*` follow from the names;
    - a folder of raw UAV-Human recordings, `P000S00G10B10H10UC022000LC021000A000R0_08241716.txt` … (`uav`);
      splits `csv1_*` and `csv2_*` follow from the names;
    - a folder of NW-UCLA's `a01_s01_e00_v01.json` (`ucla`);
    - a folder of clips, `.npy`, `.npz`, `.csv`, or the JSON of MMPose, COCO, AlphaPose, OpenPose, Ultralytics or
      MediaPipe, with a `labels.csv` or a folder per class (`folder`; see `readers/folder.py`);
    - a `.npz` of a whole data set (`arrays`; see `readers/array_sets.py`);
    - clips without labels, in any of these forms (`--format clips`; see `readers/unlabelled.py`);

    or a folder or archive that holds one of these. Pickles are read as data: one that asks for anything but
    containers, numbers, text and NumPy arrays is refused, and nothing in it is executed.

    Example:

        python -m components.preprocess run nw_ucla.pkl --config pipelines/configs/nw_ucla.yaml --output out/dataset

    Ends with status 2 and one line on stderr if the source or the configuration cannot be used.
    """
    serve_metrics()
    settings = read_experiment(config).stage_preprocess()
    if kind is not None:
        settings = settings.model_copy(update={"format": kind})
    with Exchange() as exchange:
        path = exchange.output(output)
        preprocess(exchange.input(source), settings, path, expected_sha256=sha256, processes=processes)
        summarise(path, output)


@app.command()
def inspect(
    path: Annotated[str, typer.Argument(help="Whatever `run` reads, or a packed dataset.")],
    plot: Annotated[
        Path | None, typer.Option(help="Draw a sample as a strip of skeletons to this PNG, instead of the report.")
    ] = None,
    sample: Annotated[str | None, typer.Option(help="The id of the sample to draw; else the first one.")] = None,
    layout: Annotated[
        str | None, typer.Option(help="The layout to draw with and to hold the joints against; else the likeliest one.")
    ] = None,
    kind: Annotated[Format, typer.Option("--format", help="The format; `auto` looks at the input.")] = "auto",
) -> None:
    """Print what PATH holds: samples, classes, splits, persons, frames, what is faulty, and what leaks.

    Needs no configuration. Equal sequences are counted, and where a training and a test split of one protocol
    share them (a leak), their number and one pair are named.

    Example:

        python -m components.preprocess inspect nw_ucla.pkl

        python -m components.preprocess inspect nw_ucla.pkl --plot strip.png --sample a01_s01_e00_v01
    """
    layout = read_layout(Path(layout)) if layout and is_layout_path(layout) else layout
    with Exchange() as exchange:
        local = exchange.input(path)
        if plot is not None:
            _draw(local, plot, sample, layout, kind)
        else:
            show(inspection.inspect(local, kind), path, layout)


@app.command()
def init(
    path: Annotated[str, typer.Argument(help="Your data: whatever `run` reads.")],
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="The file to write; else it is printed.")
    ] = None,
    layout: Annotated[str | None, typer.Option(help="The layout: a name or a .yaml file; else the likeliest.")] = None,
    kind: Annotated[Format, typer.Option("--format", help="The format; `auto` looks at the input.")] = "auto",
) -> None:
    """Write a commented experiment that runs, from what the data at PATH look like.

    It decides on layout, units, classes, splits (and makes some where there are none), persons, and a network that
    suits the number of samples and this machine. What it is unsure of it says, on stderr and in the file.

    Example:

        python -m components.preprocess init my.pkl --output my.yaml

        make run DATA=my.pkl CONFIG=my.yaml
    """
    if output is not None and output.exists():
        raise InputError("exists already; give the output another name", at=output)
    with Exchange() as exchange:
        found = inspection.inspect(exchange.input(path), kind)
        own = layout is not None and is_layout_path(layout)
        made = draft(found, read_layout(Path(layout)) if layout and own else layout)
        if layout and own:
            made.data["layout"] = str(Path(layout).resolve())
        text = text_of(made, found, path)
    parse_experiment(text, "the draft")
    for line in made.loud:
        print(f"note: {line}", file=sys.stderr)
    if output is None:
        print(text, end="")
        return
    try:
        output.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", at=output) from None
    print(
        f"{output}: {len(found.labels)} samples, {len(made.data['classes'])} classes, {made.model['size']} network, "
        f"about {duration(made.seconds)} for make run DATA={path} CONFIG={output}"
    )


def _draw(path: Path, output: Path, sample_id: str | None, layout: str | None, kind: Format) -> None:
    from components.preprocess.inspect import strip  # matplotlib takes a second to load and is needed here only

    sample, holdings = inspection.find_sample(path, kind, sample_id)
    label = holdings.classes[sample.label] if sample.label < len(holdings.classes) else f"class {sample.label}"
    strip.draw(
        sample, inspection.layout_of(sample, holdings, layout), f"{printable(sample.sample_id)} · {label}", output
    )
    print(f"{output}: {printable(sample.sample_id)}, {printable(label)}, {sample.keypoints.shape[1]} frames")


def summarise(path: Path, name: str) -> None:
    """Print what a dataset holds to stdout."""
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    packed = dataset.open(path)
    console.print(f"{name}: {len(packed)} samples packed, {len(packed.skipped)} skipped")
    console.print(f"{packed.frames.sum()} frames, up to {packed.persons.max()} persons, layout {packed.layout.name}")
    table = Table("split", "samples", "frames", "classes")
    for split, numbers in sorted(packed.splits.items()):
        classes = len(set(packed.labels[numbers].tolist()))
        table.add_row(split, str(len(numbers)), str(packed.frames[numbers].sum()), str(classes))
    console.print(table)
    for protocol, count in packed.manifest.about["leaks"].items():
        if count:
            console.print(
                f"protocol {protocol}: {count} test samples are byte-equal to training samples", style="yellow"
            )
    for record in packed.skipped[:SHOWN_REASONS]:
        console.print(f"skipped {printable(record.sample_id) or f'number {record.position}'}: {record.reason}")
    if len(packed.skipped) > SHOWN_REASONS:
        console.print(f"… and {len(packed.skipped) - SHOWN_REASONS} more, see skipped.jsonl")


if __name__ == "__main__":
    run_application(app)
