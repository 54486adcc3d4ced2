"""The commands for a cluster: ``python -m pipelines deploy | undeploy | submit | status | replay``."""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Annotated, Any

import typer
import yaml
from rich.console import Console

from components.contracts.config import Experiment, load_experiment
from components.contracts.data_config import with_layouts
from components.contracts.errors import InputError, SkeletonAgentError
from components.contracts.priors import with_priors
from components.runtime.cli import parse_settings
from components.runtime.experiments import is_uri, presets, read_experiment_of_run
from components.runtime.store import S3_SCHEMES
from pipelines.cluster import deploy as deployment
from pipelines.cluster.api import HOST_VARIABLE, TOKEN_VARIABLE, connect
from pipelines.cluster.artifacts import DEFAULT_ROOT, locate
from pipelines.cluster.kubectl import Kubectl
from pipelines.cluster.overlay import OVERLAY_HELP, Overlay, load_overlay
from pipelines.cluster.package import NAME, Package, compile_package, write_package
from pipelines.cluster.past import read_past
from pipelines.cluster.pods import Pods
from pipelines.cluster.replay import Target, make_replay
from pipelines.cluster.watch import Watch
from pipelines.parameters import one_line

BUILD = Path("build")
_HOST_HELP = f"URL of Kubeflow Pipelines; none: through the kubeconfig. {TOKEN_VARIABLE} may hold a token."

OverlayName = Annotated[str, typer.Option(help=OVERLAY_HELP)]
Host = Annotated[str, typer.Option(envvar=HOST_VARIABLE, help=_HOST_HELP)]
Context = Annotated[str, typer.Option(help="Context of the kubeconfig; none: its current one.")]
DryRun = Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and do nothing.")]
Rounds = Annotated[int | None, typer.Option(help="Rounds of training and asking; none: the config's, or 2.")]
Config = Annotated[
    str,
    typer.Option(help="Experiment: a file, the name of one that comes with the project, or s3://bucket/my.yaml."),
]
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
    for command in (deploy, undeploy, submit, status, replay):
        app.command()(command)


def deploy(
    overlay: OverlayName = "local",
    rounds: Rounds = None,
    config: Annotated[
        str, typer.Option(help="Experiment whose rounds the pipeline is for; nothing else of it counts.")
    ] = "",
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
    package = _package(chosen, rounds_for(config, rounds))
    kubectl = Kubectl(chosen.namespace, context)
    if dry_run:
        deployment.plan(chosen, package, kubectl.build(chosen.path), console)
        return
    kubectl.check()
    server = connect(host, chosen.namespace, context)  # a mistake there should not leave a deployment half done
    deployment.deploy(chosen, kubectl, Pods.connect(chosen.namespace, context), console, create_secrets=create_secrets)
    deployment.upload(package, server, console)
    console.print(f"ready: make submit OVERLAY={overlay} DATA=s3://…, or start a run in the user interface")


def undeploy(overlay: OverlayName = "local", context: Context = "", dry_run: DryRun = False) -> None:
    """Take away what `deploy` applied. Data, Secrets and the runs in KFP stay."""
    chosen = load_overlay(overlay)
    deployment.undeploy(Kubectl(chosen.namespace, context), chosen, Console(), dry_run=dry_run)


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
    experiment = _experiment(config, settings, rounds)
    package = _package(chosen, _rounds(experiment, settings, rounds))
    values = {"data": data, "streams": streams, "config": _value_of_config(config), **package.read(param or [])}
    values = {key: value for key, value in values.items() if value != ""}
    if settings:
        before = _value(package, values, "overrides")
        if not isinstance(before, dict):
            raise InputError(f"parameter overrides: found {before!r}, expected a mapping")
        values["overrides"] = {**before, **settings}
    package.check(values)
    _check_data(_value(package, values, "data"))
    title = name or f"{experiment.name if experiment else NAME} {package.version}"
    if dry_run:
        console.print(f"would start {title!r}, version {package.version}, with", markup=False)
        for key, value in {**_defaults(package), **values}.items():
            console.print(f"  {key} = {value!r}", markup=False, highlight=False, overflow="ellipsis", no_wrap=True)
        return
    server = connect(host, chosen.namespace, context)
    pipeline, version, new = server.upload(package)
    if new:
        console.print(f"pipeline version {package.version}: uploaded")
    run_id = server.start(pipeline, version, name=title, experiment="skeletonagent", values=values)
    _finish(Watch.of(server, run_id, chosen.namespace, context, console), wait=follow_)


def status(
    run: Annotated[str, typer.Argument(help="Id of the run; none: the newest.")] = "",
    overlay: OverlayName = "local",
    host: Host = "",
    context: Context = "",
    follow_: Annotated[bool, typer.Option("--follow/--no-follow", help="Show the run until it is over.")] = False,
) -> None:
    """Show the tasks of a run on the cluster."""
    console, namespace = Console(), load_overlay(overlay).namespace
    server = connect(host, namespace, context)
    watch = Watch.of(server, run or server.latest(), namespace, context, console)
    if follow_:
        _finish(watch, wait=True)
    else:
        watch.show()


def replay(
    stage: Annotated[str, typer.Argument(help="preprocess, agent, train, model or evaluate.")],
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
    target = Target(stage, stream, round_number, past.rounds, tuple(past.parts.train))
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
    _finish(Watch.of(server, run_id, chosen.namespace, context, console), wait=follow_)


def _package(overlay: Overlay, rounds: int) -> Package:
    """Compile the pipeline with an overlay's images, resources and defaults: for one state of the code, one version."""
    output = BUILD / f"{overlay.path.name}.yaml"
    return compile_package(output, rounds=rounds, cluster=overlay.cluster, defaults=overlay.defaults)


def _experiment(config: str, settings: dict[str, Any], rounds: int | None) -> Experiment | None:
    """Read the experiment, as the run's first task will, so that its mistakes are told here; None: there is none, or it
    can only be read on the cluster."""
    if not config:
        return None
    asked = {**settings, **({"rounds": rounds} if rounds is not None else {})}
    if is_uri(config):
        try:
            return read_experiment_of_run(config, asked)
        except SkeletonAgentError as error:
            if rounds is not None:
                return None
            raise InputError(f"{error}; with --rounds it is read on the cluster only") from None
    return read_experiment_of_run(config, asked) if config in presets() else load_experiment(Path(config), asked)


def rounds_for(config: str, rounds: int | None) -> int:
    """Return the rounds that a pipeline is compiled for: as given, or an experiment's, or 2."""
    return _rounds(_experiment(config, {}, rounds), {}, rounds)


def _rounds(experiment: Experiment | None, settings: dict[str, Any], rounds: int | None) -> int:
    if experiment is not None:
        return experiment.rounds
    found = settings.get("rounds", 2) if rounds is None else rounds
    if not isinstance(found, int):
        raise InputError(f"rounds: found {found!r}, expected a number")
    return found


def _value_of_config(config: str) -> str:
    """Return the run's parameter: a name or URI as it is, a file as text, with the layouts and priors it names."""
    if not config or is_uri(config) or config in presets():
        return config
    document = yaml.safe_load(Path(config).read_text(encoding="utf-8"))
    with_layouts(document, Path(config).parent)  # the cluster has none of these files
    with_priors(document, Path(config).parent)
    return one_line(document)


def _defaults(package: Package) -> dict[str, Any]:
    return {name: about["defaultValue"] for name, about in package.parameters.items() if "defaultValue" in about}


def _value(package: Package, values: dict[str, Any], name: str) -> Any:
    """Return what a parameter will be: as given, or its default."""
    return values.get(name, _defaults(package).get(name))


def _check_data(data: str) -> None:
    if data.partition("://")[0] not in S3_SCHEMES:
        raise InputError(
            f"data: found {data!r}, expected a URI that the cluster can read, such as s3://bucket/my.pkl "
            "(aws s3 cp, or any S3 client, puts the file there)"
        )


def _finish(watch: Watch, *, wait: bool) -> None:
    if not wait:
        print(watch.run_id)
        return
    state = watch.follow()
    if state != "SUCCEEDED":
        print(f"error: run {watch.run_id}: {state.lower()}", file=sys.stderr)
        raise typer.Exit(1)
