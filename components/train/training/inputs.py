"""What a round is made from: the artifacts, opened and checked against each other and the configuration."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from components.contracts import checkpoint, constraints, dataset
from components.contracts.checkpoint import Checkpoint
from components.contracts.config import TrainStage
from components.contracts.errors import InputError
from components.contracts.same_data import expect_same_data
from components.contracts.skeleton import STREAMS
from components.train.clips.features import check_flip
from components.train.clips.holding_out import Numbers, divide
from components.train.round import Round


@dataclass(frozen=True)
class RoundInputs:
    """The opened artifacts of one round; ``samples`` are the numbers of those to train on, ``held_out`` of others."""

    dataset: dataset.Dataset
    constraints: constraints.Constraints
    previous: Checkpoint | None
    samples: Numbers
    held_out: Numbers

    @property
    def digests(self) -> dict[str, str]:
        made_from = {"dataset": self.dataset.digest, "constraints": self.constraints.digest}
        return made_from | ({"checkpoint": self.previous.digest} if self.previous else {})


def open_inputs(what: Round[Path]) -> RoundInputs:
    """Open the inputs of a round; ``InputError`` names what contradicts what."""
    stage = what.stage
    if what.stream not in STREAMS:
        raise InputError(f"stream: found {what.stream!r}, expected one of {', '.join(STREAMS)}")
    if not 1 <= what.number <= stage.rounds:
        raise InputError(f"round: found {what.number}, expected 1 to {stage.rounds}")
    if (what.previous is None) != (what.number == 1):
        expected = "none in round 1" if what.previous else f"the checkpoint of round {what.number - 1}"
        raise InputError(f"previous checkpoint: found {what.previous or 'none'}, expected {expected}")
    packed, told = dataset.open(what.dataset), constraints.open(what.constraints)
    before = checkpoint.open(what.previous) if what.previous else None
    expect_same_data(packed.config.layout, packed.config.classes, stage.data, at=what.dataset)
    names = [constraint.name for constraint in told.classes]
    expect_same_data(told.layout, names, stage.data, at=what.constraints)
    check_flip(packed, stage)
    opened = RoundInputs(packed, told, before, *divide(packed, stage))
    if before is not None and what.previous is not None:
        _check_previous(what, opened, before, what.previous)
    return opened


def _check_previous(what: Round[Path], inputs: RoundInputs, before: Checkpoint, path: Path) -> None:
    stage, state, config = what.stage, before.state, before.config
    done = stage.train.epochs_of_round(what.number, stage.rounds).start
    if state.stream != what.stream:
        raise InputError(f"stream {state.stream!r} found, {what.stream!r} expected", at=path)
    if state.epoch != done:
        raise InputError(f"{state.epoch} epochs done found, {done} expected before round {what.number}", at=path)
    if (config.model, config.train, config.seed) != (stage.model, stage.train, stage.seed):
        raise InputError("made with another model, train or seed configuration than this round's", at=path)
    if stage.train.held_out:
        _check_same_samples(stage, inputs, before, path)
    dimensions = inputs.constraints.text.shape[1]
    if state.text_dimensions != dimensions:
        raise InputError(f"text dimensions {state.text_dimensions} found, {dimensions} expected", at=path)


def _check_same_samples(stage: TrainStage, inputs: RoundInputs, before: Checkpoint, path: Path) -> None:
    """Refuse a checkpoint that may have been trained on what is now held out."""
    made_from, data = before.manifest.made_from, before.config.data.chosen
    splits, expected = (data.train, data.test), (stage.data.chosen.train, stage.data.chosen.test)
    if made_from.get("dataset") != inputs.dataset.digest or splits != expected:
        raise InputError(
            "trained on another dataset or split than this round's, whose held-out samples differ", at=path
        )
