"""Reads the score dumps of other code: ``result.pkl`` and ``best_pred.pkl`` of the reference and of PYSKL.

Such a file is a pickled list with one float array ``[classes]`` per test sample, and nothing else: whose scores they
are follows from the order of the annotations. It is read as data; nothing in it is executed.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts import dataset, scores
from components.contracts.config import TrainStage
from components.contracts.errors import InputError
from components.contracts.scores import Scores
from components.runtime.pickled.unpickler import load_data

_SUM_TOLERANCE = 1e-2


def import_scores(
    dump: Path, stage: TrainStage, stream: str, round_number: int, dataset_path: Path, output: Path
) -> float:
    """Write a score dump as a ``scores`` artifact, whose manifest says that it was imported; return its top-1.

    Args:
        dump: the pickle. Values that are no probabilities (logits, or sums of several clips) are refused.
        stage: the configuration for this stream; the protocol's test split says which samples these are.
        dataset_path: the ``dataset`` artifact; the dump has its test samples in the order of the annotations.

    Raises:
        InputError: the dump is something else, or of another number of samples or classes.
    """
    values = read_dump(dump)
    packed = dataset.open(dataset_path)
    numbers = np.sort(packed.split(stage.data.chosen.test))  # packed in the order of the annotations, as PYSKL filters
    if len(values) != len(numbers):
        test = stage.data.chosen.test
        skipped = f"; {len(packed.skipped)} samples of the input were skipped" if packed.skipped else ""
        raise InputError(
            f"scores of {len(values)} samples found, {len(numbers)} are in test split {test!r}{skipped}", at=dump
        )
    if values.shape[1] != len(stage.data.classes):
        raise InputError(
            f"{values.shape[1]} classes found, {len(stage.data.classes)} expected by data.classes", at=dump
        )
    sums = values.sum(axis=1)
    if (values < 0).any() or (np.abs(sums - 1) > _SUM_TOLERANCE).any():
        raise InputError(f"no probabilities: rows sum to {sums.min():.3g} to {sums.max():.3g}, 1 expected", at=dump)
    found = Scores(
        stream=stream,
        round=round_number,
        clips=stage.train.test_clips,
        sample_ids=packed.sample_ids[numbers],
        labels=packed.labels[numbers],
        probabilities=values / sums[:, None],
    )
    made_from = {"imported": hashlib.sha256(dump.read_bytes()).hexdigest(), "dataset": packed.digest}
    scores.write(output, found, made_from=made_from, config=stage)
    return found.top1


def read_dump(path: Path) -> npt.NDArray[np.float32]:
    """Return the scores ``[N, classes]`` of a dump; ``InputError`` if it is anything but a list of such rows."""
    content: Any = load_data(path)
    if not isinstance(content, list) or not content:
        raise InputError(f"found {type(content).__name__}, expected a list with one array per sample", at=path)
    first = content[0]
    for place, row in enumerate(content):
        fits = isinstance(row, np.ndarray) and row.ndim == 1 and row.dtype.kind == "f" and row.shape == first.shape
        if not fits:
            form = f"{row.dtype} {'×'.join(map(str, row.shape))}" if isinstance(row, np.ndarray) else type(row).__name__
            raise InputError(f"entry {place}: found {form}, expected one float array [classes] per sample", at=path)
    values = np.stack(content).astype(np.float32)
    if not np.isfinite(values).all():
        raise InputError("NaN or infinity found", at=path)
    return values
