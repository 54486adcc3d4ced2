"""Command lines: what a person can do something about is one line on stderr and an exit status, never a traceback."""

from __future__ import annotations

import shutil
import sys
from collections.abc import Callable
from pathlib import Path, PurePosixPath
from tempfile import mkdtemp
from types import TracebackType
from typing import Any

import typer
import yaml

from components.contracts.config import Experiment, load_experiment
from components.contracts.errors import InputError, SkeletonAgentError
from components.runtime.logs import setup_logging, stage_logger
from components.runtime.progress import progress
from components.runtime.signals import end_on_sigterm
from components.runtime.store import Store, is_remote, store_for


def application(name: str, summary: str) -> typer.Typer:
    """Return a Typer application in the common style: help on no arguments, plain tracebacks."""
    return typer.Typer(
        name=name,
        help=summary,
        no_args_is_help=True,
        add_completion=False,
        rich_markup_mode="markdown",
        pretty_exceptions_enable=False,
        context_settings={"help_option_names": ["-h", "--help"]},
    )


def run(app: typer.Typer) -> None:
    """Run an application; an error of the tree becomes its line and its exit status (see ``contracts.errors``)."""
    setup_logging()
    end_on_sigterm()
    try:
        app()
    except SkeletonAgentError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(error.exit_status)
    except KeyboardInterrupt:
        sys.exit(130)


def parse_settings(settings: list[str], option: str = "--set", example: str = "train.epochs=4") -> dict[str, Any]:
    """Read ``KEY=VALUE`` settings, values as YAML: ``["train.epochs=4"]`` becomes ``{"train.epochs": 4}``."""
    parsed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not key or not equals:
            raise InputError(f"found {setting!r}, expected KEY=VALUE such as {example}", at=option)
        try:
            parsed[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"{option} {key}: found {value!r}, expected a YAML value") from None
    return parsed


Fetch = Callable[[], Path]


def fetch_anew(uri: str, fetch: Fetch) -> Path:
    """Fetch a copy that no other process uses."""
    return fetch()


class Exchange:
    """Fetches a stage's inputs from their URIs and publishes its outputs to theirs.

    Inside the ``with`` block the stage works on local paths; outputs are published when it ends well. What could
    not be published is kept, and the error says where. Errors name the user's URIs, not the local copies.
    """

    def __init__(self) -> None:
        self._scratch = Path(mkdtemp(prefix="skeletonagent-"))
        self._inputs: list[tuple[Path, str]] = []
        self._outputs: list[tuple[Path, str]] = []

    def __enter__(self) -> Exchange:
        return self

    def input(self, uri: str, once: Callable[[str, Fetch], Path] = fetch_anew) -> Path:
        """Return a local path with the content of ``uri``; ``once`` fetches it if no other process has."""
        local = once(uri, lambda: _store(uri).fetch(uri, self._scratch / "in"))
        self._inputs.append((local, uri))
        return local

    def output(self, uri: str) -> Path:
        """Return the local path at which the stage should write what becomes ``uri``."""
        _store(uri).check(uri)
        if not is_remote(uri):
            return Path(uri)
        local = self._scratch / "out" / str(len(self._outputs)) / PurePosixPath(uri).name
        self._outputs.append((local, uri))
        return local

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        kept = False
        try:
            if isinstance(error, SkeletonAgentError):
                named = error.renamed({str(local): uri for local, uri in [*self._inputs, *self._outputs]})
                if named is not error:
                    raise named from None
            if kind is None:
                kept = True
                self._publish()
                kept = False
        finally:
            if not kept:
                shutil.rmtree(self._scratch, ignore_errors=True)

    def _publish(self) -> None:
        for local, uri in self._outputs:
            try:
                _store(uri).publish(local, uri)
            except SkeletonAgentError as error:
                raise type(error)(f"{error.what}; the result is kept in {local}", at=error.at) from None


def read_experiment(uri: str, overrides: dict[str, Any] | None = None) -> Experiment:
    """Read the experiment at a path or ``s3://`` URI; see ``load_experiment``."""
    if not is_remote(uri):
        return load_experiment(Path(uri), overrides)
    with Exchange() as exchange:
        return load_experiment(exchange.input(uri), overrides)


def _store(uri: str) -> Store:
    return store_for(uri, lambda title, total: progress(title, total, stage_logger("store")))
