"""The pipeline from a shell: run it here, or compile it for a cluster."""

from __future__ import annotations

import hashlib
import shutil
import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from components.contracts.errors import InputError
from components.runtime.cli import application, parse_settings
from components.runtime.cli import run as run_application
from components.runtime.store import is_remote, store_for
from pipelines.cluster.commands import register, rounds_for
from pipelines.cluster.overlay import OVERLAY_HELP, load_overlay
from pipelines.cluster.package import compile_package
from pipelines.demo import write_demo
from pipelines.images import IMAGE_HELP, TAG_HELP, image_references
from pipelines.local import folders, listing
from pipelines.local.run import Place, Request, StageError, processes
from pipelines.local.run import run as run_locally
from pipelines.platform import Cluster

CONFIGS = Path(__file__).parent / "configs"
DEMO_CONFIG = CONFIGS / "demo.yaml"

app = application("python -m pipelines", "The whole pipeline: from a pickle of skeletons to a report.")

Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the config, e.g. train.epochs=4."),
]


Data = Annotated[str, typer.Option(help="Skeletons: a path or s3:// URI; none: a synthetic demo is made.")]
Config = Annotated[
    Path | None, typer.Option(help="Experiment file (YAML) that describes the data, or the name of one of ours.")
]
Root = Annotated[Path, typer.Option(help="Folder for results, artifacts and the cache.")]


@app.command()
def run(
    data: Data = "",
    config: Config = None,
    rounds: Annotated[int | None, typer.Option(help="Rounds of training and asking; none: the config's.")] = None,
    streams: Annotated[str | None, typer.Option(help="Streams, e.g. j,b,k,jm,bm,km; none: the config's.")] = None,
    protocol: Annotated[str | None, typer.Option(help="A protocol of the config; none: the config's.")] = None,
    set_: Settings = None,
    root: Root = Path("runs"),
    agent_url: Annotated[
        str,
        typer.Option(envvar="SKELETONAGENT_AGENT_URL", help="URL of an agent service; none: the agent runs here."),
    ] = "",
    in_containers: Annotated[
        bool, typer.Option("--containers", help="Run the stages in their images, and the agent as a service.")
    ] = False,
) -> None:
    """Run the pipeline on this machine, without Docker or a cluster, and print the path of the report.

    What is finished is cached: the same command again takes seconds, a changed setting repeats only the stages
    that it concerns, and an interrupted run goes on where it was, within a round too.

    **Examples**

        python -m pipelines run

        python -m pipelines run --data nw_ucla.pkl --config pipelines/configs/nw_ucla_quick.yaml --streams j,b,k
    """
    console = Console(file=sys.stderr)  # the file itself: KFP's own output is redirected meanwhile
    overrides = _overrides(rounds, streams, protocol, set_)
    source, config = pipeline_inputs(data, config, root, console)
    try:
        report = run_locally(Request(source, config, overrides, root, agent_url), console, _place(in_containers))
    except StageError as error:
        print(f"error: {error}", file=sys.stderr)
        raise typer.Exit(1) from None
    print(report)


runs = typer.Typer(invoke_without_command=True, no_args_is_help=False, help="List the runs of this machine.")
app.add_typer(runs, name="runs")


@runs.callback()
def list_runs(context: typer.Context, root: Root = Path("runs")) -> None:
    """List the runs of this machine: accuracy, when, how long, and the disk that is theirs alone."""
    context.obj = root
    if context.invoked_subcommand is None:
        listing.show(root, Console())


@runs.command("delete")
def delete_run(context: typer.Context, name: Annotated[str, typer.Argument(help="As `runs` lists it.")]) -> None:
    """Delete a run, with the artifacts that no other run uses. What an LLM answered stays."""
    print(f"deleted {name}: {listing.delete(context.obj, name) / 1e6:.1f} MB")


@app.command("compile")
def compile_pipeline(
    output: Annotated[Path, typer.Option(help="File to write.")] = Path("build/pipeline.yaml"),
    rounds: Annotated[int | None, typer.Option(help="Rounds, unrolled; none: the config's, or 2.")] = None,
    config: Annotated[str, typer.Option(help="Experiment whose rounds count; a run names its own.")] = "",
    overlay: Annotated[str, typer.Option(help=f"Images, resources and defaults. {OVERLAY_HELP} None: --image.")] = "",
    image: Annotated[list[str] | None, typer.Option(help=IMAGE_HELP)] = None,
    tag: Annotated[str | None, typer.Option(help=TAG_HELP)] = None,
) -> None:
    """Compile the pipeline into a file that the KFP user interface and its API accept.

    Data, experiment and streams are parameters of each run.

    **Example**

        python -m pipelines compile --rounds 3 --overlay gpu
    """
    if overlay and (image or tag):
        raise InputError("--overlay: names the images too; without it, --image and --tag do")
    chosen = load_overlay(overlay) if overlay else None
    cluster = chosen.cluster if chosen else Cluster(image_references(image or [], tag))
    number = rounds_for(config, rounds)
    compile_package(output, rounds=number, cluster=cluster, defaults=chosen.defaults if chosen else None)
    print(output)


@app.command("components")
def share_components(
    output: Annotated[Path, typer.Option(help="Folder to write to.")] = Path("build/components"),
    rounds: Annotated[int, typer.Option(help="Rounds of training whose results evaluate takes.")] = 2,
    overlay: Annotated[str, typer.Option(help=f"Images and resources. {OVERLAY_HELP}")] = "local",
) -> None:
    """Compile each stage into a component for other pipelines, with a README of inputs, outputs and environment."""
    from pipelines.shared import write_components

    for file in write_components(output, rounds, load_overlay(overlay).cluster):
        print(file)


def pipeline_inputs(data: str, config: Path | None, root: Path, console: Console) -> tuple[Path, Path]:
    """Return the data and the config to run on; with neither, make those of the demo."""
    folders.make_folder(root)
    if not data and config is None:
        path = root / "demo" / "demo.pkl"
        message = "no data given: running on a SYNTHETIC demo, whose accuracy says nothing about real data"
        console.print(message, soft_wrap=True)
        folders.make_folder(path.parent)
        write_demo(path)
        return path, DEMO_CONFIG
    if not data or config is None:
        missing = "--config (make: CONFIG=) that describes the data" if data else "--data (make: DATA=) to run on"
        raise InputError(f"{missing} is missing; the synthetic demo runs with neither")
    if not config.exists() and (named := CONFIGS / f"{config}.yaml").is_file():
        config = named
    return _fetched(data, root, console) if is_remote(data) else Path(data).expanduser(), config


def _fetched(uri: str, root: Path, console: Console) -> Path:
    """Return a copy of what lies at an ``s3://`` URI; it is fetched anew for every run, for it may have changed."""
    folder = root / folders.DOWNLOADS / hashlib.sha256(uri.encode()).hexdigest()[:12]
    console.print(f"fetching {uri} into {folder}", highlight=False, soft_wrap=True)
    shutil.rmtree(folder, ignore_errors=True)
    folders.make_folder(folder)
    fetched = store_for(uri).fetch(uri, folder)
    # Under the same path each time: the path is part of what the cache knows the tasks by.
    return fetched.rename(folder / fetched.name)


def _place(in_containers: bool) -> Place:
    if not in_containers:
        return processes
    from pipelines.local.containers import containers  # only who uses an engine pays for the import of its client

    return containers


def _overrides(
    rounds: int | None, streams: str | None, protocol: str | None, settings: list[str] | None
) -> dict[str, Any]:
    """Return the options as dotted keys of the config; a named option wins over --set."""
    overrides = parse_settings(settings or [])
    if rounds is not None:
        overrides["rounds"] = rounds
    if streams:
        overrides["streams"] = [stream.strip() for stream in streams.split(",") if stream.strip()]
    if protocol:
        overrides["data.protocol"] = protocol
    return overrides


register(app)

if __name__ == "__main__":
    run_application(app)
