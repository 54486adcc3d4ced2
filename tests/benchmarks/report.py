"""How long a report takes, and how much memory: ``make bench-report``.

Scores of six streams after three rounds are made up, such that groups of similar classes are confused and a sample that
is hard for one stream is hard for the others. ``components.evaluate`` then runs in a process of its own; ``peak`` is
its largest resident set.
"""

from __future__ import annotations

import json
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import numpy as np
import typer

ROOT = Path(__file__).resolve().parents[2]
sys.path.insert(0, str(ROOT / "tests" / "evaluate"))

from made_runs import Run, experiment, make_run, write_dataset  # noqa: E402

STREAMS = ("j", "b", "k", "jm", "bm", "km")
ROUNDS = 3
GROUP = 6
"""Classes that resemble each other."""
MEASURE = """
import json, sys, time
from pathlib import Path
from components.contracts.config import EvaluateStage, parse_section
from components.evaluate.core import evaluate

stage, scores, confusions, constraints, dataset, output = json.loads(sys.argv[1])
paths = ([Path(one) for one in group] for group in (scores, confusions, constraints))
started = time.perf_counter()
evaluate(parse_section(EvaluateStage, stage), *paths, Path(output), dataset=Path(dataset))
seconds = time.perf_counter() - started
peak = int(Path("/proc/self/status").read_text().partition("VmHWM:")[2].split()[0]) / 1024
print(seconds, time.process_time(), peak)
"""


def said(labels: np.ndarray, classes: int, skill: float, seed: int) -> np.ndarray:
    """Class probabilities, float32 ``[N, classes]``: half of what misleads a stream misleads all of them."""
    values = np.random.default_rng(0).normal(size=(len(labels), classes)).astype(np.float32)
    values += np.random.default_rng(seed).normal(size=values.shape).astype(np.float32)
    values[np.arange(len(labels)), labels] += skill
    values += 1.5 * (labels[:, None] // GROUP == np.arange(classes) // GROUP)
    np.exp(1.6 * values, out=values)
    return values / values.sum(axis=1, keepdims=True)


def written(folder: Path, samples: int, classes: int) -> tuple[Run, Path]:
    """Write the artifacts of a run below ``folder``; return it and its dataset."""
    made = experiment(classes, streams=STREAMS, rounds=ROUNDS)
    run = make_run(folder, made, samples_per_class=samples // classes, skills=(2.0, 2.5, 3.0), said=said)
    return run, write_dataset(folder / "dataset", run)


def main(
    samples: Annotated[int, typer.Option(help="Test samples.")] = 20_000,
    classes: Annotated[int, typer.Option(help="Classes.")] = 400,
    keep: Annotated[Path | None, typer.Option(help="Folder for the artifacts and the report, to look at.")] = None,
) -> None:
    """Print seconds, CPU seconds and peak memory of one report, and the sizes of its files."""
    with tempfile.TemporaryDirectory() as scratch:
        folder = keep or Path(scratch)
        run, dataset = written(folder, samples, classes)
        stage, *groups, output = run.arguments(folder / "report")
        lists = [[str(path) for path in group] for group in groups]
        document = json.dumps([stage.to_json(), *lists, str(dataset), str(output)])
        command = [sys.executable, "-c", MEASURE, document]
        done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
        seconds, cpu, peak = map(float, done.stdout.split())
        sizes = ", ".join(f"{file.name} {file.stat().st_size / 1e6:.1f} MB" for file in sorted(output.iterdir()))
    print(f"{len(STREAMS)} streams, {ROUNDS} rounds, {samples} samples, {classes} classes:")
    print(f"{seconds:.1f} s, {cpu:.1f} CPU s, peak {peak:.0f} MiB; {sizes}")


if __name__ == "__main__":
    typer.run(main)
