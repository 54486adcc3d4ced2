"""Reader of clips that are to be recognised, not trained on: without labels and without splits.

``.npy``: one clip, ``[T, V, C]`` or ``[M, T, V, C]``. ``.json``: the same as nested lists, or ``{"clips": [{"id": text,
"keypoint": array, "keypoint_score": [M, T, V], "img_shape": [height, width]}, …]}``, of which only ``keypoint`` is
needed. ``.pkl``: annotations of PYSKL (see ``pyskl``), in their dict, as a list, or a single one. C is x, y, z; with
dimensions ``2d+score`` it is x, y, or x, y, score. Every clip gets label 0 and is in all splits of the configuration.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from components.contracts.config import DataConfig
from components.contracts.dataset import Skipped
from components.contracts.errors import InputError
from components.preprocess.readers.pyskl import image_size, kind
from components.preprocess.readers.samples import Sample, Source
from components.runtime.pickled.unpickler import load_data

_SUFFIXES = {".npy": "NumPy array", ".json": "JSON", ".pkl": "pickle", ".pickle": "pickle"}


class Unlabelled(Source):
    """Open clips."""

    format = "clips"

    def __init__(self, path: Path, config: DataConfig) -> None:
        clips = _clips(path)
        only = path.stem if len(clips) == 1 else None
        self._records = [_sample(number, clip, only, config) for number, clip in enumerate(clips)]
        ids = [record.sample_id for record in self._records]
        protocols = config.protocols.values()
        self.splits = {name: ids for protocol in protocols for name in (protocol.train, protocol.test)}

    @property
    def expected(self) -> int:
        return len(self._records)

    def raw(self) -> Iterator[Sample | Skipped]:
        return iter(self._records)

    def finish(self, raw: Sample | Skipped) -> Sample | Skipped:
        return raw


def _clips(path: Path) -> list[Any]:
    """Return the clips of a file: dicts with ``keypoint``."""
    if path.suffix not in _SUFFIXES:
        raise InputError(f"found suffix {path.suffix!r}, expected {', '.join(_SUFFIXES)}", at=path)
    content = _content(path)
    for key in ("clips", "annotations"):
        if isinstance(content, dict) and key in content:
            content = content[key]
    if isinstance(content, np.ndarray):
        return [{"keypoint": content}]
    if isinstance(content, dict):
        return [content]
    if not isinstance(content, list) or not content:
        raise InputError(f"found {kind(content)}, expected clips with 'keypoint'", at=path)
    return content if isinstance(content[0], dict) else [{"keypoint": content}]


def _content(path: Path) -> Any:
    try:
        if path.suffix == ".npy":
            return np.array(np.load(path, mmap_mode="r", allow_pickle=False))
        if path.suffix == ".json":
            return json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError, EOFError, RecursionError) as error:
        reason = (str(error).strip() or type(error).__name__).splitlines()[0]
        raise InputError(f"cannot be read as {_SUFFIXES[path.suffix]}: {reason}", at=path) from None
    return load_data(path)


def _sample(number: int, clip: Any, only: str | None, config: DataConfig) -> Sample | Skipped:
    name = clip.get("id", clip.get("frame_dir", only or f"clip {number}")) if isinstance(clip, dict) else ""
    if not isinstance(clip, dict) or not isinstance(name, str) or not name:
        return Skipped(
            position=number, sample_id="", reason=f"clip: found {kind(clip)}, expected a dict with text 'id'"
        )
    try:
        keypoints = np.asarray(clip["keypoint"])
        scores = np.asarray(clip["keypoint_score"]) if "keypoint_score" in clip else None
    except (KeyError, ValueError) as error:
        reason = "missing" if isinstance(error, KeyError) else "its lists differ in length"
        return Skipped(position=number, sample_id=name, reason=f"keypoint: {reason}")
    if keypoints.ndim == 3:
        keypoints = keypoints[None]
    if config.dimensions == "2d+score" and scores is None and keypoints.ndim == 4 and keypoints.shape[3] == 3:
        keypoints, scores = keypoints[..., :2], keypoints[..., 2]
    return Sample(number, name, 0, keypoints, scores, image_size(clip))
