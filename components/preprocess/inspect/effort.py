"""How long training will take, reckoned: nothing is measured on this machine."""

from __future__ import annotations

from components.contracts.config import ModelConfig

SECONDS = 1.5e-9
"""Of two cores per sample, epoch and unit (see ``_units``): measured with the medium and the small network."""
STREAMS, ROUNDS = 2, 2
TASKS = 3 + STREAMS * (2 * ROUNDS - 1)
"""Of a run: preprocess, prior and evaluate, and for every stream its rounds of training and the agent between them."""
STEP = 0.1
"""Seconds that a step of training takes however small its batch; measured with the small network on two busy cores."""
START = 6.0
"""Seconds that a task takes besides, mostly to load its libraries."""


def seconds_of(size: str, epochs: int, samples: int, batch: int, positions: int, cores: int) -> float:
    """Return the seconds of a whole run, with a network of a size.

    Args:
        size: a key of ``config.SIZES``.
        epochs: of all rounds of a stream together.
        samples: of the training split.
        batch: samples a step.
        positions: frames × joints × persons of a clip.
        cores: of the machine, idle.
    """
    steps = STREAMS * epochs * -(-samples // batch)
    work = STREAMS * epochs * samples * positions * _units(size)
    return TASKS * START + steps * STEP + work * SECONDS * 2 / cores


def _units(size: str) -> float:
    """Return the products of input and output widths of all blocks, each for the share of the frames that it sees."""
    model = ModelConfig.model_validate({"size": size})
    width, share, total = model.width, 1.0, 0.0
    for block in range(model.blocks):
        before = width
        if block in model.inflate_at:
            width, share = 2 * width, share / 2
        total += before * width * share
    return total


def duration(seconds: float) -> str:
    """Return a time as people say it."""
    if seconds < 90:
        return "a minute"
    return f"{seconds / 60:.0f} minutes" if seconds < 5400 else f"{seconds / 3600:.0f} hours"
