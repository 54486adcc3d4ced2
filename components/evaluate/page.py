"""Renders ``report.html``: one file with its style and pictures inside, no script, no network."""

from __future__ import annotations

import json
from typing import Any

from jinja2 import Environment, PackageLoader, StrictUndefined

from components.contracts.config import EvaluateStage, TrainStage
from components.contracts.skeleton import STREAM_NAMES
from components.evaluate.inputs import Inputs
from components.evaluate.pictures import accuracy_chart, loss_chart, matrix_picture

_NO_VALUE = "–"
_MINUS = "−"


def render(stage: EvaluateStage, inputs: Inputs, metrics: dict[str, Any]) -> str:
    """Return the page. ``metrics`` is what ``summary.summarise`` made of the same inputs."""
    environment = Environment(
        loader=PackageLoader("components.evaluate"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(percent=_percent, points=_points, weight=_weight, joint=_joint)
    return environment.get_template("report.html.j2").render(
        **metrics,
        stream_names=STREAM_NAMES,
        rounds=inputs.rounds,
        round_rows=_round_rows(metrics),
        final_rows=_final_rows(metrics),
        matrix=matrix_picture(metrics["confusion"], metrics["data"]["classes"]),
        charts=[chart for chart in (accuracy_chart(metrics), loss_chart(metrics)) if chart],
        digests=inputs.digests,
        configurations=_configurations(stage, inputs),
    )


def _percent(value: float | None) -> str:
    return _NO_VALUE if value is None else f"{value * 100:.1f}\u202f%"


def _points(value: float | None) -> str:
    """A difference of two shares in percentage points, with its sign."""
    if value is None:
        return _NO_VALUE
    text = f"{value * 100:+.1f}"
    return "0.0" if float(text) == 0 else text.replace("-", _MINUS)


def _weight(value: float) -> str:
    return f"{value:g}"


def _joint(name: str) -> str:
    return name.replace("_", " ")


def _round_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Group the rounds of each stream, then of the configured ensemble, each with its change to the round before."""
    groups: dict[str, list[dict[str, Any]]] = {}
    for row in metrics["streams"]:
        groups.setdefault(f"{STREAM_NAMES[row['stream']]} ({row['stream']})", []).append(row)
    ensemble = [{**row, "train_top1": None} for row in metrics["ensembles"] if row["name"] == "configured"]
    if any(len(row["streams"]) > 1 for row in ensemble):
        groups["ensemble"] = ensemble
    return [{"title": title, "rows": _with_change(rows)} for title, rows in groups.items()]


def _with_change(rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    earlier = [None, *(row["top1"] for row in rows)]
    return [
        {**row, "change": None if before is None else row["top1"] - before}
        for row, before in zip(rows, earlier, strict=False)
    ]


def _final_rows(metrics: dict[str, Any]) -> list[dict[str, Any]]:
    """Every stream alone and every ensemble of the last round."""
    last = metrics["headline"]["round"]
    alone = [
        {**row, "name": f"{STREAM_NAMES[row['stream']]} alone", "streams": [row["stream"]], "weights": [1.0]}
        for row in metrics["streams"]
        if row["round"] == last
    ]
    together = [{**row, "name": f"{row['name']} ensemble"} for row in metrics["ensembles"] if row["round"] == last]
    return alone + together


def _configurations(stage: EvaluateStage, inputs: Inputs) -> list[dict[str, str]]:
    """The configuration as indented JSON: data and ensemble, then training, once per distinct one."""
    trained: list[tuple[TrainStage, list[str]]] = []
    for stream, training in inputs.training.items():
        same = next((streams for known, streams in trained if known == training), None)
        if same is None:
            trained.append((training, [stream]))
        else:
            same.append(stream)
    shown = [{"title": "data and ensemble", "text": _json(stage.model_dump(mode="json"))}]
    for training, streams in trained:
        document = training.model_dump(mode="json", exclude={"data"})
        shown.append({"title": f"training of {', '.join(streams)}", "text": _json(document)})
    return shown


def _json(document: Any) -> str:
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False)
