"""What an epoch's data cost: packed once and cut in batches, against a plain pipeline of one sample at a time.

``python tests/benchmarks/preprocess.py --help``. One run measures both on the same samples, on one thread, taking
turns, so that what else the machine does meets both alike; ratios of medians are what counts.
"""

from __future__ import annotations

import pickle
import tempfile
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from statistics import median
from typing import Any

import generate
import numpy as np
import plain_pipeline
import torch
import typer
from preprocess_scale import config
from rich.console import Console
from rich.table import Table

from components.contracts import dataset
from components.contracts.config import Augmentation, DataConfig, TrainConfig
from components.contracts.skeleton import STREAM_NAMES, STREAMS, load_layout
from components.preprocess.core import preprocess
from components.train.clips.augment import augment, draw
from components.train.clips.gather import ClipSource
from components.train.clips.sampling import training_frames
from components.train.clips.streams import stream_features

TRAIN = TrainConfig(epochs=1, frames=100, augmentation=Augmentation(rotation=0.2))
LAYOUT = load_layout("ntu25")


class Packed:
    """Our way: gather, turn and difference whole batches of the packed data set."""

    def __init__(self, path: Path) -> None:
        opened = dataset.open(path)
        self.source = ClipSource(opened, persons=2, device=torch.device("cpu"))
        self.samples = torch.arange(len(opened))

    def epoch(self, stream: str, batch: int) -> int:
        generator = torch.Generator().manual_seed(0)
        order = self.samples[torch.randperm(len(self.samples), generator=generator)]
        for numbers in order.split(batch):
            frames = training_frames(self.source.frames[numbers], TRAIN, generator)
            joints = self.source.clips(numbers, frames)
            draws = draw(len(numbers), LAYOUT, TRAIN.augmentation, generator, three_d=True)
            joints = augment(joints, LAYOUT, draws)
            clips = stream_features(joints, LAYOUT, stream)
            assert clips.shape[1:] == (2, 100, 25, 3)
        return len(order)


class Plain:
    """The plain way: every sample from the raw pickle through all transforms, then stacked."""

    def __init__(self, path: Path) -> None:
        with path.open("rb") as file:
            self.records: list[Any] = pickle.load(file)["annotations"]  # noqa: S301 - generated above

    def epoch(self, stream: str, batch: int, most: int) -> int:
        order = np.random.permutation(len(self.records))[:most]
        for first in range(0, len(order), batch):
            numbers = order[first : first + batch]
            raw = (self.records[number]["keypoint"] for number in numbers)
            clips = [plain_pipeline.training_clip(keypoints, LAYOUT, stream) for keypoints in raw]
            assert torch.from_numpy(np.stack(clips)).shape[1:] == (2, 100, 25, 3)
        return len(order)


def cost(work: Callable[[], int]) -> float:
    """Return the seconds for each of the samples that ``work`` counts: processor time, all on one thread."""
    started = time.process_time()
    samples = work()
    return (time.process_time() - started) / samples


def main(
    samples: int = typer.Option(2000, help="Samples of the generated data set."),
    plain_samples: int = typer.Option(150, help="Samples of each turn of the plain pipeline."),
    repeats: int = typer.Option(5, help="Turns of either side per stream."),
    batch: int = typer.Option(TRAIN.batch, help="Samples in a batch."),
    protocol: int = generate.Protocol,
) -> None:
    """Print the cost of a sample in both ways for every stream, and in the first epoch with reading and packing."""
    torch.set_num_threads(1)
    with tempfile.TemporaryDirectory() as scratch:
        file, packed = Path(scratch) / "input.pkl", Path(scratch) / "dataset"
        generate.write_ntu(file, samples, protocol)
        opening: list[Packed] = []
        loading: list[Plain] = []

        def pack() -> int:
            preprocess(file, DataConfig.model_validate(config("ntu")), packed)
            opening.append(Packed(packed))
            return samples

        def load() -> int:
            loading.append(Plain(file))
            return samples

        # Ours first: the objects of a pickle that is held in memory slow down all that follows.
        packing, reading = cost(pack), cost(load)
        report(loading[0], opening[0], reading, packing, (plain_samples, repeats, batch))


def report(plain: Plain, ours: Packed, reading: float, packing: float, sizes: tuple[int, int, int]) -> None:
    """Let both take turns over every stream and print the table."""
    most, repeats, batch = sizes
    table = Table(title=f"{len(plain.records)} samples, batches of {batch}, CPU time on one thread")
    for column in ("stream", "plain ms", "ours ms", "plain samples/s", "ours samples/s", "epoch ×", "first epoch ×"):
        table.add_column(column, justify="right")
    for stream in STREAMS:
        work = (partial(plain.epoch, stream, batch, most), partial(ours.epoch, stream, batch))
        turns = [(cost(work[0]), cost(work[1])) for _ in range(repeats)]
        theirs, own = (median(side) for side in zip(*turns, strict=True))
        first = (reading + theirs) / (packing + own)
        values = (theirs * 1e3, own * 1e3, 1 / theirs, 1 / own, theirs / own, first)
        table.add_row(STREAM_NAMES[stream], *(f"{value:,.2f}" if value < 30 else f"{value:,.0f}" for value in values))
    Console(width=120).print(table)
    print(f"a sample costs the plain way {reading * 1e3:.2f} ms to read, ours {packing * 1e3:.2f} ms to read and pack")


if __name__ == "__main__":
    typer.run(main)
