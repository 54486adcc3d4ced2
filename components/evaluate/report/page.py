"""Renders ``report.html``: one file with its style, pictures and small scripts inside, no network.

Everything can be read without the scripts, which enlarge the confusion matrix and play the confused samples; the page's
content security policy names their hash and allows nothing else to run or load.
"""

from __future__ import annotations

import base64
import hashlib
import json
from dataclasses import dataclass
from functools import lru_cache
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined

from components.contracts.config import EvaluateStage, TrainStage
from components.contracts.loop_metrics import Said, SaidOfClass
from components.contracts.metrics import EnsembleRow, Metrics, StreamRow
from components.contracts.skeleton import STREAM_NAMES
from components.evaluate import wording
from components.evaluate.inputs import Inputs
from components.evaluate.measures.ensemble import Fused
from components.evaluate.measures.tables import CONFIGURED
from components.evaluate.report import doubts
from components.evaluate.report.examples import confused_examples
from components.evaluate.report.figures import Strip, strip
from components.evaluate.report.matrix import matrix_picture
from components.evaluate.report.pictures import accuracy_chart, loss_chart, reliability_picture, slopes, whiskers
from components.evaluate.report.story import MORE_TRAINING, followed_in_words, gained, story

_MOST_SHOWN = 12
"""Classes per stream and round of which the page says what was said; all stand in metrics.json."""
_MOST_SHOWN_AT_ALL = 400


def render(stage: EvaluateStage, inputs: Inputs, headline: Fused, metrics: Metrics) -> str:
    """Return the page."""
    environment = _environment()
    script = "".join(_template_source(environment, name) for name in ("matrix.js", "play.js"))
    return environment.get_template("report.html.j2").render(
        **{key: value for key, value in metrics if key != "loop"},
        guided=metrics.loop,  # within Jinja, "loop" is something else
        stream_names=STREAM_NAMES,
        rounds=inputs.rounds,
        answers=story(metrics),
        doubted=doubts.in_one_line(metrics.data),
        doubts_accepted=doubts.accepted(metrics.data),
        lost=doubts.lost_in_words(metrics.data.lost) if metrics.data.lost else "",
        followed=followed_in_words(metrics),
        measured=any(row.measured for row in metrics.loop.rounds),
        gained=gained(metrics.gain) if metrics.gain else "",
        more_training=MORE_TRAINING,
        round_rows=_round_rows(metrics),
        final_rows=list(zip(metrics.last, whiskers(metrics.last), strict=True)),
        matrix=matrix_picture(np.asarray(metrics.confusion), metrics.data.classes),
        charts=[chart for chart in (accuracy_chart(metrics), loss_chart(metrics)) if chart],
        slopes=slopes(metrics),
        reliability=reliability_picture(metrics),
        strips=_strips(inputs, headline, metrics),
        answered=_answered(metrics),
        digests=inputs.digests,
        configurations=_configurations(stage, inputs),
        script=script,
        script_hash=base64.b64encode(hashlib.sha256(script.encode()).digest()).decode(),
    )


@lru_cache(maxsize=1)
def _environment() -> Environment:
    """Return the templates; to compile them takes longer than to fill them in."""
    environment = Environment(
        loader=PackageLoader("components.evaluate.report"),
        autoescape=True,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters.update(
        percent=wording.percent,
        points=wording.points,
        points_span=wording.points_span,
        p_value=wording.p_value,
        span=wording.span,
        joint=wording.joint,
        money=wording.money,
        number=lambda value: f"{value:g}",
    )
    return environment


def _strips(inputs: Inputs, headline: Fused, metrics: Metrics) -> list[tuple[Strip, Strip]]:
    packed = inputs.dataset
    pairs = confused_examples(inputs, headline, metrics) if packed else []
    return [(strip(packed, one), strip(packed, other)) for one, other in pairs] if packed else []


def _template_source(environment: Environment, name: str) -> str:
    loader = environment.loader
    assert loader is not None
    return loader.get_source(environment, name)[0]


def _answered(metrics: Metrics) -> list[tuple[Said, list[SaidOfClass]]]:
    """What the agent said, the classes whose confusions it addressed first and no more than fit a page."""
    fair = max(_MOST_SHOWN, _MOST_SHOWN_AT_ALL // max(len(metrics.constraints), 1))
    return [(entry, sorted(entry.classes, key=_moved)[:fair]) for entry in metrics.constraints]


def _moved(entry: SaidOfClass) -> tuple[int, int]:
    before, after = entry.mistaken
    return (-(before or 0) - (after or 0), entry.label)


@dataclass(frozen=True)
class _Group:
    """The rounds of a stream or of the ensemble, each with its change of top-1 to the round before."""

    title: str
    rows: list[tuple[StreamRow | EnsembleRow, float | None]]


def _round_rows(metrics: Metrics) -> list[_Group]:
    """Group the rounds of each stream, then of the configured ensemble."""
    groups: dict[str, list[StreamRow | EnsembleRow]] = {}
    for row in metrics.streams:
        groups.setdefault(f"{STREAM_NAMES[row.stream]} ({row.stream})", []).append(row)
    ensemble = [row for row in metrics.ensembles if row.name == CONFIGURED]
    if any(len(row.streams) > 1 for row in ensemble):
        groups["ensemble"] = list(ensemble)
    return [_Group(title, _with_change(rows)) for title, rows in groups.items()]


def _with_change(rows: list[StreamRow | EnsembleRow]) -> list[tuple[StreamRow | EnsembleRow, float | None]]:
    earlier = [None, *(row.top1 for row in rows)]
    return [(row, None if before is None else row.top1 - before) for row, before in zip(rows, earlier, strict=False)]


def _configurations(stage: EvaluateStage, inputs: Inputs) -> list[dict[str, str]]:
    """The configuration as indented JSON: data and ensemble, then training, once per distinct one."""
    trained: list[tuple[TrainStage, list[str]]] = []
    for stream, training in inputs.training.items():
        same = next((streams for known, streams in trained if known == training), None)
        if same is None:
            trained.append((training, [stream]))
        else:
            same.append(stream)
    whole = stage.model_dump(mode="json")
    whole["data"]["layout"] = _as_written(stage.data.layout)
    shown = [{"title": "data and ensemble", "text": _json(whole)}]
    for training, streams in trained:
        document = training.model_dump(mode="json", exclude={"data"})
        shown.append({"title": f"training of {', '.join(streams)}", "text": _json(document)})
    return shown


def _as_written(layout: str) -> Any:
    """A layout by its name, or its own text as the mapping that it is."""
    return json.loads(layout) if layout.startswith("{") else layout


def _json(document: Any) -> str:
    return json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False)
