"""The learning curve of a checkpoint or of scores, as a picture."""

from __future__ import annotations

from itertools import pairwise
from pathlib import Path

from pydantic import ValidationError

from components.contracts import checkpoint, scores
from components.contracts.artifact import MANIFEST, Manifest
from components.contracts.errors import InputError
from components.contracts.history import EpochRecord

_PARTS = {"loss": "total", "loss_clean": "clean", "loss_mixed": "mixed", "loss_constraint": "constraint"}
_PARTS |= {"loss_alignment": "alignment"}
_SUFFIXES = (".png", ".svg", ".pdf")


def draw_curve(artifact: Path, output: Path) -> None:
    """Draw loss and its parts, accuracy and learning rate by epoch; a dotted line begins each later round.

    Raises:
        InputError: the artifact has no history, or the picture cannot be written.
    """
    if output.suffix not in _SUFFIXES:
        raise InputError(f"found suffix {output.suffix!r}, expected {', '.join(_SUFFIXES)}", at=output)
    history = _history(artifact)
    if not history:
        raise InputError("no epoch in its history", at=artifact)
    try:
        from matplotlib.figure import Figure  # a second to load, needed here only
    except ImportError:
        lacking = "curve: needs the package matplotlib, which the training image lacks"
        raise InputError(f"{lacking}; elsewhere: pip install matplotlib") from None

    figure = Figure(figsize=(9, 7), layout="constrained")
    losses, accuracies, rates = figure.subplots(3, 1, sharex=True, height_ratios=(3, 3, 1))
    epochs = [record.epoch for record in history]
    for name, label in _PARTS.items():
        losses.plot(epochs, [getattr(record, name) for record in history], label=label, lw=2 if name == "loss" else 1)
    losses.set_ylabel("loss")
    accuracies.plot(epochs, [100 * record.top1 for record in history], label="training split")
    tested = [(record.epoch, 100 * record.test_top1) for record in history if record.test_top1 is not None]
    if tested:
        accuracies.plot(*zip(*tested, strict=True), label="test split, one clip", marker=".")
    accuracies.set_ylabel("top-1 (%)")
    rates.plot(epochs, [record.learning_rate for record in history])
    rates.set(ylabel="learning rate", xlabel="epoch")
    for axes in (losses, accuracies, rates):
        axes.grid(alpha=0.3)
        for before, after in pairwise(history):
            if before.round != after.round:
                axes.axvline(before.epoch + 0.5, color="grey", linestyle=":")
    losses.legend()
    accuracies.legend()
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        figure.savefig(output, dpi=120)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", at=output) from None


def _history(artifact: Path) -> tuple[EpochRecord, ...]:
    try:
        kind = Manifest.model_validate_json((artifact / MANIFEST).read_bytes()).artifact
    except (OSError, ValidationError):
        kind = ""  # opening it says what is wrong
    return scores.open(artifact).history if kind == scores.SCHEMA.name else checkpoint.open(artifact).state.history
