"""How the stage ``preprocess`` scales: ``python tests/benchmarks/preprocess_scale.py --help``.

Each size is generated, packed in a process of its own and deleted again. ``peak`` is that process's largest resident
set, mapped pages of the input included; ``base`` is the same after importing the stage, before it reads anything.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Annotated, Any

import generate
import typer
from rich.console import Console
from rich.table import Table

from components.contracts.config import DataConfig

ROOT = Path(__file__).resolve().parents[2]
MEASURE = """
import sys, time
from pathlib import Path
from components.contracts.config import DataConfig, parse_section
from components.preprocess.core import preprocess

def peak():
    status = Path("/proc/self/status").read_text()
    return int(status.partition("VmHWM:")[2].split()[0]) / 1024

base, config = peak(), parse_section(DataConfig, sys.argv[2])
started = time.perf_counter()
preprocess(Path(sys.argv[1]), config, Path(sys.argv[3]))
seconds = time.perf_counter() - started
print(seconds, time.process_time(), base, peak())
"""
ACCEPTED = ["class-without-training", "joint-order"]
"""What is generated has a body without anatomy, and in small sizes not every class."""


def config(form: str) -> Any:
    """Return the ``data`` section that fits a generated file, as a mapping."""
    if form == "ntu":
        return {
            "layout": "ntu25",
            "classes": [f"A{number:03d}" for number in range(generate.CLASSES)],
            "max_persons": 2,
            "protocols": {"xsub": {"train": "xsub_train", "test": "xsub_val"}},
            "protocol": "xsub",
            "accept": ACCEPTED,
        }
    return {
        "layout": "coco20",
        "classes": [f"class {number}" for number in range(400)],
        "dimensions": "2d+score",
        "normalisation": "image",
        "max_persons": 2,
        "protocols": {"plain": {"train": "train", "test": "val"}},
        "protocol": "plain",
        "accept": ACCEPTED,
    }


def measure(form: str, samples: int, protocol: int, directory: Path) -> dict[str, float]:
    """Generate, pack and measure one size."""
    file, output = directory / "input.pkl", directory / "dataset"
    {"ntu": generate.write_ntu, "kinetics": generate.write_kinetics}[form](file, samples, protocol)
    section = DataConfig.model_validate(config(form)).to_json()
    command = [sys.executable, "-c", MEASURE, str(file), section, str(output)]
    done = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True)
    seconds, cpu, base, peak = map(float, done.stdout.split())
    size = file.stat().st_size / 1e6
    packed = (output / "keypoints.npy").stat().st_size / 1e6
    return {"samples": samples, "MB": size, "packed": packed, "s": seconds, "cpu": cpu, "base": base, "peak": peak}


def main(
    sizes: str = typer.Option("1000,10000", help="Numbers of samples; 56578 is NTU RGB+D 60 (2 GB of disk)."),
    form: str = typer.Option("ntu", help="ntu (3D, 25 joints) or kinetics (2D with scores, 17 joints)."),
    protocol: int = generate.Protocol,
    directory: Annotated[Path | None, typer.Option(help="Where the files go meanwhile, if not to /tmp.")] = None,
) -> None:
    """Print samples/s, MB/s of the input, and peak memory for each size."""
    table = Table(title=f"preprocess, {form}, pickle protocol {protocol}")
    for column in ("samples", "input MB", "packed MB", "s", "CPU s", "samples/s", "MB/s", "base MiB", "peak MiB"):
        table.add_column(column, justify="right")
    peaks = []
    for samples in map(int, sizes.split(",")):
        with tempfile.TemporaryDirectory(dir=directory) as scratch:
            found = measure(form, samples, protocol, Path(scratch))
        peaks.append(found["peak"])
        rates = samples / found["s"], found["MB"] / found["s"]
        values = (samples, found["MB"], found["packed"], found["s"], found["cpu"], *rates, found["base"], found["peak"])
        table.add_row(*(f"{value:,.1f}" if value < 100 else f"{value:,.0f}" for value in values))
    Console(width=120).print(table)
    if len(peaks) > 1:
        print(f"peak of the last size / peak of the one before: {peaks[-1] / peaks[-2]:.2f}")


if __name__ == "__main__":
    typer.run(main)
