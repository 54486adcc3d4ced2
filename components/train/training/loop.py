"""The training loop of one stream: epochs of steps, their random numbers, learning rate and bookkeeping."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable
from dataclasses import dataclass, field, fields
from typing import cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from components.contracts.config import TrainStage
from components.contracts.history import EpochRecord
from components.contracts.skeleton import Layout
from components.train.clips.features import training_features
from components.train.clips.gather import ClipSource
from components.train.clips.mix import draw_mix, mix
from components.train.distributed.process_group import SINGLE_PROCESS, ProcessGroup
from components.train.model.losses import Losses, training_loss
from components.train.model.recogniser import Output, Recogniser
from components.train.training.schedule import learning_rate

SETTLING_STEPS = 200
"""The most batches that batch norm's statistics are measured on: a mean over more says the same."""


def seed_of(seed: int, stream: str, purpose: str) -> int:
    """Derive an independent 63-bit seed; every epoch has its own, so no generator state needs saving."""
    return int.from_bytes(hashlib.sha256(f"{seed}/{stream}/{purpose}".encode()).digest()[:8], "big") >> 1


@dataclass(frozen=True)
class Guidance:
    """What the agent says, on the device: ``mask`` ``[classes, V]`` of this stream, ``text`` ``[classes, D]``.

    Without a mask there is no constraint loss.
    """

    mask: Tensor | None
    text: Tensor


@dataclass
class Tally:
    """Sums over one epoch, kept on the device so that no step waits for it."""

    sums: Tensor
    confusion: Tensor
    samples: int = 0
    names: tuple[str, ...] = field(default=("total", "clean", "mixed", "constraint", "alignment"))

    @classmethod
    def empty(cls, classes: int, device: torch.device) -> Tally:
        return cls(torch.zeros(5, device=device), torch.zeros(classes * classes, dtype=torch.int64, device=device))

    def add(self, losses: Losses, logits: Tensor, labels: Tensor) -> None:
        values = torch.stack([getattr(losses, name).detach() for name in self.names])
        self.sums += values * len(labels)
        classes = logits.shape[1]
        cells = labels * classes + logits.argmax(1)
        self.confusion.scatter_add_(0, cells, torch.ones_like(cells))
        self.samples += len(labels)

    def confusion_matrix(self) -> np.ndarray:
        classes = math.isqrt(len(self.confusion))
        return self.confusion.view(classes, classes).cpu().numpy()

    def record(self, epoch: int, round_number: int, learning_rate: float) -> EpochRecord:
        total, clean, mixed, constraint, alignment = (self.sums / self.samples).tolist()
        confusion = self.confusion_matrix()
        return EpochRecord(
            epoch=epoch,
            round=round_number,
            learning_rate=learning_rate,
            loss=total,
            loss_clean=clean,
            loss_mixed=mixed,
            loss_constraint=constraint,
            loss_alignment=alignment,
            top1=float(np.trace(confusion) / confusion.sum()),
        )


@dataclass
class Trainer:
    """Everything a step needs. ``samples`` are the sample numbers of the training split, int64 ``[N]``."""

    stage: TrainStage
    stream: str
    layout: Layout
    model: Recogniser
    optimiser: torch.optim.Optimizer
    source: ClipSource
    samples: Tensor
    guidance: Guidance
    group: ProcessGroup = SINGLE_PROCESS
    class_weights: Tensor | None = None

    def __post_init__(self) -> None:
        self._network = self.group.wrap(self.model, sync_batch_norm=self.stage.train.sync_batch_norm)
        if self.stage.train.class_balance:
            labels = self.source.labels[self.samples]
            counts = torch.bincount(labels, minlength=len(self.stage.data.classes)).clamp(min=1)
            self.class_weights = (len(labels) / (len(counts) * counts)).float().to(self.source.device)

    @property
    def steps_per_epoch(self) -> int:
        return math.ceil(len(self.samples) / self.stage.train.batch)

    def epoch(
        self, epoch: int, round_number: int, stepped: Callable[[], None] | None = None
    ) -> tuple[EpochRecord, np.ndarray]:
        """Train one epoch (1-based). Returns its record and its confusion: int64 ``[true, predicted]``.

        ``stepped`` is called after every step, for which nothing waits for the device.

        The confusion is what the network said of the clean clips before each step, as in the reference.
        """
        generator = torch.Generator().manual_seed(seed_of(self.stage.seed, self.stream, f"epoch {epoch}"))
        tally = Tally.empty(len(self.stage.data.classes), self.source.device)
        self.model.train()
        order = self.samples[torch.randperm(len(self.samples), generator=generator)]
        # Batches of nearly equal size: no tiny last one to upset the batch statistics.
        for step, batch in enumerate(order.tensor_split(self.steps_per_epoch)):
            rate = learning_rate(self.stage.train, (epoch - 1) * self.steps_per_epoch + step, self.steps_per_epoch)
            for group in self.optimiser.param_groups:
                group["lr"] = rate
            self._step(batch, generator, tally)
            if stepped is not None:
                stepped()
        return tally.record(epoch, round_number, rate), tally.confusion_matrix()

    @torch.no_grad()
    def settle_batch_norm(self, epoch: int) -> None:
        """Set batch norm's running statistics to what the weights after ``epoch`` make of training clips.

        While the learning rate is high the moving averages lag behind weights that have gone on, and a test then says
        little of either. The mean over batches is that of "precise BN" (Wu and Johnson 2021, "Rethinking 'Batch' in
        BatchNorm", section 3).
        """
        generator = torch.Generator().manual_seed(seed_of(self.stage.seed, self.stream, f"batch norm {epoch}"))
        order = self.samples[torch.randperm(len(self.samples), generator=generator)]
        update_bn(order.tensor_split(self.steps_per_epoch)[:SETTLING_STEPS], _TrainingPass(self, generator))
        for buffer in self.model.buffers():
            # Without sync_batch_norm each process has measured its own shares.
            self.group.broadcast(buffer)

    def _step(self, batch: Tensor, generator: torch.Generator, tally: Tally) -> None:
        config = self.stage.train
        clips = self._training_clips(batch, generator)
        labels = self.source.labels[batch].to(self.source.device, non_blocking=True)
        mixed_labels = None
        inputs, present = clips, self.source.present(batch)
        if config.mix:
            drawn = draw_mix(len(batch), config.frames, self.layout, generator)
            mixed, mixed_labels = mix(clips, labels, len(self.stage.data.classes), drawn)
            inputs = torch.cat([clips, mixed])
            present = torch.cat([present, present | present.roll(-drawn.shift, dims=0)])
        output = self._forward(len(batch), inputs, present)
        losses = training_loss(
            output,
            labels,
            mixed_labels,
            self.guidance.text,
            cast(Tensor, self.model.logit_scale),
            constraint_weight=config.constraint_weight,
            alignment_weight=config.alignment_weight,
            label_smoothing=config.label_smoothing,
            class_weights=self.class_weights,
        )
        self.optimiser.zero_grad(set_to_none=True)
        losses.total.backward()
        self.optimiser.step()
        tally.add(losses, output.logits[: len(batch)], labels)

    def _forward(self, count: int, inputs: Tensor, present: Tensor) -> Output:
        """Return the heads of the whole batch, of which this process computes its share.

        Args:
            count: the number of clean clips, and of mixed ones, if any: ``inputs`` and ``present`` hold both.
        """
        group = self.group
        parts = [group.shard(part) for part in inputs.split(count)]
        own = torch.cat([group.shard(part) for part in present.split(count)])
        output = self._network(torch.cat(parts), self.guidance.mask, own)
        if group.world_size == 1:
            return output
        names = [head.name for head in fields(Output) if getattr(output, head.name) is not None]
        heads = [getattr(output, name) for name in names]
        widths = [head.shape[1] for head in heads]
        # Clean and mixed side by side: all that is gathered travels at once.
        side_by_side = torch.cat(torch.cat(heads, dim=1).split(len(parts[0])), dim=1)
        gathered = torch.cat(group.all_gather(side_by_side, count).chunk(len(parts), dim=1))
        return Output(**{"constraint": None, **dict(zip(names, gathered.split(widths, dim=1), strict=True))})

    def _training_clips(self, batch: Tensor, generator: torch.Generator) -> Tensor:
        return training_features(self.source, batch, self.stage, self.layout, self.stream, generator)


class _TrainingPass(nn.Module):
    """A trainer's forward pass over training clips as a module of one argument, the samples, as PyTorch expects it."""

    def __init__(self, trainer: Trainer, generator: torch.Generator) -> None:
        super().__init__()
        self.model = trainer.model
        self._trainer, self._generator = trainer, generator

    def forward(self, samples: Tensor) -> Output:
        trainer = self._trainer
        clips = trainer._training_clips(samples, self._generator)
        return trainer._forward(len(samples), clips, trainer.source.present(samples))
