"""The evaluate stage: scores, confusions and constraints of any streams and rounds in, one report out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from components.contracts import report
from components.contracts.config import EvaluateStage
from components.evaluate.inputs import open_inputs
from components.evaluate.page import render
from components.evaluate.summary import summarise
from components.runtime.logs import stage_logger

LOG = stage_logger("evaluate")


def evaluate(
    stage: EvaluateStage,
    scores: Sequence[Path],
    confusions: Sequence[Path],
    constraints: Sequence[Path],
    output: Path,
) -> None:
    """Combine the streams, measure every stream, round and ensemble, and write the ``report`` artifact.

    Args:
        stage: the evaluate part of the experiment.
        scores: ``scores`` artifacts of any streams and rounds, in any order; each knows its own. The last
            round among them is the one that the report answers for.
        confusions: ``confusion`` artifacts; without one, a stream's accuracy on the training split is not known.
        constraints: ``constraints`` artifacts, the prior (round 0) among them; without them, the report does
            not say what the agent said.
        output: where the ``report`` artifact is written. Same inputs, same bytes.

    Raises:
        InputError: no scores, a damaged artifact, samples, labels or classes that differ, another protocol
            than the configured one, or no stream of the last round with a positive weight.
    """
    inputs = open_inputs(stage, scores, confusions, constraints)
    metrics = summarise(stage, inputs)
    for notice in metrics["notices"]:
        LOG.warning("%s: %s", notice["kind"], notice["text"])
    html = render(stage, inputs, metrics)
    report.write(output, report.Report(html=html, metrics=metrics), made_from=inputs.digests, config=stage)
