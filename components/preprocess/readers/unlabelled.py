"""Reader of clips that are to be recognised, not trained on: without labels and without splits.

A folder, or a file that ``decode`` reads, as pose estimators write it, is one clip or several (see ``folder``). A
``.json`` may also hold ``{"clips": [{"id": text, "keypoint": array, "keypoint_score": [M, T, V], "img_shape":
[height, width]}, …]}``, of which only ``keypoint`` is needed. ``.pkl``: annotations of PYSKL (see ``pyskl``), in their
dict, as a list, or a single one. C is x, y, z; with dimensions ``2d+score`` it is x, y, or x, y, score. Every clip gets
label 0 and is in all splits of the configuration.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from components.contracts.config import DataConfig
from components.contracts.dataset import Skipped
from components.contracts.errors import InputError
from components.preprocess.readers.arrays import persons_first
from components.preprocess.readers.clip import ClipFaultError, Expected, expectation, numbers, with_depth
from components.preprocess.readers.decode import LARGEST_FILE, SUFFIXES, TEXT, decode, parsed
from components.preprocess.readers.estimators import is_estimate
from components.preprocess.readers.files import open_files
from components.preprocess.readers.folder import ClipFolder
from components.preprocess.readers.pyskl import image_size, kind
from components.preprocess.readers.samples import Sample, Source
from components.preprocess.readers.videos import parted
from components.runtime.pickled.unpickler import load_data

_PICKLES = (".pkl", ".pickle")


class Unlabelled(Source):
    """Open clips."""

    format = "clips"

    def __init__(self, path: Path, config: DataConfig) -> None:
        self._records = list(_records(path, config))
        if not self._records:
            raise InputError(f"no clip found, expected {', '.join((*SUFFIXES, *_PICKLES))}", at=path)
        ids = [record.sample_id for record in self._records if record.sample_id]
        protocols = config.protocols.values()
        self.splits = {name: ids for protocol in protocols for name in (protocol.train, protocol.test)}

    @property
    def expected(self) -> int:
        return len(self._records)

    def raw(self) -> Iterator[Sample | Skipped]:
        return iter(self._records)

    def finish(self, raw: Sample | Skipped) -> Sample | Skipped:
        return raw


def _records(path: Path, config: DataConfig) -> Iterator[Sample | Skipped]:
    suffix, expected = path.suffix.lower(), expectation(config)
    if path.is_dir() or suffix in (".zip", ".tar", ".gz", ".tgz") or _holds_videos(path, suffix):
        folder = ClipFolder(open_files(path), config, labelled=False)
        yield from (_labelled(record, config) for record in folder)
        return
    if suffix not in (*SUFFIXES, TEXT, *_PICKLES):
        raise InputError(f"found suffix {path.suffix!r}, expected {', '.join((*SUFFIXES, TEXT, *_PICKLES))}", at=path)
    try:
        clips = _clips(path, suffix)
        if clips is not None:
            only = path.stem if len(clips) == 1 else None
            yield from (_sample(number, clip, only, config) for number, clip in enumerate(clips))
            return
        clip = decode(path.name, _content(path), expected)
    except ClipFaultError as error:
        raise InputError(str(error), at=path) from None
    yield Sample(0, clip.name, config.first_label, clip.keypoints, clip.scores, clip.image)


def _holds_videos(path: Path, suffix: str) -> bool:
    """Whether a file holds several videos, as COCO's may; what is wrong with it is said where it is read."""
    try:
        return suffix == ".json" and len(parted(parsed(_content(path)))) > 1
    except ClipFaultError:
        return False


def _labelled(record: Sample | Skipped, config: DataConfig) -> Sample | Skipped:
    if isinstance(record, Skipped):
        return record
    return Sample(record.position, record.sample_id, config.first_label, record.keypoints, record.scores, record.image)


def _content(path: Path) -> bytes:
    try:
        return next(iter(open_files(path).members({path.name}))).read(LARGEST_FILE)
    except StopIteration:
        raise InputError("no such file", at=path) from None


def _clips(path: Path, suffix: str) -> list[Any] | None:
    """Return the clips of a file that lists them, as dicts with ``keypoint``; None if it is a clip by itself."""
    if suffix not in (*_PICKLES, ".json"):
        return None
    content = load_data(path) if suffix in _PICKLES else parsed(_content(path))
    for key in ("clips", "annotations"):
        if isinstance(content, dict) and key in content and "images" not in content:
            content = content[key]
    listed = content if isinstance(content, list) else [content]
    if suffix == ".json" and not any(isinstance(clip, dict) and "keypoint" in clip for clip in listed):
        if is_estimate(content):
            return None
        if content and isinstance(content, list) and not isinstance(content[0], dict):
            return [{"keypoint": content}]
    if isinstance(content, np.ndarray):
        return [{"keypoint": content}]
    if isinstance(content, dict):
        return [content]
    if not isinstance(content, list) or not content:
        raise InputError(f"found {kind(content)}, expected clips with 'keypoint'", at=path)
    return content if isinstance(content[0], dict) else [{"keypoint": content}]


def _sample(number: int, clip: Any, only: str | None, config: DataConfig) -> Sample | Skipped:
    if not isinstance(clip, dict):
        return Skipped(
            position=number, sample_id="", reason=f"clip: found {kind(clip)}, expected a dict with 'keypoint'"
        )
    field = next((key for key in ("id", "frame_dir") if key in clip), None)
    name = clip[field] if field else only or f"clip {number}"
    if not isinstance(name, str) or not name:
        return Skipped(position=number, sample_id="", reason=f"{field}: found {kind(name)}, expected text")
    if "keypoint" not in clip:
        return Skipped(position=number, sample_id=name, reason="keypoint: missing")
    expected = expectation(config)
    try:
        keypoints = _shaped(numbers(clip["keypoint"], "keypoint"), expected)
        scores = numbers(clip["keypoint_score"], "keypoint_score") if "keypoint_score" in clip else None
        if scores is not None and scores.ndim == 2:
            scores = scores[None]
        keypoints, scores = with_depth(keypoints, scores, expected.depth)
    except ClipFaultError as error:
        return Skipped(position=number, sample_id=name, reason=str(error))
    return Sample(number, name, config.first_label, keypoints, scores, image_size(clip))


def _shaped(keypoints: Any, expected: Expected) -> Any:
    # Four axes are persons, frames, joints and channels here, whatever their numbers; others are for the checks.
    return persons_first(keypoints, expected) if keypoints.ndim in (2, 3) else keypoints
