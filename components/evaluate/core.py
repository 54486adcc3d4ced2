"""The evaluate stage: scores, confusions and constraints of any streams and rounds in, one report out."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from components.contracts import report
from components.contracts.config import EvaluateStage
from components.evaluate.inputs import Inputs, open_inputs
from components.evaluate.measures.ensemble import Fused
from components.evaluate.measures.summary import headline_of, summarise
from components.evaluate.report.page import render
from components.runtime.logs import stage_logger

LOG = stage_logger("evaluate")


def evaluate(
    stage: EvaluateStage,
    scores: Sequence[Path],
    confusions: Sequence[Path],
    constraints: Sequence[Path],
    output: Path,
    *,
    dataset: Path | None = None,
    held_out: Sequence[Path] = (),
    baselines: Sequence[Path] = (),
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
        dataset: the ``dataset`` artifact, for leaks, training classes and skeletons; without it, the report says that
            these were not looked at.
        held_out: ``scores`` artifacts of training samples that were held out, to learn weights and a temperature from;
            without them, those that ``scores`` of a training with ``train.held_out`` bring along.
        baselines: ``scores`` artifacts of other methods, of the same test samples, to hold the ensemble against; each
            is called by its stream, which may be any name.

    Raises:
        InputError: no scores, a damaged artifact, samples, labels or classes that differ, another protocol
            than the configured one, held-out samples that are test samples, or no stream of the last round with
            a positive weight.
    """
    inputs = open_inputs(stage, scores, confusions, constraints, dataset, held_out, baselines)
    metrics = summarise(stage, inputs)
    for check in metrics.checks:
        if check.status == "bad":
            LOG.warning("%s: %s", check.name, check.text)
    for notice in metrics.notices:
        LOG.warning("%s: %s", notice.kind, notice.text)
    headline = headline_of(stage, inputs)
    html = render(stage, inputs, headline, metrics)
    made = report.Report(html=html, metrics=metrics, predictions=_predictions(headline, inputs))
    report.write(output, made, made_from=inputs.digests, config=stage)


def _predictions(headline: Fused, inputs: Inputs) -> report.Predictions:
    return report.Predictions(
        sample_ids=next(iter(inputs.scores.values())).sample_ids,
        labels=headline.labels,
        predicted=headline.probabilities.argmax(axis=1),
        confidence=headline.probabilities.max(axis=1).astype(np.float32),
    )
