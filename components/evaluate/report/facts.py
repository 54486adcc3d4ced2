"""What is true of one run on one machine: no part of the report artifact, whose bytes follow from its inputs alone.

Whoever ran the pipeline adds it to a copy of the page.
"""

from __future__ import annotations

from dataclasses import dataclass
from html import escape

MARK = "<!-- facts of the run -->"
"""Where the page takes them."""


@dataclass(frozen=True)
class RunFacts:
    """``command`` that made the run, ``machine`` in words, ``seconds`` of wall time, ``model``: where it lies."""

    command: str = ""
    machine: str = ""
    seconds: float | None = None
    model: str = ""


def with_facts(html: str, facts: RunFacts) -> str:
    """Return the page with the facts of the run on its first screen; a page of an older version as it is."""
    seconds = None if facts.seconds is None else _duration(facts.seconds)
    rows = [
        ("Made by", facts.command and f"<code>{escape(facts.command)}</code>"),
        ("On", escape(facts.machine)),
        ("In", seconds),
        ("The model", facts.model and f"<code>{escape(facts.model)}</code>"),
    ]
    shown = "\n".join(f"<div><dt>{name}</dt><dd>{text}</dd></div>" for name, text in rows if text)
    return html.replace(MARK, f'<dl class="run-facts">\n{shown}\n</dl>', 1) if shown else html


def _duration(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    if hours:
        return f"{hours} h {minutes} min"
    return f"{minutes} min {rest} s" if minutes else f"{rest} s"
