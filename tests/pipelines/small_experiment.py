"""A pickle and an experiment so small that the whole pipeline runs in seconds."""

from __future__ import annotations

import contextlib
import io
import pickle
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from components.runtime.cli import run as run_application
from pipelines.__main__ import app

ROOT = Path(__file__).resolve().parents[2]
CLASSES = ("raise left hand", "raise right hand", "raise both hands")
CONFIG = f"""
name: small
rounds: 2
streams: [j, b]
data:
  layout: sbu15
  classes: [{", ".join(CLASSES)}]
  protocols:
    all: {{train: train, test: test, label: small and synthetic}}
  protocol: all
model: {{width: 8, blocks: 2, inflate_at: [1], subsets: 4}}
train: {{epochs: 2, batch: 12, frames: 16, test_clips: 1}}
"""
STANDING = np.array(
    [
        *([0, 1.6, 0], [0, 1.4, 0], [0, 1.1, 0]),
        *([0.2, 1.4, 0], [0.3, 1.1, 0], [0.3, 0.8, 0.1], [-0.2, 1.4, 0], [-0.3, 1.1, 0], [-0.3, 0.8, 0.1]),
        *([0.1, 0.9, 0], [0.1, 0.5, 0], [0.1, 0.1, 0], [-0.1, 0.9, 0], [-0.1, 0.5, 0], [-0.1, 0.1, 0]),
    ]
)
"""The joints of ``sbu15``."""
HANDS = {"raise left hand": (5,), "raise right hand": (8,), "raise both hands": (5, 8)}


@dataclass(frozen=True)
class Run:
    """A run that is over: its root, what it printed and logged, and its temporary folder, which was empty before."""

    root: Path
    result: subprocess.CompletedProcess[str]
    log: str
    temporary: Path


def write_pickle(path: Path, *, joints: int = 15, frames: int = 12) -> Path:
    """Write 24 sequences of standing bodies that raise a hand."""
    random = np.random.default_rng(0)
    body = np.resize(STANDING, (joints, 3))
    annotations: list[dict[str, Any]] = []
    for number in range(24):
        label = number % len(CLASSES)
        keypoint = np.tile(body, (1, frames, 1, 1)) + random.normal(scale=0.02, size=(1, frames, joints, 3))
        for hand in HANDS[CLASSES[label]]:
            keypoint[0, :, hand, 1] += np.linspace(0, 2, frames)
        annotations.append(
            {
                "frame_dir": f"s{number:02d}",
                "label": label,
                "total_frames": frames,
                "keypoint": keypoint.astype(np.float32),
            }
        )
    names = [annotation["frame_dir"] for annotation in annotations]
    path.write_bytes(pickle.dumps({"split": {"train": names[:15], "test": names[15:]}, "annotations": annotations}))
    return path


def write_inputs(folder: Path, *, joints: int = 15, frames: int = 12) -> tuple[Path, Path]:
    """Write the pickle and the experiment; return their paths."""
    config = folder / "small.yaml"
    config.write_text(CONFIG)
    return write_pickle(folder / "small.pkl", joints=joints, frames=frames), config


def command(*arguments: str | Path) -> list[str]:
    return [sys.executable, "-m", "pipelines", *map(str, arguments)]


def pipelines(*arguments: str | Path, env: Mapping[str, str] | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``python -m pipelines`` as a user does."""
    return subprocess.run(command(*arguments), cwd=ROOT, env=env, capture_output=True, text=True, timeout=300)


def said(*arguments: str | Path) -> tuple[int, str]:
    """Run a command that ends before any task in this process; return its exit status and what stderr got.

    A second is saved for each: KFP is imported once.
    """
    errors = io.StringIO()
    before, sys.argv = sys.argv, ["pipelines", *map(str, arguments)]
    try:
        with contextlib.redirect_stderr(errors), contextlib.redirect_stdout(errors):
            run_application(app)
    except SystemExit as end:
        return int(end.code or 0), errors.getvalue()
    finally:
        sys.argv = before
    return 0, errors.getvalue()


def cached(result: subprocess.CompletedProcess[str]) -> dict[str, int]:
    """Return how many tasks of each stage came from the cache, as the run said."""
    for line in result.stderr.splitlines():
        if line.startswith("from the cache: "):
            parts = (part.partition(" × ") for part in line.removeprefix("from the cache: ").split(", "))
            return {stage: int(count or 1) for stage, _, count in parts}
    return {}
