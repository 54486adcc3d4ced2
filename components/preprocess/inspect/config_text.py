"""Writes a draft as the YAML file that a person goes on with: every decision with its reason."""

from __future__ import annotations

import re
from typing import Any

import yaml

from components.preprocess.inspect.draft import Draft
from components.preprocess.inspect.effort import ROUNDS, START, TASKS, duration
from components.preprocess.inspect.inspection import Holdings

WIDTH = 118


def text_of(made: Draft, found: Holdings, source: str) -> str:
    """Return the experiment as commented YAML."""
    joints, channels, scored = found.form or (0, 0, False)
    head = [
        f"Made from {source} by python -m components.preprocess init: read it, and mend what it got wrong.",
        f"{found.kind}: {len(found.labels)} samples, {len(set(found.labels.values()))} classes, "
        f"{joints} joints × {channels} coordinates{' and a score' if scored else ''}.",
        f"make run takes about {duration(made.seconds)} on {made.cores} idle cores: reckoned from networks timed on "
        f"other machines and {START:.0f} s to start each of {TASKS} tasks, not measured here (a busy machine takes "
        "several times as long); make run shows the time left.",
        *(f"NOTE: {line}" for line in made.loud),
    ]
    lines = [line for text in head for line in _comment(text)]
    lines += [
        f"name: {slug(source)}",
        "seed: 0",
        f"rounds: {ROUNDS}",
        *_streams(made),
    ]
    lines += ["", "data:", *_section(made.data, made.why)]
    lines += ["", "model:", *_section(made.model, made.why)]
    lines += ["", "train:", *_section(made.train, made.why)]
    lines += ["", *_comment(_AGENT), "agent: {provider: offline}"]
    return "\n".join(lines) + "\n"


def _streams(made: Draft) -> list[str]:
    if made.data["max_persons"] > 1:
        return ["# j: joints, jm: their motion; bones do not know how far persons are apart", "streams: [j, jm]"]
    return ["# j: joints, b: bones; jm and bm: their motion", "streams: [j, b]"]


_AGENT = (
    "offline: no LLM; classes that nobody has written about are told apart by what moves differently in the data. "
    "openai asks an endpoint (model, base_url; the key in OPENAI_API_KEY)"
)


def slug(source: str) -> str:
    """Return a name for the experiment: that of the file, as far as names may have it."""
    stem = source.rstrip("/").rpartition("/")[2].partition(".")[0].lower()
    return re.sub(r"[^a-z0-9_-]+", "_", stem).strip("_-") or "mine"


def _comment(text: str, indent: str = "") -> list[str]:
    words, lines = text.split(), [f"{indent}#"]
    for word in words:
        if len(lines[-1]) + len(word) >= WIDTH:
            lines.append(f"{indent}#")
        lines[-1] += f" {word}"
    return lines


def _section(values: dict[str, Any], why: dict[str, str]) -> list[str]:
    lines = []
    for key, value in values.items():
        if key in why:
            lines += _comment(why[key], "  ")
        plain = not isinstance(value, dict | list) or (isinstance(value, list) and len(str(value)) < 80)
        flat = isinstance(value, dict) and not any(isinstance(inner, dict) for inner in value.values())
        dumped = yaml.safe_dump(
            {key: value}, sort_keys=False, allow_unicode=True, width=WIDTH, default_flow_style=True if flat else None
        )
        if plain or flat:
            inside = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=10_000, sort_keys=False)
            dumped = f"{key}: {inside.removesuffix('...' + chr(10)).strip()}"
        lines += [f"  {line}" for line in dumped.rstrip().splitlines()]
    return lines
