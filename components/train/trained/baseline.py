"""A small temporal convolution to hold the recogniser against: no graph, no streams, no guidance; a minute's training.

Joints and their velocities go through three convolutions over time (Bai et al. 2018, without dilation), the mean over
time through a linear layer. It knows nothing of a skeleton but the order of its joints.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from components.contracts.config import TrainStage
from components.contracts.dataset import CHANNELS, Dataset
from components.contracts.skeleton import Layout
from components.train.clips.features import test_features, training_features
from components.train.clips.gather import ClipSource
from components.train.training.loop import seed_of

EPOCHS = 60
LEAST_SAMPLES, MOST_SAMPLES = 20_000, 100_000
"""Whatever the size of a data set, training passes so many samples: about a minute on two cores."""
_FRAMES, _BATCH = 32, 64
_WIDTH, _KERNEL, _DROPOUT = 128, 5, 0.5
_LEARNING_RATE, _WEIGHT_DECAY = 2e-3, 1e-2


@dataclass(frozen=True)
class Baseline:
    """How many of the ``tested`` samples were recognised, and of what it was trained."""

    correct: int
    tested: int
    trained: int
    epochs: int


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


def temporal_convolution(stage: TrainStage, packed: Dataset, device: torch.device) -> Baseline:
    """Train on the protocol's training split and count what is recognised of its test split.

    The last epoch's weights count. Same data, seed and number of threads: same result (CPU).
    """
    stage = _short_clips(stage)
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
    correct = 0
    network.eval()
    with torch.inference_mode():
        for batch in test.split(_BATCH):
            clips = test_features(source, batch, stage, packed.layout, "j", clip=0)
            correct += int((network(clips).argmax(dim=1).cpu() == source.labels[batch]).sum())
    return Baseline(correct, len(test), len(train), epochs)


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


def _short_clips(stage: TrainStage) -> TrainStage:
    """Return the configuration with clips of 32 frames; augmentation stays the recogniser's."""
    changes = {"frames": _FRAMES, "sampling": "resize", "test_clips": 1}
    return stage.model_copy(update={"train": stage.train.model_copy(update=changes)})
