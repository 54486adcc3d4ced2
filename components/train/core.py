"""The train stage: one stream, one round. Dataset, constraints and perhaps a checkpoint in, three artifacts out."""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from itertools import zip_longest
from pathlib import Path

import numpy as np
import torch

from components.contracts import checkpoint, confusion, constraints, dataset, scores
from components.contracts.checkpoint import Checkpoint, TrainState
from components.contracts.config import TrainStage
from components.contracts.errors import InputError
from components.contracts.history import EpochRecord
from components.contracts.skeleton import STREAMS
from components.runtime.logs import stage_logger
from components.runtime.progress import progress
from components.train import telemetry
from components.train.clips import ClipSource
from components.train.inference import score
from components.train.inputs import check_flip
from components.train.loop import Guidance, Trainer, seed_of
from components.train.recogniser import Recogniser
from components.train.state import model_arrays, momentum_arrays, restore

LOG = stage_logger("train")


@dataclass(frozen=True)
class Outputs:
    """Where the three artifact directories go."""

    checkpoint: Path
    confusion: Path
    scores: Path


@dataclass(frozen=True)
class Inputs:
    """The opened artifacts of one round."""

    dataset: dataset.Dataset
    constraints: constraints.Constraints
    previous: Checkpoint | None

    @property
    def digests(self) -> dict[str, str]:
        made_from = {"dataset": self.dataset.digest, "constraints": self.constraints.digest}
        return made_from | ({"checkpoint": self.previous.digest} if self.previous else {})


def train_round(
    stage: TrainStage,
    dataset: Path,
    constraints: Path,
    outputs: Outputs,
    *,
    stream: str,
    round_number: int,
    previous: Path | None = None,
    resume: Path | None = None,
) -> None:
    """Train one stream for one round: its share of the epochs of the whole schedule.

    Args:
        stage: configuration, the same for all rounds of a stream.
        dataset: ``dataset`` artifact.
        constraints: ``constraints`` artifact that guides this round.
        outputs: where ``checkpoint``, ``confusion`` and ``scores`` are written.
        stream: one of j, b, k, jm, bm, km.
        round_number: 1-based; rounds after the first continue from ``previous``.
        previous: ``checkpoint`` of the round before; None exactly in round 1.
        resume: a directory that survives a kill. After every epoch the state is saved there, and a run
            with the same inputs goes on from it; it is removed when the round is complete.

    Raises:
        InputError: the inputs contradict each other or the configuration.
    """
    inputs = _open_inputs(stage, dataset, constraints, previous, stream, round_number)
    trainer = _build_trainer(stage, inputs, stream)
    epochs = stage.train.epochs_of_round(round_number, stage.rounds)
    start = _restore(trainer, inputs, resume, epochs.start)
    history, train_confusion = _run(trainer, inputs, start, epochs, round_number, resume)
    _write_outputs(trainer, inputs, outputs, history, train_confusion, round_number)
    if resume is not None:
        shutil.rmtree(resume, ignore_errors=True)


def _open_inputs(
    stage: TrainStage, data: Path, guidance: Path, previous: Path | None, stream: str, round_number: int
) -> Inputs:
    if stream not in STREAMS:
        raise InputError(f"stream: found {stream!r}, expected one of {', '.join(STREAMS)}")
    if not 1 <= round_number <= stage.rounds:
        raise InputError(f"round: found {round_number}, expected 1 to {stage.rounds}")
    if (previous is None) != (round_number == 1):
        expected = "none in round 1" if previous else f"the checkpoint of round {round_number - 1}"
        raise InputError(f"previous checkpoint: found {previous or 'none'}, expected {expected}")
    opened = Inputs(dataset.open(data), constraints.open(guidance), checkpoint.open(previous) if previous else None)
    _check_constraints(stage, opened, guidance)
    packed = opened.dataset.config
    if packed.layout != stage.data.layout:
        raise InputError(f"{data}: layout {packed.layout!r} found, {stage.data.layout!r} expected")
    if packed.classes != stage.data.classes:
        pairs = enumerate(zip_longest(packed.classes, stage.data.classes))
        label, (found, expected) = next((label, pair) for label, pair in pairs if pair[0] != pair[1])
        raise InputError(f"{data}: class {label} {found!r} found, {expected!r} expected")
    check_flip(opened.dataset, stage)
    if opened.previous is not None and previous is not None:
        _check_previous(stage, opened, previous, stream, round_number)
    return opened


def _check_constraints(stage: TrainStage, inputs: Inputs, path: Path) -> None:
    if inputs.constraints.layout != stage.data.layout:
        raise InputError(f"{path}: layout {inputs.constraints.layout!r} found, {stage.data.layout!r} expected")
    found, expected = len(inputs.constraints.classes), len(stage.data.classes)
    if found != expected:
        raise InputError(f"{path}: {found} classes found, {expected} expected")


def _check_previous(stage: TrainStage, inputs: Inputs, path: Path, stream: str, round_number: int) -> None:
    assert inputs.previous is not None
    state, config = inputs.previous.state, inputs.previous.config
    done = stage.train.epochs_of_round(round_number, stage.rounds).start
    if state.stream != stream:
        raise InputError(f"{path}: stream {state.stream!r} found, {stream!r} expected")
    if state.epoch != done:
        raise InputError(f"{path}: {state.epoch} epochs done found, {done} expected before round {round_number}")
    if (config.model, config.train, config.seed) != (stage.model, stage.train, stage.seed):
        raise InputError(f"{path}: made with another model, train or seed configuration than this round's")
    dimensions = inputs.constraints.text.shape[1]
    if state.text_dimensions != dimensions:
        raise InputError(f"{path}: text dimensions {state.text_dimensions} found, {dimensions} expected")


def _build_trainer(stage: TrainStage, inputs: Inputs, stream: str) -> Trainer:
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    layout = inputs.dataset.layout
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(stage.seed, stream, "weights"))
        text_dimensions = inputs.constraints.text.shape[1]
        classes, persons = len(stage.data.classes), stage.data.max_persons
        model = Recogniser(stage.model, len(layout.joints), persons, classes, text_dimensions)
    model.to(device)
    optimiser = torch.optim.SGD(
        model.parameters(),
        lr=stage.train.learning_rate,
        momentum=stage.train.momentum,
        weight_decay=stage.train.weight_decay,
        nesterov=stage.train.momentum > 0,
    )
    mask = layout.stream_mask(inputs.constraints.joint_weights(), stream)
    return Trainer(
        stage=stage,
        stream=stream,
        layout=layout,
        model=model,
        optimiser=optimiser,
        source=ClipSource(inputs.dataset, persons, device),
        samples=torch.from_numpy(inputs.dataset.split(stage.data.chosen.train)),
        guidance=Guidance(torch.from_numpy(mask).to(device), torch.from_numpy(inputs.constraints.text).to(device)),
    )


def _restore(trainer: Trainer, inputs: Inputs, resume: Path | None, first: int) -> tuple[int, tuple[EpochRecord, ...]]:
    """Load the newest state there is. Returns the number of epochs done and their history."""
    saved = _saved(inputs, resume) or inputs.previous
    if saved is None:
        return first, ()
    restore(trainer.model, trainer.optimiser, saved.model, saved.optimiser)
    if saved is not inputs.previous:
        LOG.info("resuming after epoch %d", saved.state.epoch)
    return saved.state.epoch, saved.state.history


def _saved(inputs: Inputs, resume: Path | None) -> Checkpoint | None:
    """Return the state saved by an interrupted run of exactly this round, if there is one."""
    if resume is None or not resume.exists():
        return None
    if checkpoint.verify(resume).made_from != inputs.digests:
        LOG.warning("%s: saved by a run with other inputs; starting the round anew", resume)
        return None
    return checkpoint.open(resume)


def _run(
    trainer: Trainer,
    inputs: Inputs,
    start: tuple[int, tuple[EpochRecord, ...]],
    epochs: range,
    round_number: int,
    resume: Path | None,
) -> tuple[tuple[EpochRecord, ...], np.ndarray]:
    done, history = start
    train_confusion = np.empty(0)
    title = f"train {trainer.stream} round {round_number}"
    with progress(title, len(epochs), LOG) as report, telemetry.watch(trainer.stream, round_number) as seen:
        for epoch in range(done + 1, epochs.stop + 1):
            record, train_confusion = trainer.epoch(epoch, round_number)
            history = (*history, record)
            seen(record, len(trainer.samples))
            report(epoch - epochs.start, f"loss {record.loss:.3f}, train top-1 {record.top1:.1%}")
            # The last epoch goes to the outputs only: its confusion is not part of a saved state.
            if resume is not None and epoch < epochs.stop:
                saved = _checkpoint(trainer, inputs, history, round_number)
                checkpoint.write(resume, saved, made_from=inputs.digests)
    return history, train_confusion


def _checkpoint(trainer: Trainer, inputs: Inputs, history: tuple[EpochRecord, ...], round_number: int) -> Checkpoint:
    epoch = history[-1].epoch
    state = TrainState(
        stream=trainer.stream,
        round=round_number,
        epoch=epoch,
        step=epoch * trainer.steps_per_epoch,
        text_dimensions=inputs.constraints.text.shape[1],
        history=history,
    )
    momentum = momentum_arrays(trainer.model, trainer.optimiser)
    return Checkpoint(model_arrays(trainer.model), momentum, state, trainer.stage)


def _write_outputs(
    trainer: Trainer,
    inputs: Inputs,
    outputs: Outputs,
    history: tuple[EpochRecord, ...],
    train_confusion: np.ndarray,
    round_number: int,
) -> None:
    stage, stream = trainer.stage, trainer.stream
    result = score(
        trainer.model, trainer.source, inputs.dataset, stage, stream=stream, round_number=round_number, history=history
    )
    counts = np.zeros_like(train_confusion)
    np.add.at(counts, (result.labels, result.probabilities.argmax(1)), 1)
    final = _checkpoint(trainer, inputs, history, round_number)
    checkpoint.write(outputs.checkpoint, final, made_from=inputs.digests)
    counted = confusion.Confusion(stream, round_number, train_confusion, counts)
    confusion.write(outputs.confusion, counted, made_from=inputs.digests, config=stage)
    scores.write(outputs.scores, result, made_from=inputs.digests, config=stage)
    top1 = float((result.probabilities.argmax(1) == result.labels).mean())
    LOG.info("%s round %d: test top-1 %.1f %% (%d samples)", stream, round_number, 100 * top1, len(result.labels))
