"""Raw clips of any files, packed as a model's training data were: by ``preprocess``, in a process of its own.

Stages share no code, and starting one takes a second: files that are one clip each are packed together.
"""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from importlib.util import find_spec
from pathlib import Path
from typing import get_args

import numpy as np
import numpy.typing as npt

from components.contracts import dataset
from components.contracts.artifact import MANIFEST, canonical_json
from components.contracts.data_config import Code, DataConfig
from components.contracts.dataset import Dataset
from components.contracts.errors import InputError
from components.runtime.logs import stage_logger

LOG = stage_logger("train")
_PREPROCESS = "components.preprocess"  # run, not imported
_PACKING = ("layout", "dimensions", "normalisation", "align", "persons", "max_persons")
"""The settings of ``data`` that decide what a packed sample looks like."""
_ONE_CLIP = (".npy", ".npz", ".csv")
"""What holds one clip and is no list of others."""


class Unreadable(InputError):  # noqa: N818
    """A clip, or a file of clips, of which nothing can be said: which, and why."""


@dataclass(frozen=True)
class Packed:
    """Clips that were packed together; ``source`` says of a sample's id which file or folder it is from."""

    dataset: Dataset
    source: Mapping[str, Path]


def packed_clips(given: Sequence[Path], data: DataConfig) -> Iterator[Packed | Unreadable]:
    """Yield the clips of files, folders and datasets, packed, and a line for each that cannot be used.

    Args:
        given: what ``python -m components.preprocess run --format clips`` reads, or ``dataset`` artifacts.
        data: how the model's training data were packed.
    """
    single = [path for path in given if path.suffix.lower() in _ONE_CLIP and path.is_file()]
    together = single if len(single) > 1 else []
    with tempfile.TemporaryDirectory(prefix="skeletonagent-") as folder:
        scratch = Path(folder)
        parts = [lambda: _together(together, data, scratch)] if together else []
        parts += [partial(_alone, path, data, scratch / str(n)) for n, path in enumerate(given) if path not in together]
        for part in parts:
            try:
                yield from part()
            except InputError as error:
                yield Unreadable(error.what, at=error.at)


def _alone(path: Path, data: DataConfig, scratch: Path) -> Iterator[Packed | Unreadable]:
    packed = _opened(path, data) if (path / MANIFEST).is_file() else _packed(path, data, scratch)
    for skipped in packed.skipped if not (path / MANIFEST).is_file() else ():
        clip = f"clip {skipped.position}"
        name = f" ({skipped.sample_id})" if skipped.sample_id not in ("", clip) else ""
        yield Unreadable(f"{clip}{name}: {skipped.reason}", at=path)
    yield Packed(packed, dict.fromkeys(packed.sample_ids.tolist(), path))


def _together(paths: Sequence[Path], data: DataConfig, scratch: Path) -> Iterator[Packed | Unreadable]:
    """Pack files of one clip each as one folder, in which no two have the same name."""
    folder = scratch / "clips"
    folder.mkdir()
    source: dict[str, Path] = {}
    for path in paths:
        name, number = path.stem, 1
        while name in source:
            number += 1
            name = f"{path.stem} ({number})"
        source[name] = path
        (folder / f"{name}{path.suffix.lower()}").symlink_to(path.resolve())
    try:
        packed = _packed(folder, data, scratch / "together")
    except InputError as error:
        raise InputError(error.what, at=", ".join(map(str, paths))) from None
    for skipped in packed.skipped:
        path = source[skipped.sample_id]
        yield Unreadable(skipped.reason.removeprefix(f"{skipped.sample_id}{path.suffix.lower()}: "), at=path)
    yield Packed(packed, source)


def written(folder: Path, clips: Sequence[npt.ArrayLike], image: tuple[int, int] | None) -> Path:
    """Write arrays into a folder, as clips that are named by their numbers from 0; return the folder."""
    for number, clip in enumerate(clips):
        try:
            array = np.asarray(clip, dtype=np.float32)
        except (TypeError, ValueError) as error:
            raise InputError(f"clip {number}: no array of numbers: {error}") from None
        file = folder / f"clip {number}.npz"
        if image is None:
            np.savez(file, keypoint=array)
        else:
            np.savez(file, keypoint=array, img_shape=np.asarray(image))
    return folder


def _opened(path: Path, data: DataConfig) -> Dataset:
    """Open a dataset that was packed as the training data were."""
    packed = dataset.open(path)
    for name in _PACKING:
        found, expected = getattr(packed.config, name), getattr(data, name)
        if found != expected:
            raise InputError(f"data.{name}: found {found!r}, expected {expected!r} as in training", at=path)
    return packed


def _packed(skeletons: Path, data: DataConfig, scratch: Path) -> Dataset:
    """Normalise and pack raw skeletons as ``preprocess`` does."""
    if find_spec(_PREPROCESS) is None:
        raise InputError(
            f"raw skeletons take {_PREPROCESS}, which the training image lacks; pack them in the image of "
            "preprocess (run --format clips) and give the dataset here",
            at=skeletons,
        )
    scratch.mkdir()
    # What is doubtful about training data stops there; here it is said, and the clip recognised.
    section = data.model_dump(mode="json") | {"format": "clips", "accept": list(get_args(Code))}
    config = scratch / "experiment.yaml"
    text = canonical_json({"name": "predict", "rounds": 1, "train": {"epochs": 1}, "data": section})  # JSON is YAML
    config.write_text(text, encoding="utf-8")
    command = [sys.executable, "-m", _PREPROCESS, "run", str(skeletons)]
    command += ["--config", str(config), "--output", str(scratch / "dataset")]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode:
        lines = [line.removeprefix("error: ") for line in done.stderr.splitlines() if line.startswith("error: ")]
        said = lines[-1] if lines else f"{skeletons}: preprocess ended with status {done.returncode}"
        at = str(skeletons) if said.startswith(f"{skeletons}: ") else ""
        raise InputError(said.removeprefix(f"{at}: ") if at else said, at=at)
    packed = dataset.open(scratch / "dataset")
    for doubt in packed.manifest.about.get("doubts", []):
        if doubt["severity"] == "accepted":
            LOG.warning("%s: %s: %s", skeletons, doubt["code"], doubt["text"])
    return packed
