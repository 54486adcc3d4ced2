"""What ``make`` hands over: ``python -m pipelines.make COMMAND`` is ``python -m pipelines COMMAND`` with its variables.

make exports its variables, and this reads them from the environment: no shell ever sees the user's text, so a path
may hold spaces, apostrophes, dollars. A variable counts where the command has an option or an argument of its name
in lower case; one that was given on make's command line and does not count is refused, not passed over.
"""

from __future__ import annotations

import difflib
import os
import re
import sys
from collections.abc import Mapping
from typing import Any

import typer

from components.contracts.errors import InputError, SkeletonAgentError
from components.runtime.cli import run
from pipelines.__main__ import app

GIVEN = "MAKE_GIVEN"
"""Holds the names of the variables on make's command line."""
PREFIX = "MAKE_"
"""Of what make exports, so that a variable DATA of the user's shell is not taken for ours."""
SPECIAL = {"round_number": "ROUND", "create_secrets": "SECRETS"}
"""Parameters of the commands that make calls otherwise than by their names."""
_QUOTED = re.compile(r"""(?<=[=,\\[{:\s])(?:'[^']*'|"[^"]*")""")
_START = re.compile(r"(?:^|\s)(?=[A-Za-z_][\w.-]*=)")


def settings(text: str) -> list[str]:
    """Split ``key=value key=value``: a value goes on until the next key, so it may hold spaces.

    >>> settings("train.epochs=4 name=my run data.classes=[sit down, stand up]")
    ['train.epochs=4', 'name=my run', 'data.classes=[sit down, stand up]']
    """
    if not text.strip():
        return []
    covered = _QUOTED.sub(lambda quoted: "_" * len(quoted.group()), text)
    starts = [match.end() for match in _START.finditer(covered)]
    if not starts or text[: starts[0]].strip():
        starts.insert(0, 0)
    return [text[start:end].strip() for start, end in zip(starts, [*starts[1:], len(text)], strict=True)]


def arguments(command: Any, environment: Mapping[str, str]) -> list[str]:
    """Return the command line that make's variables stand for; ``command`` is what Typer made of a function.

    Raises:
        InputError: a variable was given that the command does not know.
    """
    words: list[str] = []
    names: list[str] = []
    positional: list[str] = []
    for parameter in command.params:
        name = parameter.name or ""
        names.append(SPECIAL.get(name, name.rstrip("_").upper()))
        value = environment.get(PREFIX + names[-1], "")
        if not value.strip():
            continue
        if parameter.param_type_name == "argument":
            positional.append(value)
        elif parameter.is_flag:
            words.append(parameter.opts[0])
        elif parameter.multiple:
            words += [f"{parameter.opts[0]}={setting}" for setting in settings(value)]
        else:
            words.append(f"{parameter.opts[0]}={value}")
    names = [name for name in names if PREFIX + name in environment]
    for given in environment.get(GIVEN, "").split():
        if given not in names:
            near = difflib.get_close_matches(given.upper(), names, n=1)
            hint = f"did you mean {near[0]}?" if near else f"expected some of {', '.join(names)}"
            raise InputError(f"make {command.name} has no such variable; {hint}", at=given)
    return [*words, *(["--", *positional] if positional else [])]


def main() -> None:
    """Run the command that the first argument names; further arguments come before make's variables."""
    name, *more = sys.argv[1:]
    group: Any = typer.main.get_command(app)
    try:
        sys.argv[1:] = [name, *more, *arguments(group.commands[name], os.environ)]
    except SkeletonAgentError as error:
        sys.exit(f"error: {error}")
    run(app)


if __name__ == "__main__":
    main()
