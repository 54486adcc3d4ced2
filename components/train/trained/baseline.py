"""A small temporal convolution to hold the recogniser against: no graph, no streams, no guidance; a minute's training.

Joints and their velocities go through three convolutions over time (Bai et al. 2018, without dilation), the mean over
time through a linear layer. It knows nothing of a skeleton but the order of its joints.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.contracts import dataset as dataset_contract
from components.contracts import scores as scores_contract
from components.contracts.config import BaselineStage, ModelConfig, TrainConfig, TrainStage
from components.contracts.dataset import CHANNELS, Dataset
from components.contracts.same_data import expect_same_data
from components.contracts.scores import TEMPORAL_CONVOLUTION, Scores
from components.contracts.skeleton import Layout
from components.runtime.logs import stage_logger
from components.train.clips.features import check_flip, test_features, training_features
from components.train.clips.gather import ClipSource
from components.train.training.loop import seed_of

LOG = stage_logger("train")

EPOCHS = 60
LEAST_SAMPLES, MOST_SAMPLES = 5_000, 100_000
"""Whatever the size of a data set, training passes so many samples: a minute on two cores is the most."""
_FRAMES, _BATCH = 32, 64
_WIDTH, _KERNEL, _DROPOUT = 128, 5, 0.5
_LEARNING_RATE, _WEIGHT_DECAY = 2e-3, 1e-2


@dataclass(frozen=True)
class Baseline:
    """Scores of the test split, and how many samples it was trained on, for how many epochs."""

    scores: Scores
    trained: int
    epochs: int

    def __str__(self) -> str:
        tested = f"top-1 {self.scores.top1:.1%} of {len(self.scores.labels)}"
        return f"{TEMPORAL_CONVOLUTION}, {self.epochs} epochs of {self.trained} samples: {tested}"


class TemporalConvolution(nn.Module):
    """Clips ``[N, M, T, V, 3]`` to class logits ``[N, classes]``."""

    def __init__(self, persons: int, joints: int, classes: int) -> None:
        super().__init__()
        width_in = 2 * persons * joints * CHANNELS
        layers: list[nn.Module] = [nn.BatchNorm1d(width_in)]
        for width, stride in ((_WIDTH, 1), (_WIDTH, 2), (2 * _WIDTH, 2)):
            layers += [nn.Conv1d(width_in, width, _KERNEL, stride, _KERNEL // 2), nn.BatchNorm1d(width), nn.ReLU()]
            width_in = width
        self.layers = nn.Sequential(*layers)
        self.dropout = nn.Dropout(_DROPOUT)
        self.classifier = nn.Linear(width_in, classes)

    def forward(self, clips: Tensor) -> Tensor:
        positions = clips.permute(0, 1, 3, 4, 2).flatten(1, 3)
        velocities = F.pad(positions.diff(dim=2), (0, 1))
        return self.classifier(self.dropout(self.layers(torch.cat([positions, velocities], dim=1)).mean(dim=2)))


def write_baseline(stage: BaselineStage, dataset: Path, output: Path, device: torch.device) -> None:
    """Write the ``scores`` of a temporal convolution; where none is wanted, an artifact that says so.

    Raises:
        InputError: the dataset cannot be read, or does not fit the configuration.
    """
    if not stage.wanted:
        reason = "evaluate.baseline is false"
        LOG.info("left out: %s", reason)
        scores_contract.write_left_out(output, TEMPORAL_CONVOLUTION, reason, config=stage)
        return
    packed = open_dataset(stage, dataset)
    found = temporal_convolution(stage, packed, device)
    LOG.info("%s", found)
    scores_contract.write(output, found.scores, made_from={"dataset": packed.digest}, config=stage)


def open_dataset(stage: BaselineStage, path: Path) -> Dataset:
    """Open the dataset; ``InputError`` if it cannot be read, or is not what the stage is configured for."""
    packed = dataset_contract.open(path)
    expect_same_data(packed.config.layout, packed.config.classes, stage.data, at=path)
    return packed


def temporal_convolution(given: BaselineStage, packed: Dataset, device: torch.device) -> Baseline:
    """Train on the protocol's training split and score its test split.

    The last epoch's weights count. Same data, seed and number of threads: same scores (CPU).
    """
    stage = _short_clips(given)
    check_flip(packed, stage)
    source = ClipSource(packed, stage.data.max_persons, device)
    train, test = (torch.from_numpy(packed.split(name)) for name in (stage.data.chosen.train, stage.data.chosen.test))
    passed = min(max(EPOCHS * len(train), LEAST_SAMPLES), MOST_SAMPLES)
    epochs = max(1, passed // len(train))
    seed = seed_of(stage.seed, "baseline", "weights")
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        network = TemporalConvolution(stage.data.max_persons, len(packed.layout.joints), len(stage.data.classes))
        generator = torch.Generator().manual_seed(seed)
        _train(network.to(device), source, train, stage, packed.layout, epochs, generator)
    scores = Scores(
        stream=TEMPORAL_CONVOLUTION,
        round=0,
        clips=1,
        sample_ids=packed.sample_ids[test.numpy()],
        labels=packed.labels[test.numpy()],
        probabilities=_probabilities(network.eval(), source, test, stage, packed.layout).numpy(),
    )
    return Baseline(scores, len(train), epochs)


@torch.inference_mode()
def _probabilities(
    network: nn.Module, source: ClipSource, samples: Tensor, stage: TrainStage, layout: Layout
) -> Tensor:
    clips = (test_features(source, batch, stage, layout, "j", clip=0) for batch in samples.split(_BATCH))
    return torch.cat([network(one).softmax(dim=1).cpu() for one in clips])


def _train(
    network: nn.Module,
    source: ClipSource,
    samples: Tensor,
    stage: TrainStage,
    layout: Layout,
    epochs: int,
    generator: torch.Generator,
) -> None:
    optimiser = torch.optim.AdamW(network.parameters(), lr=_LEARNING_RATE, weight_decay=_WEIGHT_DECAY)
    steps = epochs * -(-len(samples) // _BATCH)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimiser, _LEARNING_RATE, total_steps=max(steps, 2))
    for _ in range(epochs):
        for batch in samples[torch.randperm(len(samples), generator=generator)].split(_BATCH):
            logits = network(training_features(source, batch, stage, layout, "j", generator))
            loss = F.cross_entropy(logits, source.labels[batch].to(logits.device), label_smoothing=0.1)
            optimiser.zero_grad()
            loss.backward()
            optimiser.step()
            schedule.step()


def _short_clips(stage: BaselineStage) -> TrainStage:
    """Return what clips are made by: 32 frames of the whole sequence, augmented as the recogniser's."""
    train = TrainConfig(epochs=1, frames=_FRAMES, sampling="resize", test_clips=1, augmentation=stage.augmentation)
    return TrainStage(seed=stage.seed, rounds=1, data=stage.data, model=ModelConfig(), train=train)
