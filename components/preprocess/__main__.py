"""Command line of the stage: ``python -m components.preprocess --help``."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console
from rich.table import Table

from components.contracts import dataset
from components.contracts.data_config import Format
from components.preprocess.core import preprocess
from components.preprocess.inspect import inspection
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
    - clips without labels, `.npy`, `.json` or `.pkl` (`--format clips`; see `readers/unlabelled.py`);

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
    with Exchange() as exchange:
        local = exchange.input(path)
        if plot is not None:
            _draw(local, plot, sample, layout, kind)
        else:
            show(inspection.inspect(local, kind), path, layout)


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
