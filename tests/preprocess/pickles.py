"""Annotation pickles and configurations for the tests of ``preprocess``."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import yaml

from components.contracts.config import DataConfig

JOINTS = 15


def config(**changes: Any) -> DataConfig:
    """A two-class configuration of layout sbu15 without normalisation, one protocol train/test.

    So few samples need not hold every class in every split.
    """
    values: dict[str, Any] = {
        "layout": "sbu15",
        "classes": ["first", "second"],
        "max_persons": 2,
        "normalisation": "none",
        "protocols": {"plain": {"train": "train", "test": "test"}},
        "protocol": "plain",
        "accept": ["class-without-training"],
    }
    return DataConfig.model_validate({**values, **changes})


def write_experiment(path: Path) -> Path:
    """Write an experiment around that configuration and return its file."""
    document = {"name": "test", "data": config().model_dump(mode="json"), "train": {"epochs": 2}}
    path.write_text(yaml.safe_dump(document))
    return path


def keypoints(seed: int, persons: int = 1, frames: int = 12, joints: int = JOINTS) -> npt.NDArray[np.float32]:
    """Random coordinates ``[M, T, V, 3]``, none of them zero."""
    return np.random.default_rng(seed).uniform(0.5, 2.0, (persons, frames, joints, 3)).astype(np.float32)


def annotation(name: str, label: Any = 0, points: Any = None, **fields: Any) -> dict[str, Any]:
    """One valid annotation, fields replaced as given."""
    points = keypoints(sum(name.encode())) if points is None else points
    return {"frame_dir": name, "label": label, "total_frames": points.shape[1], "keypoint": points, **fields}


def content(*more: Any, **splits: list[str]) -> dict[str, Any]:
    """Four valid samples, a–d, in train and test, and further annotations that no split names."""
    annotations = [annotation(name, number % 2) for number, name in enumerate("abcd")]
    return {"split": {"train": ["a", "b"], "test": ["c", "d"], **splits}, "annotations": [*annotations, *more]}


def dump(path: Path, value: Any, protocol: int = 4) -> Path:
    """Pickle a value to a file and return the file."""
    path.write_bytes(pickle.dumps(value, protocol=protocol))
    return path
