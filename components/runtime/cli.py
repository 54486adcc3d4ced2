"""Command lines: a user's mistake is one line on stderr and exit status 2, never a traceback."""

from __future__ import annotations

import sys
from pathlib import Path
from tempfile import TemporaryDirectory
from types import TracebackType
from typing import Any

import typer
import yaml

from components.contracts.errors import InputError
from components.contracts.store import store_for
from components.runtime.logs import setup_logging

USAGE_ERROR = 2


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
    """Run an application and turn ``InputError`` into its exit status."""
    setup_logging()
    try:
        app()
    except InputError as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(USAGE_ERROR)
    except KeyboardInterrupt:
        sys.exit(130)


def parse_settings(settings: list[str]) -> dict[str, Any]:
    """Read ``KEY=VALUE`` settings, values as YAML: ``["train.epochs=4"]`` becomes ``{"train.epochs": 4}``."""
    parsed = {}
    for setting in settings:
        key, equals, value = setting.partition("=")
        if not key or not equals:
            raise InputError(f"--set: found {setting!r}, expected KEY=VALUE such as train.epochs=4")
        try:
            parsed[key] = yaml.safe_load(value)
        except yaml.YAMLError:
            raise InputError(f"--set {key}: found {value!r}, expected a YAML value") from None
    return parsed


class Exchange:
    """Fetches a stage's inputs from their URIs and publishes its outputs to theirs.

    Inside the ``with`` block the stage works on local paths; outputs are published when it ends well.
    """

    def __init__(self) -> None:
        self._scratch = TemporaryDirectory(prefix="skeletonagent-")
        self._outputs: list[tuple[Path, str]] = []

    def __enter__(self) -> Exchange:
        return self

    def input(self, uri: str) -> Path:
        """Return a local path with the content of ``uri``."""
        return store_for(uri).fetch(uri, Path(self._scratch.name))

    def output(self, uri: str) -> Path:
        """Return the local path at which the stage should write what becomes ``uri``."""
        store_for(uri)
        if "://" not in uri:
            return Path(uri)
        local = Path(self._scratch.name) / f"out-{len(self._outputs)}"
        self._outputs.append((local, uri))
        return local

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        try:
            if kind is None:
                for local, uri in self._outputs:
                    store_for(uri).publish(local, uri)
        finally:
            self._scratch.cleanup()
