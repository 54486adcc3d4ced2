"""The values of the pipeline's parameters: how they are written, and how they are described to people."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import yaml
from docstring_parser import parse


def one_line(document: Any) -> str:
    """Return YAML without line breaks: the user interface has a field of one line for a text."""
    return yaml.safe_dump(document, default_flow_style=True, sort_keys=False, width=math.inf).strip()  # type: ignore[arg-type]


def described(function: Callable[..., Any], summary: str) -> str:
    """Return a description of a pipeline with a line for each of its parameters.

    KFP's user interface shows the description of a pipeline, and none of its parameters; those stand in the docstring.
    """
    parameters = parse(function.__doc__ or "").params
    lines = [f"- {each.arg_name}: {' '.join((each.description or '').split())}" for each in parameters]
    return "\n".join([summary, "", "Parameters of a run:", *lines])
