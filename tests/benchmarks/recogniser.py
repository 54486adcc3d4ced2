"""What training and recognition cost, against the recogniser written plainly: ``… recogniser.py --help``.

Each measurement is a process of its own, plain and ours taking turns, so that what else the machine does meets both
alike; ratios are medians over pairs. ``peak`` is the largest resident set above that before the model was made.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

import torch
import typer
from plain_recogniser import TEXT_DIMENSIONS, PlainRecogniser, TextTower
from rich.console import Console
from rich.table import Table
from torch import Tensor
from torch.nn import functional as F

from components.contracts.config import ModelConfig, TrainConfig
from components.train.model.folding import fold
from components.train.model.losses import alignment_loss, training_loss
from components.train.model.recogniser import Recogniser
from components.train.training.allocator import VARIABLES, keep_memory

ROOT = Path(__file__).resolve().parents[2]
FRAMES = 100
CONFIGS = {
    "ntu60": (ModelConfig(), 25, 60),
    "k400": (ModelConfig(stem="plain", blocks=10, inflate_at=(4, 7)), 20, 400),
}
SECOND_PERSON = {"everywhere": 1, "ntu": 5, "nowhere": 1 << 30}
"""A second person is in every sample, in every 5th (NTU RGB+D 60: 18 %), or in none."""
RECOGNISED = 8
"""Recognition takes that many times the clips of a training step; the stage itself takes 64."""


@dataclass(frozen=True)
class Case:
    """One row of the table. ``text``: the plain one trains its text tower along, as the reference does."""

    title: str
    work: str
    config: str = "ntu60"
    people: str = "everywhere"
    kept: tuple[bool, bool] = (False, False)
    text: bool = False
    checkpoints: bool = False


CASES = (
    Case("step, two persons, equal function, default allocator", "train"),
    Case("step, two persons, equal function, memory kept", "train", kept=(True, True)),
    Case("step, NTU's persons, equal function, default allocator", "train", people="ntu"),
    Case("step, NTU's persons, equal function, memory kept", "train", people="ntu", kept=(True, True)),
    Case("step as a user meets it, NTU's persons, text tower", "train", people="ntu", kept=(False, True), text=True),
    Case("step, two persons, activation checkpointing", "train", checkpoints=True),
    Case("step, Kinetics, two persons, default allocator", "train", config="k400"),
    Case("step, Kinetics, activation checkpointing", "train", config="k400", checkpoints=True),
    Case("recognition, one person, default allocator", "recognise", people="nowhere"),
    Case("recognition, one person, memory kept", "recognise", people="nowhere", kept=(True, True)),
)


def clips(config: str, count: int, people: str) -> tuple[Tensor, Tensor]:
    """Return random skeletons ``[N, 2, T, V, 3]`` and who is in them, bool ``[N, 2]``."""
    joints = CONFIGS[config][1]
    x = torch.randn(count, 2, FRAMES, joints, 3, generator=torch.Generator().manual_seed(0))
    present = torch.ones(count, 2, dtype=torch.bool)
    present[:, 1] = torch.arange(count) % SECOND_PERSON[people] == 0
    if people == "nowhere":
        present[:, 1] = False
    return x * present[:, :, None, None, None], present


def plain_step(case: Case, batch: int) -> Callable[[], object]:
    """Return one training step of the plain recogniser on ``batch`` clean and as many mixed clips."""
    settings, joints, classes = CONFIGS[case.config]
    model: Any = PlainRecogniser(settings.stem, joints, 2, classes).train()
    tower = TextTower() if case.text else None
    parameters = [*model.parameters(), *(tower.parameters() if tower else ())]
    optimiser = torch.optim.SGD(parameters, lr=0.025, momentum=0.9, weight_decay=5e-4, nesterov=True)
    x, _ = mixed_clips(case, batch)
    labels, mixed_labels, text, _ = targets(classes, joints, batch)
    tokens = torch.randint(1, 49_000, (batch, 77))

    def step() -> None:
        logits, constraint, features = model(x)
        said = tower(tokens) if tower else text[labels]
        loss = F.cross_entropy(logits[:batch], labels) + F.cross_entropy(logits[batch:], mixed_labels)
        loss = loss + 0.2 * F.cross_entropy(constraint[:batch], labels)
        loss = loss + 0.5 * alignment_loss(features[:batch], said, labels, model.backbone.logit_scale.squeeze())
        optimiser.zero_grad()
        loss.backward()
        optimiser.step()

    return step


def our_step(
    case: Case, batch: int, device: str = "cpu", precision: str = "fp32", compiled: bool = False
) -> Callable[[], object]:
    """Return one training step of our recogniser on the same clips."""
    settings, joints, classes = CONFIGS[case.config]
    model = Recogniser(settings, joints, 2, classes, TEXT_DIMENSIONS).train().to(device)
    checkpoints = case.checkpoints
    model.tune(
        TrainConfig.model_validate(
            {"epochs": 1, "activation_checkpointing": checkpoints, "precision": precision, "compile": compiled}
        )
    )
    optimiser = torch.optim.SGD(model.parameters(), lr=0.025, momentum=0.9, weight_decay=5e-4, nesterov=True)
    x, present = mixed_clips(case, batch)
    x = x.to(device)
    labels, mixed_labels, text, mask = (part.to(device) for part in targets(classes, joints, batch))

    def step() -> None:
        output = model(x, mask, present)
        scale = model.logit_scale
        losses = training_loss(output, labels, mixed_labels, text, scale, constraint_weight=0.2, alignment_weight=0.5)
        optimiser.zero_grad(set_to_none=True)
        losses.total.backward()
        optimiser.step()

    return step


def mixed_clips(case: Case, batch: int) -> tuple[Tensor, Tensor]:
    """Return clean clips and those mixed with their neighbours."""
    x, present = clips(case.config, batch, case.people)
    partner = present.roll(-1, dims=0)
    return torch.cat([x, x.lerp(x.roll(-1, dims=0), 0.5)]), torch.cat([present, present | partner])


def targets(classes: int, joints: int, batch: int) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Return labels, those of the mixed clips, text embeddings and critical joints."""
    generator = torch.Generator().manual_seed(1)
    labels = torch.randint(classes, (batch,), generator=generator)
    own = F.one_hot(labels, classes).float()
    mask = (torch.rand(classes, joints, generator=generator) < 0.3).float()
    return labels, own.lerp(own.roll(-1, dims=0), 0.5), torch.randn(classes, TEXT_DIMENSIONS, generator=generator), mask


def recognition(case: Case, batch: int, *, ours: bool) -> Callable[[], object]:
    """Return the recognition of ``batch`` clips."""
    settings, joints, classes = CONFIGS[case.config]
    x, present = clips(case.config, batch, case.people)
    if not ours:
        plain = PlainRecogniser(settings.stem, joints, 2, classes).eval()
        return torch.inference_mode()(lambda: plain(x)[0].softmax(dim=1))
    folded = fold(Recogniser(settings, joints, 2, classes, TEXT_DIMENSIONS))
    return torch.inference_mode()(lambda: folded.classify(x, present).softmax(dim=1))


def measure(number: int, side: str, batch: int, steps: int, threads: int) -> dict[str, float]:
    """Run in the child: the quickest of some steps after one to warm up, and the peak above the imports."""
    case = CASES[number]
    torch.set_num_threads(threads)
    torch.manual_seed(0)
    before = peak()
    if side == "ours" and case.kept == (False, True):
        assert keep_memory()
    if case.work == "recognise":
        run = recognition(case, RECOGNISED * batch, ours=side == "ours")
    else:
        run = our_step(case, batch) if side == "ours" else plain_step(case, batch)
    run()
    seconds = []
    for _ in range(steps):
        started = time.perf_counter()
        run()
        seconds.append(time.perf_counter() - started)
    return {"seconds": min(seconds), "peak": peak() - before}


def peak() -> float:
    """Return this process's largest resident set in MB."""
    return int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024


def child(number: int, side: str, batch: int, steps: int, threads: int) -> dict[str, float]:
    """Measure one side of a case in a process of its own."""
    environment = {name: value for name, value in os.environ.items() if not name.startswith("MALLOC_")}
    if CASES[number].kept == (True, True):
        environment |= VARIABLES
    environment |= {"PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": str(threads)}
    command = [sys.executable, __file__, "--child", json.dumps([number, side, batch, steps, threads])]
    done = subprocess.run(command, env=environment, check=True, stdout=subprocess.PIPE, text=True)
    return dict(json.loads(done.stdout))


def compare(number: int, batch: int, steps: int, pairs: int, threads: int) -> list[str]:
    """Measure a case by alternating pairs; return its row."""
    found = []
    for pair in range(pairs):
        order = ("plain", "ours") if pair % 2 == 0 else ("ours", "plain")
        found.append({side: child(number, side, batch, steps, threads) for side in order})

    def middle(of: Callable[[dict[str, dict[str, float]]], float]) -> float:
        return median(of(pair) for pair in found)

    return [
        CASES[number].title,
        f"{middle(lambda pair: pair['plain']['seconds']):.2f}",
        f"{middle(lambda pair: pair['ours']['seconds']):.2f}",
        f"{middle(lambda pair: pair['plain']['seconds'] / pair['ours']['seconds']):.2f} ×",
        f"{middle(lambda pair: pair['plain']['peak']):.0f}",
        f"{middle(lambda pair: pair['ours']['peak']):.0f}",
        f"{middle(lambda pair: pair['ours']['peak'] / pair['plain']['peak']):.2f}",
    ]


def on_cuda(console: Console) -> None:
    """Print clips/s of training and recognition on the GPU, its peak memory, and how near its limits that is."""
    table = Table("work", "precision", "mode", "batch", "clips/s", "peak MB", "TFLOP/s", "of matmul limit")
    for precision in ("fp32", "bf16"):
        limit = matmul_limit(torch.float32 if precision == "fp32" else torch.bfloat16)
        for compiled in (False, True):
            for batch in (16, 32, 64, 128, 256):
                torch.cuda.reset_peak_memory_stats()
                step = our_step(CASES[0], batch, "cuda", precision, compiled)
                seconds = cuda_seconds(step)
                # Two persons, clean and mixed clips; 10.7 GFLOP forward per clip, twice that backward.
                speed = 2 * batch * 3 * 10.7e9 / seconds
                peak = torch.cuda.max_memory_allocated() / 1e6
                cells = ["train", precision, "compiled" if compiled else "eager", str(batch), f"{batch / seconds:.0f}"]
                table.add_row(*cells, f"{peak:.0f}", f"{speed / 1e12:.1f}", f"{speed / limit:.0%}")
                del step
    console.print(table)


def cuda_seconds(run: Callable[[], object], times: int = 10) -> float:
    """Return the seconds of one call, after three to warm up."""
    for _ in range(3):
        run()
    torch.cuda.synchronize()
    started = time.perf_counter()
    for _ in range(times):
        run()
    torch.cuda.synchronize()
    return (time.perf_counter() - started) / times


def matmul_limit(dtype: torch.dtype) -> float:
    """Return the FLOP/s of a large matrix product on this GPU."""
    matrix = torch.randn(8192, 8192, device="cuda", dtype=dtype)
    return 2 * 8192**3 / cuda_seconds(lambda: matrix @ matrix)


def main(
    batch: int = typer.Option(4, min=2, help="Clean clips of a training step (as many mixed ones are added)."),
    pairs: int = typer.Option(3, min=1, help="Pairs of measurements; the median counts."),
    steps: int = typer.Option(2, min=1, help="Steps of each measurement; the quickest counts."),
    threads: int = typer.Option(2, min=1, help="Threads of each measurement."),
    cases: str = typer.Option("", help="Numbers of rows, from 0, such as 0,4; all by default."),
    child_of: str = typer.Option("", "--child", hidden=True),
) -> None:
    """Print the table of ratios; with a GPU, also what it reaches."""
    if child_of:
        print(json.dumps(measure(*json.loads(child_of))))
        return
    console = Console(width=150)
    table = Table("batch " + str(batch), "plain s", "ours s", "speed", "plain peak MB", "ours peak MB", "peak ratio")
    for number in [int(number) for number in cases.split(",")] if cases else range(len(CASES)):
        row = compare(number, batch, steps, pairs, threads)
        table.add_row(*row)
        print(*row, sep=" | ", file=sys.stderr, flush=True)
    console.print(table)
    if torch.cuda.is_available():
        on_cuda(console)


if __name__ == "__main__":
    typer.run(main)
