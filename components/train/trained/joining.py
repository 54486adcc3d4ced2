"""The last checkpoints of all streams, joined into a ``model``."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from components.contracts import checkpoint, model
from components.contracts.config import EvaluateStage
from components.runtime.logs import stage_logger

LOG = stage_logger("train")


def join_streams(stage: EvaluateStage, checkpoints: Sequence[Path], output: Path) -> None:
    """Write the ``model`` artifact of an experiment. Same inputs, same bytes.

    Args:
        stage: the evaluate part of the experiment, which has the streams' weights.
        checkpoints: ``checkpoint`` artifacts of one round, one per stream, in any order.
        output: where the artifact is written.

    Raises:
        InputError: a checkpoint is damaged, or they do not belong together (see ``contracts.model.made_of``).
    """
    opened = [(path, checkpoint.open(path)) for path in checkpoints]
    made = model.made_of(stage, opened)
    made_from = {f"checkpoint.{one.state.stream}": one.digest for one in made.checkpoints}
    model.write(output, made, made_from=made_from, config=stage)
    LOG.info("model of %s", ", ".join(f"{one.stream} × {one.weight:g}" for one in made.document.streams))
