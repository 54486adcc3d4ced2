"""The agent stage from a shell."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Console

from components.agent.core import plan_of_round
from components.agent.llm.cache import VARIABLE
from components.agent.offline.template import template
from components.agent.round import Round
from components.agent.rounds import make_round
from components.agent.service.messages import TOKEN_VARIABLE, URL_VARIABLE
from components.agent.show.tables import constraints_table, difference_table, plan_table
from components.contracts import constraints
from components.contracts.constraints import ClassConstraint, Constraints
from components.contracts.errors import InputError
from components.contracts.skeleton import STREAMS, load_layout
from components.runtime.cli import Exchange, application, read_experiment, run
from components.runtime.store import documents_at

app = application(
    "python -m components.agent",
    """Tells the recogniser what to look at: a description and critical joints per class.

Before training (round 0) these come from the written priors, or from an LLM. After each training round the
classes whose confusions have changed are asked about again; all others keep what they have. Whatever happens
to the LLM, the round ends with constraints for every class, and each says where it came from.

The key of a hosted LLM is read from the environment variable `OPENAI_API_KEY`, and from nowhere else.
""",
)

Config = Annotated[str, typer.Option(help="The experiment (YAML); its `data` and `agent` sections are used.")]
Number = Annotated[int, typer.Option("--round", min=0, help="0: before training; r: after round r.")]
Stream = Annotated[
    str, typer.Option(help=f"From round 1: the stream, one of {', '.join(STREAMS)}.", show_default=False)
]
Confusion = Annotated[str | None, typer.Option(help="From round 1: the confusion artifact that training round r left.")]
Previous = Annotated[
    str | None, typer.Option(help="From round 1: the constraints artifact that training round r used.")
]


def _input(exchange: Exchange, uri: str | None) -> Path | None:
    return exchange.input(uri) if uri else None


@app.command("run")
def run_command(
    config: Config,
    output: Annotated[str, typer.Option(help="Where to write the constraints artifact (a directory).")],
    round_number: Number = 0,
    stream: Stream = "",
    confusion: Confusion = None,
    previous: Previous = None,
    cache: Annotated[
        str,
        typer.Option(
            envvar=VARIABLE,
            help="Folder or s3://bucket/prefix that remembers an LLM's answers and logs every request, so that no "
            "question is paid for twice; an interrupted round goes on from there.",
        ),
    ] = "",
    agent_url: Annotated[
        str,
        typer.Option(
            envvar=URL_VARIABLE,
            help=f"URL of the agent service, which then makes the round; its token is read from {TOKEN_VARIABLE}.",
        ),
    ] = "",
) -> None:
    """Make the constraints of one round, here or by the agent service.

    Before training, then after round 1 of the joint stream:

        python -m components.agent run --config pipelines/configs/nw_ucla.yaml --output runs/constraints0

        python -m components.agent run --config pipelines/configs/nw_ucla.yaml --output runs/constraints1
        --round 1 --stream j --confusion runs/confusion1 --previous runs/constraints0
    """
    stage = read_experiment(config).stage_agent()
    with Exchange() as exchange:
        what = Round(stage, stream, round_number, _input(exchange, confusion), _input(exchange, previous))
        cached = documents_at(cache) if cache else None
        make_round(what, exchange.output(output), agent_url=agent_url, cache=cached)


@app.command("serve")
def serve_command(
    store: Annotated[
        str, typer.Option(help="Folder or s3://bucket/prefix for results and the memory of an LLM's answers.")
    ],
    host: Annotated[str, typer.Option(help="Address to listen on; 0.0.0.0 for all.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(min=0, max=65535, help="Port to listen on; 0 for any.")] = 8080,
    base_url: Annotated[
        list[str] | None,
        typer.Option(
            envvar="SKELETONAGENT_LLM_URLS",
            help="An LLM endpoint that requests may name (repeatable); none: the hosted one, if OPENAI_API_KEY is set.",
        ),
    ] = None,
    artifacts: Annotated[
        list[str] | None,
        typer.Option(
            envvar="SKELETONAGENT_ARTIFACTS",
            help="s3://bucket[/prefix] below which requests may name artifacts (repeatable); none: the store's.",
        ),
    ] = None,
    jobs: Annotated[int, typer.Option(min=1, help="Rounds worked on at once.")] = 4,
    max_megabytes: Annotated[int, typer.Option(min=1, help="The longest body of a request.")] = 16,
    max_timeout_s: Annotated[float, typer.Option(min=1, help="The longest agent.timeout_s of a request.")] = 600,
) -> None:
    """Serve rounds over HTTP, to clients that show the token of the environment variable SKELETONAGENT_AGENT_TOKEN.

    Alone this process then needs the key of the LLM. Results and answers lie in the store: after a crash clients post
    their jobs again, and nothing that was answered is asked twice.

        SKELETONAGENT_AGENT_TOKEN=… python -m components.agent serve --store runs/agent --port 8080
    """
    from components.agent.service.intake import Policy
    from components.agent.service.server import serve  # only who serves needs FastAPI and uvicorn

    serve(
        store,
        host,
        port,
        policy=Policy(tuple(base_url or ()), tuple(artifacts or ()), max_timeout_s),
        slots=jobs,
        max_bytes=max_megabytes * 10**6,
    )


@app.command("template")
def template_command(config: Config) -> None:
    """Print a file of priors to fill in, for the classes and joints of an experiment.

    python -m components.agent template --config my.yaml > my_priors.yaml
    """
    print(template(read_experiment(config)), end="")


@app.command("plan")
def plan_command(
    config: Config,
    round_number: Number = 0,
    stream: Stream = "",
    confusion: Confusion = None,
    previous: Previous = None,
) -> None:
    """Say whom a round would ask, why, and what that should cost. Nobody is asked and no key is needed.

    The cost is an estimate from the lengths of the questions; answers that are remembered will be free.

        python -m components.agent plan --config pipelines/configs/nw_ucla.yaml --round 1 --stream j
        --confusion runs/confusion1 --previous runs/constraints0
    """
    stage = read_experiment(config).stage_agent()
    with Exchange() as exchange:
        what = Round(stage, stream, round_number, _input(exchange, confusion), _input(exchange, previous))
        plan = plan_of_round(what)
    Console().print(plan_table(plan))


@app.command("show")
def show_command(
    artifacts: Annotated[
        list[str], typer.Argument(metavar="ARTIFACT...", help="A constraints artifact (a directory); two with --diff.")
    ],
    diff: Annotated[bool, typer.Option("--diff", help="Print what changed from the first to the second.")] = False,
    plot: Annotated[
        str | None, typer.Option(metavar="CLASS", help="Draw the critical joints of this class (name or number).")
    ] = None,
    output: Annotated[Path | None, typer.Option(metavar="PNG", help="With --plot: the picture to write.")] = None,
) -> None:
    """Print a constraints artifact as a table: what each class is told, and where that came from.

    python -m components.agent show runs/constraints1

    python -m components.agent show --diff runs/constraints0 runs/constraints1

    python -m components.agent show runs/constraints1 --plot throw --output throw.png
    """
    if diff and plot is not None:
        raise InputError("--diff and --plot: found both, expected one")
    if len(artifacts) != 1 + diff:
        raise InputError(f"ARTIFACT: {len(artifacts)} found, {1 + diff} expected{' with --diff' if diff else ''}")
    with Exchange() as exchange:
        found = [constraints.open(exchange.input(artifact)) for artifact in artifacts]
    if plot is not None:
        if output is None:
            raise InputError("--output is missing: the picture (PNG) that --plot writes")
        try:
            from components.agent.show.figure import draw  # only who draws pays for the import
        except ModuleNotFoundError as error:
            raise InputError(f"--plot: {error.name} is not installed here, as in the agent's image") from None

        draw(_class(found[0], plot), load_layout(found[0].layout), output)
        return
    Console().print(difference_table(found[0], found[1]) if diff else constraints_table(found[0]))


def _class(found: Constraints, wanted: str) -> ClassConstraint:
    for entry in found.classes:
        if wanted.casefold() == entry.name.casefold() or wanted == str(entry.label):
            return entry
    names = ", ".join(f"{entry.label} {entry.name}" for entry in found.classes)
    raise InputError(f"--plot: found {wanted!r}, expected one of: {names}")


if __name__ == "__main__":
    run(app)
