"""The commands for a cluster: ``python -m pipelines deploy | undeploy | diff | submit | status | replay``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console

from components.contracts.config import load_experiment, parse_experiment
from components.contracts.errors import InputError
from components.runtime.cli import parse_settings
from components.runtime.store import S3_SCHEMES
from pipelines.cluster import deploy as deployment
from pipelines.cluster.api import HOST_VARIABLE, TOKEN_VARIABLE, connect
from pipelines.cluster.artifacts import DEFAULT_ROOT, locate
from pipelines.cluster.kubectl import Kubectl
from pipelines.cluster.overlay import OVERLAY_HELP, Overlay, load_overlay
from pipelines.cluster.package import Package, compile_package, write_package
from pipelines.cluster.past import read_past
from pipelines.cluster.replay import Target, make_replay
from pipelines.cluster.watch import errors, follow, table, tasks_of
from pipelines.parameters import presets

BUILD = Path("build")
_HOST_HELP = f"URL of Kubeflow Pipelines; none: through the kubeconfig. {TOKEN_VARIABLE} may hold a token."

OverlayName = Annotated[str, typer.Option(help=OVERLAY_HELP)]
Host = Annotated[str, typer.Option(envvar=HOST_VARIABLE, help=_HOST_HELP)]
Context = Annotated[str, typer.Option(help="Context of the kubeconfig; none: its current one.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Rounds = Annotated[int | None, typer.Option(help="Rounds of training and asking; none: the config's, or 2.")]
Config = Annotated[str, typer.Option(help="Experiment: a file, or the name of one that comes with the project.")]
Params = Annotated[
    list[str] | None,
    typer.Option("--param", metavar="NAME=VALUE", help="A parameter of the run, e.g. gpus=2. Repeatable."),
]
Settings = Annotated[
    list[str] | None,
    typer.Option("--set", metavar="KEY=VALUE", help="Replace a value of the config, e.g. train.epochs=4."),
]


def register(app: typer.Typer) -> None:
    """Add the commands to the application."""
    for command in (deploy, undeploy, diff, submit, status, replay):
        app.command()(command)


def deploy(
    overlay: OverlayName = "local",
    rounds: Rounds = None,
    config: Config = "",
    host: Host = "",
    context: Context = "",
    create_secrets: Annotated[
        bool, typer.Option(help="Create the Secrets that are missing from the environment's variables.")
    ] = False,
    dry_run: DryRun = False,
) -> None:
    """Bring the agent service and the pipeline to a cluster: apply an overlay, wait, upload the pipeline.

    A second call changes nothing. **Example**

        python -m pipelines deploy --overlay gpu --dry-run
    """
    console, chosen = Console(), load_overlay(overlay)
    package = _package(chosen, rounds, config)
    kubectl = Kubectl(chosen.namespace, context)
    if dry_run:
        deployment.plan(chosen, package, kubectl.build(chosen.path), console)
        return
    kubectl.check()
    server = connect(host, chosen.namespace, context)  # a mistake there should not leave a deployment half done
    deployment.deploy(chosen, kubectl, console, create_secrets=create_secrets)
    deployment.upload(package, server, console)
    console.print(f"ready: make submit OVERLAY={overlay} DATA=s3://…, or start a run in the user interface")


def undeploy(overlay: OverlayName = "local", context: Context = "", dry_run: DryRun = False) -> None:
    """Take away what `deploy` applied. Data, Secrets and the runs in KFP stay."""
    chosen = load_overlay(overlay)
    deployment.undeploy(Kubectl(chosen.namespace, context), chosen, Console(), dry_run=dry_run)


def diff(
    overlay: OverlayName = "local",
    rounds: Rounds = None,
    config: Config = "",
    host: Host = "",
    context: Context = "",
) -> None:
    """Show what `deploy` would change in the cluster."""
    console, chosen = Console(), load_overlay(overlay)
    package = _package(chosen, rounds, config)
    changes = Kubectl(chosen.namespace, context).diff(chosen.path)
    console.print(changes.rstrip() or f"{chosen.shown}: no difference", markup=False, highlight=False)
    there = connect(host, chosen.namespace, context).has(package)
    console.print(f"pipeline version {package.version}: {'uploaded' if there else 'would be uploaded'}")


def submit(
    data: Annotated[str, typer.Option(help="URI of the skeletons, such as s3://bucket/my.pkl.")] = "",
    config: Config = "",
    rounds: Rounds = None,
    streams: Annotated[str, typer.Option(help="Streams, e.g. j,b,k,jm,bm,km; none: the config's.")] = "",
    overlay: OverlayName = "local",
    param: Params = None,
    set_: Settings = None,
    name: Annotated[str, typer.Option(help="Name of the run; none: after the experiment.")] = "",
    host: Host = "",
    context: Context = "",
    follow_: Annotated[bool, typer.Option("--follow/--no-follow", help="Show the run until it is over.")] = True,
    dry_run: DryRun = False,
) -> None:
    """Start a run on the cluster and show its tasks. Ctrl-C ends the showing, not the run.

    **Example**

        python -m pipelines submit --data s3://lab/nw_ucla.pkl --config nw_ucla --overlay gpu --param gpus=2
    """
    console, chosen = Console(), load_overlay(overlay)
    settings = parse_settings(set_ or [])
    package = _package(chosen, rounds, config, settings)
    values = {"data": data, "streams": streams, **package.read(param or [])}
    values = {key: value for key, value in values.items() if value != ""}
    if settings:
        before = _value(package, values, "overrides")
        if not isinstance(before, dict):
            raise InputError(f"parameter overrides: found {before!r}, expected a mapping")
        values["overrides"] = {**before, **settings}
    package.check(values)
    _check_data(_value(package, values, "data"))
    title = name or f"{_experiment_name(config)} {package.version}"
    if dry_run:
        console.print(f"would start {title!r}, version {package.version}, with", markup=False)
        for key, value in {**_defaults(package), **values}.items():
            console.print(f"  {key} = {value!r}", markup=False, highlight=False, overflow="ellipsis", no_wrap=True)
        return
    server = connect(host, chosen.namespace, context)
    pipeline, version, new = server.upload(package, "Uploaded by make submit")
    if new:
        console.print(f"pipeline version {package.version}: uploaded")
    run_id = server.start(pipeline, version, name=title, experiment="skeletonagent", values=values)
    _finish(server, run_id, console, wait=follow_)


def status(
    run: Annotated[str, typer.Argument(help="Id of the run; none: the newest.")] = "",
    overlay: OverlayName = "local",
    host: Host = "",
    context: Context = "",
    follow_: Annotated[bool, typer.Option("--follow/--no-follow", help="Show the run until it is over.")] = False,
) -> None:
    """Show the tasks of a run on the cluster."""
    console, server = Console(), connect(host, load_overlay(overlay).namespace, context)
    run_id = run or server.latest()
    if follow_:
        _finish(server, run_id, console, wait=True)
        return
    found = server.run(run_id)
    console.print(f"run {run_id}: {found.display_name}: {server.link(run_id)}", soft_wrap=True, highlight=False)
    console.print(table(tasks_of(found), found.state or "PENDING"))
    for line in errors(found):
        console.print(line, style="red", markup=False, soft_wrap=True)


def replay(
    stage: Annotated[str, typer.Argument(help="preprocess, agent, train or evaluate.")],
    run: Annotated[str, typer.Option(help="Id of the run whose artifacts it takes; none: the newest.")] = "",
    stream: Annotated[str, typer.Option(help="Of agent and train: j, b, k, jm, bm or km.")] = "j",
    round_number: Annotated[int, typer.Option("--round", help="Of agent (0: the prior) and train.")] = 1,
    root: Annotated[str, typer.Option(help=f"Where KFP keeps artifacts; none: the run's, or {DEFAULT_ROOT}.")] = "",
    input_: Annotated[
        list[str] | None, typer.Option("--input", metavar="NAME=URI", help="Take this artifact instead. Repeatable.")
    ] = None,
    param: Params = None,
    overlay: OverlayName = "local",
    host: Host = "",
    context: Context = "",
    follow_: Annotated[bool, typer.Option("--follow/--no-follow", help="Show the run until it is over.")] = True,
    dry_run: DryRun = False,
) -> None:
    """Repeat one task of an earlier run, around the artifacts that the run left.

    The artifacts are found in the object store: `S3_ENDPOINT` and the `AWS_` variables say where and as whom.
    Parameters are those that the run was given, then the overlay's; `--param` replaces them.

    **Example**

        python -m pipelines replay train --run 5f3c… --stream b --round 2 --overlay gpu
    """
    console, chosen = Console(), load_overlay(overlay)
    server = connect(host, chosen.namespace, context)
    past = read_past(server, run or server.latest())
    target = Target(stage, stream, round_number, past.rounds, tuple(past.trains))
    given = parse_settings(input_ or [], "--input", "dataset=s3://…")
    if unknown := sorted(given.keys() - {need.name for need in target.needs()}):
        raise InputError(f"--input {unknown[0]}: {target.label} takes {', '.join(n.name for n in target.needs())}")
    uris = {need: str(given[need.name]) for need in target.needs() if need.name in given}
    missing = [need for need in target.needs() if need not in uris]
    uris |= locate(missing, root or past.root or DEFAULT_ROOT, past.run_id, past.config) if missing else {}
    pipeline = make_replay(target, uris, chosen.cluster)
    label = target.label.replace(" ", "-")
    package = write_package(pipeline, BUILD / f"replay-{label}.yaml", {}, label=f"replay-{label}")
    values = {**past.values, **chosen.defaults, **past.given}
    values = {key: value for key, value in values.items() if key in package.parameters}
    values |= {**package.read(param or []), "stage": past.stage(stage, stream)}
    package.check(values)
    console.print(f"{target.label} of run {past.run_id}, around", highlight=False)
    for need, uri in uris.items():
        console.print(f"  {need.name:<14} {uri}", markup=False, highlight=False, soft_wrap=True)
    if dry_run:
        console.print(f"compiled into {package.file}; nothing was submitted")
        return
    made, version, _ = server.upload(package, f"Repeats {target.label} of run {past.run_id}")
    name = f"replay {target.label} of {past.run_id[:8]}"
    run_id = server.start(made, version, name=name, experiment="skeletonagent", values=values)
    _finish(server, run_id, console, wait=follow_)


def _package(overlay: Overlay, rounds: int | None, config: str, settings: dict[str, Any] | None = None) -> Package:
    """Compile the pipeline with an overlay's images and defaults; check the experiment with a run's ``settings``."""
    defaults, experiment = dict(overlay.defaults), None
    asked = {**(settings or {}), **({"rounds": rounds} if rounds is not None else {})}
    if text := presets().get(config):
        rounds = parse_experiment(text, config, asked).rounds
        defaults["config"] = config
    elif config:
        # The settings are values of the run: in the pipeline's default, each would make a version of its own.
        experiment, rounds = load_experiment(Path(config)), load_experiment(Path(config), asked).rounds
    else:
        rounds = asked.get("rounds", 2)
        if not isinstance(rounds, int):
            raise InputError(f"rounds: found {rounds!r}, expected a number")
    return compile_package(
        BUILD / f"{overlay.path.name}.yaml",
        rounds=rounds,
        cluster=overlay.cluster,
        defaults=defaults,
        experiment=experiment,
    )


def _defaults(package: Package) -> dict[str, Any]:
    return {name: about["defaultValue"] for name, about in package.parameters.items() if "defaultValue" in about}


def _value(package: Package, values: dict[str, Any], name: str) -> Any:
    """Return what a parameter will be: as given, or its default."""
    return values.get(name, _defaults(package).get(name))


def _experiment_name(config: str) -> str:
    return Path(config).stem if config else "skeletonagent"


def _check_data(data: str) -> None:
    if data.partition("://")[0] not in S3_SCHEMES:
        raise InputError(
            f"data: found {data!r}, expected a URI that the cluster can read, such as s3://bucket/my.pkl "
            "(aws s3 cp, or any S3 client, puts the file there)"
        )


def _finish(server: Any, run_id: str, console: Console, *, wait: bool) -> None:
    if not wait:
        print(run_id)
        return
    state = follow(server, run_id, console)
    if state != "SUCCEEDED":
        print(f"error: run {run_id}: {state.lower()}", file=sys.stderr)
        raise typer.Exit(1)
