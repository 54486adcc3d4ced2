"""The train stage: one stream, one round. Dataset, constraints and perhaps a checkpoint in, three artifacts out."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field, replace
from pathlib import Path

import numpy as np
import torch

from components.contracts import checkpoint, confusion, scores
from components.contracts.accuracy import confusion_matrix
from components.contracts.checkpoint import Checkpoint, Tensors, TrainState
from components.contracts.config import TrainStage
from components.contracts.errors import InputError
from components.contracts.history import EpochRecord
from components.contracts.scores import Scores
from components.runtime.logs import stage_logger
from components.train.clips.gather import ClipSource
from components.train.clips.holding_out import Numbers
from components.train.distributed.process_group import SINGLE_PROCESS, ProcessGroup, default_device
from components.train.model.recogniser import Recogniser
from components.train.round import Round
from components.train.trained.evidence import class_evidence
from components.train.trained.inference import score
from components.train.trained.separability import separability
from components.train.training.allocator import keep_memory
from components.train.training.inputs import RoundInputs, open_inputs
from components.train.training.loop import Guidance, Trainer, seed_of
from components.train.training.optimiser import build_optimiser
from components.train.training.saves import SavePlace, Saves, round_key
from components.train.training.state import broadcast_state, model_arrays, optimiser_arrays, restore
from components.train.training.telemetry import NO_LOGGERS, Callback, Loggers, RoundInfo, watch

LOG = stage_logger("train")


@dataclass(frozen=True)
class Outputs:
    """Where the three artifact directories go."""

    checkpoint: Path
    confusion: Path
    scores: Path


@dataclass
class Progress:
    """Where a round stands: ``epoch`` epochs are done; ``best`` are the weights of the best tested one."""

    epoch: int
    history: tuple[EpochRecord, ...] = ()
    best: Tensors = field(default_factory=dict)
    best_epoch: int | None = None

    @classmethod
    def of(cls, saved: Checkpoint) -> Progress:
        return cls(saved.state.epoch, saved.state.history, saved.best, saved.state.best_epoch)

    def add(self, record: EpochRecord, weights: Callable[[], Tensors]) -> None:
        """Take the record of the next epoch, and its weights if it is the best tested so far."""
        top1 = {past.epoch: past.test_top1 for past in self.history}
        self.epoch, self.history = record.epoch, (*self.history, record)
        if record.test_top1 is None:
            return
        highest = top1[self.best_epoch] if self.best_epoch is not None else None
        if highest is None or record.test_top1 > highest:
            # Copies: on the CPU these arrays are the parameters themselves, which go on changing.
            self.best = {name: array.copy() for name, array in weights().items()}
            self.best_epoch = record.epoch


def train_round(
    what: Round[Path],
    outputs: Outputs,
    *,
    resume: SavePlace | None = None,
    group: ProcessGroup | None = None,
    loggers: Loggers = NO_LOGGERS,
) -> None:
    """Train one stream for one round: its share of the epochs of the whole schedule.

    Args:
        what: the round.
        outputs: where ``checkpoint``, ``confusion`` and ``scores`` are written.
        resume: a place that survives a kill. After every epoch a checkpoint is saved there, and a run with the
            same inputs and configuration goes on from it; they are removed when the round is complete. Those of
            any other run stay as they are.
        group: the processes that train together; all of them call this, and rank 0 writes.
        loggers: where the epochs are logged besides the artifacts.

    Raises:
        InputError: the inputs contradict each other or the configuration.
    """
    keep_memory()
    stage = what.stage
    inputs = open_inputs(what)
    trainer = _build_trainer(stage, inputs, what.stream, group or ProcessGroup(device=default_device()))
    if trainer.guidance.mask is None and trainer.group.is_main:
        LOG.info("the constraints name the same joints for every class: trained without the constraint loss")
    epochs = stage.train.epochs_of_round(what.number, stage.rounds)
    saves = None
    if resume is not None and trainer.group.is_main:
        key = round_key(stage, what.stream, what.number, inputs.digests)
        saves = Saves(resume, stage.train.keep_last, key, inputs.digests)
    run = _RoundRun(trainer, inputs, what.number, epochs, saves, Progress(epochs.start), loggers)
    run.restore()
    train_confusion = run.train()
    run.write(outputs, train_confusion)
    if saves is not None:
        saves.clear()


def _build_trainer(
    stage: TrainStage, inputs: RoundInputs, stream: str, group: ProcessGroup = SINGLE_PROCESS
) -> Trainer:
    device, layout = group.device, inputs.dataset.layout
    with torch.random.fork_rng():
        torch.manual_seed(seed_of(stage.seed, stream, "weights"))
        text_dimensions = inputs.constraints.text.shape[1]
        classes, persons = len(stage.data.classes), stage.data.max_persons
        model = Recogniser(stage.model, len(layout.joints), persons, classes, text_dimensions)
    model.to(device)
    model.tune(stage.train)
    mask = _mask(inputs, stream)
    if mask is None:
        # Frozen: DistributedDataParallel would wait for gradients that never come.
        model.constraint.requires_grad_(requires_grad=False)
    trainer = Trainer(
        stage=stage,
        stream=stream,
        layout=layout,
        model=model,
        optimiser=build_optimiser(stage.train, model),
        source=ClipSource(inputs.dataset, persons, device),
        samples=torch.from_numpy(inputs.samples),
        guidance=Guidance(
            None if mask is None else mask.to(device), torch.from_numpy(inputs.constraints.text).to(device)
        ),
        group=group,
    )
    scored = [len(part) for part in (inputs.dataset.split(stage.data.chosen.test), inputs.held_out) if len(part)]
    smallest = min(len(trainer.samples) // trainer.steps_per_epoch, *scored)
    if smallest < group.world_size:
        raise InputError(f"{group.world_size} processes found, at most {smallest} expected, one sample of a batch each")
    return trainer


def _mask(inputs: RoundInputs, stream: str) -> torch.Tensor | None:
    """Return the critical positions of each class ``[classes, V]``, or None if they are the same for all of them.

    Then all constraint logits are equal: the loss would stand at the logarithm of the number of classes, and no
    gradient come of it.
    """
    weights = inputs.constraints.joint_weights()
    if (weights == weights[0]).all():
        return None
    return torch.from_numpy(inputs.dataset.layout.stream_mask(weights, stream))


@dataclass
class _RoundRun:
    """A round under way; ``epochs`` are those of the schedule that it trains, before each of which so many are done."""

    trainer: Trainer
    inputs: RoundInputs
    number: int
    epochs: range
    saves: Saves | None
    progress: Progress
    loggers: Loggers

    def restore(self) -> None:
        """Load the newest state there is: of this round if it was interrupted, else of the round before."""
        saved = self.saves.newest() if self.saves else None
        if saved is not None:
            LOG.info("resuming after epoch %d", saved.state.epoch)
        saved = saved or self.inputs.previous
        if saved is not None:
            restore(self.trainer.model, self.trainer.optimiser, saved.model, saved.optimiser)
            self.progress = Progress.of(saved)
        group = self.trainer.group
        broadcast_state(self.trainer.model, self.trainer.optimiser, group)
        self.progress.epoch = int(group.broadcast(torch.tensor(self.progress.epoch, device=group.device)))

    def train(self) -> np.ndarray:
        """Train the epochs that are not done yet. Returns the last one's confusion, int64 ``[true, predicted]``."""
        confused = np.empty(0)
        trainer, config = self.trainer, self.trainer.stage.train
        with self._watch() as seen:
            for epoch in range(self.progress.epoch + 1, self.epochs.stop + 1):
                record, confused = trainer.epoch(epoch, self.number, seen.step)
                tested = config.evaluate_every and epoch % config.evaluate_every == 0
                if config.precise_batch_norm and (tested or epoch == self.epochs.stop):
                    trainer.settle_batch_norm(epoch)
                if tested:
                    record = record.model_copy(update={"test_top1": self._score_test(clips=1).top1})
                self.progress.add(record, lambda: model_arrays(trainer.model))
                seen.epoch(record)
                # The last epoch goes to the outputs only: its confusion is not part of a saved state.
                if self.saves is not None and epoch < self.epochs.stop:
                    self.saves.write(self.checkpoint())
        return confused

    def _watch(self) -> AbstractContextManager[Callback]:
        """Return what shows the steps and epochs; of several processes only rank 0 shows anything."""
        trainer = self.trainer
        if not trainer.group.is_main:
            return nullcontext(Callback())
        info = RoundInfo(trainer.stream, self.number, self.epochs, trainer.steps_per_epoch, len(trainer.samples))
        return watch(info, self.progress.epoch, self.loggers)

    def checkpoint(self) -> Checkpoint:
        """Return the whole state as it is now."""
        trainer, progress = self.trainer, self.progress
        state = TrainState(
            stream=trainer.stream,
            round=self.number,
            epoch=progress.epoch,
            step=progress.epoch * trainer.steps_per_epoch,
            text_dimensions=self.inputs.constraints.text.shape[1],
            history=progress.history,
            best_epoch=progress.best_epoch,
        )
        remembered = optimiser_arrays(trainer.model, trainer.optimiser)
        return Checkpoint(model_arrays(trainer.model), remembered, state, trainer.stage, progress.best)

    def write(self, outputs: Outputs, confused: np.ndarray) -> None:
        """Score the test split, after the last round the held-out samples too, and write the three artifacts."""
        stage, stream, made_from = self.trainer.stage, self.trainer.stream, self.inputs.digests
        result = replace(self._score_test(stage.train.test_clips), history=self.progress.history)
        if len(self.inputs.held_out) and self.number == stage.rounds:
            result = replace(result, held_out=self._scores(self.inputs.held_out, stage.train.test_clips))
        if not self.trainer.group.is_main:
            return
        tested = confusion_matrix(result.probabilities, result.labels)
        checkpoint.write(outputs.checkpoint, self.checkpoint(), made_from=made_from)
        confusion.write(outputs.confusion, self._measured(confused, tested), made_from=made_from, config=stage)
        scores.write(outputs.scores, result, made_from=made_from, config=stage)
        share, samples = 100 * result.top1, len(result.labels)
        LOG.info("%s round %d: test top-1 %.1f %% (%d samples)", stream, self.number, share, samples)

    def _measured(self, confused: np.ndarray, tested: np.ndarray) -> confusion.Confusion:
        """Return the round's confusion, with what tells its classes apart: by the data, and to the network."""
        trainer, source, layout = self.trainer, self.trainer.source, self.inputs.dataset.layout
        told = separability(source, trainer.samples, confused, layout, three_d=trainer.stage.data.dimensions == "3d")
        return confusion.Confusion(
            trainer.stream,
            self.number,
            confused,
            tested,
            separability=told.classes,
            evidence=class_evidence(trainer.model, source, trainer.samples, trainer.stage, layout, trainer.stream),
            pairs=told.pairs,
            pair_separability=told.of_pairs,
            activity=told.activity,
        )

    def _score_test(self, clips: int) -> Scores:
        return self._scores(self.inputs.dataset.split(self.trainer.stage.data.chosen.test), clips)

    def _scores(self, numbers: Numbers, clips: int) -> Scores:
        trainer = self.trainer
        train = trainer.stage.train.model_copy(update={"test_clips": clips})
        return score(
            trainer.model,
            trainer.source,
            self.inputs.dataset,
            numbers,
            trainer.stage.model_copy(update={"train": train}),
            stream=trainer.stream,
            round_number=self.number,
            group=trainer.group,
        )
