"""Reader of PYSKL's Kinetics-Skeleton: an index pickle without coordinates, and many ``kpfiles`` that hold them.

An annotation of the index names its kpfile (``raw_file``) and gives, for each of its N skeletons, the frame
(``frame_inds``) and the score of the detection (``box_score``). A kpfile is a pickled dict ``{frame_dir:
{'keypoint': [N, V, 3]}}`` with x, y (pixels) and score. Each kpfile is opened once and no cache is needed:
samples come grouped by kpfile.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator
from pathlib import PurePosixPath
from typing import Any

import numpy as np
import numpy.typing as npt

from components.contracts.config import KineticsConfig
from components.contracts.dataset import Skipped
from components.contracts.errors import InputError
from components.preprocess.readers.members import Files, Member
from components.preprocess.readers.pyskl import field_fault, image_size, is_integer, kind
from components.preprocess.readers.samples import Sample, Source

MOST_PERSONS = 10
"""At most this many persons of a frame are kept, as in the reference."""
MOST_FRAMES = 1_000_000

Array = npt.NDArray[Any]


class RecordFaultError(Exception):
    """A record that cannot be used; the message says why."""


class KineticsIndex(Source):
    """An open index with its kpfiles.

    ``test_ids``: samples that ``valid_ratio`` does not leave out, because it is for training.
    """

    format = "kinetics"

    def __init__(
        self,
        annotations: list[Any],
        splits: dict[str, list[str]],
        kpfiles: Files,
        load: Callable[[Member], Any],
        options: KineticsConfig,
        test_ids: Collection[str] = (),
    ) -> None:
        self._annotations = annotations
        self._kpfiles = kpfiles
        self._load = load
        self._options = options
        self._test_ids = set(test_ids)
        self.splits = splits

    @property
    def expected(self) -> int:
        return len(self._annotations)

    def raw(self) -> Iterator[tuple[int, Array | str]]:
        """Yield position and skeletons ``[N, V, 3]`` of each record, or the reason why it has none."""
        by_file: dict[str, list[int]] = {}
        for position, annotation in enumerate(self._annotations):
            try:
                by_file.setdefault(_file_name(annotation), []).append(position)
            except RecordFaultError as error:
                yield position, str(error)
        for member in self._kpfiles.members({name for name in self._kpfiles.names if _base(name) in by_file}):
            positions = by_file.pop(_base(member.name), [])  # none left: a second file of the same name
            try:
                poses = self._load(member)
            except InputError as error:
                reason = f"raw_file: {str(error).removeprefix(f'{member.label}: ')}"
                yield from ((position, reason) for position in positions)
                continue
            yield from ((position, _skeletons(poses, self._annotations[position])) for position in positions)
        for name, positions in by_file.items():
            yield from ((position, f"raw_file: {name!r} is not among the kpfiles") for position in positions)

    def finish(self, raw: tuple[int, Array | str]) -> Sample | Skipped:
        position, skeletons = raw
        if isinstance(skeletons, str):
            return self._skipped(position, skeletons)
        try:
            return self._sample(position, self._annotations[position], skeletons)
        except RecordFaultError as error:
            return self._skipped(position, str(error))

    def _sample(self, position: int, annotation: dict[Any, Any], skeletons: Array) -> Sample:
        sample_id = str(annotation["frame_dir"])
        frames, kept = _frames(annotation, len(skeletons)), _kept(annotation, len(skeletons), self._options)
        total = annotation.get("total_frames")
        if self._options.valid_ratio and sample_id not in self._test_ids:
            _check_valid_ratio(annotation, frames[kept], total, self._options)
        if not kept.any():
            raise RecordFaultError("keypoint: no skeleton is left")
        length = None
        if not self._options.squeeze:
            if not is_integer(total) or not 0 < int(total) <= MOST_FRAMES:
                raise RecordFaultError(f"total_frames: found {str(total)[:20]}, expected 1 to {MOST_FRAMES}")
            length = int(total)
        keypoints, scores = decompress(frames[kept], skeletons[kept], length)
        return Sample(position, sample_id, int(annotation["label"]), keypoints, scores, image_size(annotation))

    def _skipped(self, position: int, reason: str) -> Skipped:
        annotation = self._annotations[position]
        name = annotation.get("frame_dir") if type(annotation) is dict else None
        return Skipped(position=position, sample_id=name if isinstance(name, str) else "", reason=reason)


def decompress(frames: Array, skeletons: Array, length: int | None = None) -> tuple[Array, Array]:
    """Spread the skeletons of a video over persons and frames.

    The n-th skeleton of a frame becomes person n there. Where a frame has more than ``MOST_PERSONS``, each frame's
    skeletons are put in falling order of their summed joint scores and the last ones are left out.

    Args:
        frames: frame per skeleton ``[N]``.
        skeletons: x, y and score ``[N, V, 3]``.
        length: the number of frames T; without it frames that have no skeleton are left out.

    Returns:
        coordinates ``[M, T, V, 2]`` and scores ``[M, T, V]``, zero where a frame has fewer persons.
    """
    present, frame = np.unique(frames, return_inverse=True)
    counts = np.bincount(frame)
    order = np.argsort(frame, kind="stable")
    if counts.max() > MOST_PERSONS:
        order = np.lexsort((-skeletons[..., 2].sum(axis=1, dtype=np.float64), frame))
    person = np.arange(len(frame)) - np.repeat(np.cumsum(counts) - counts, counts)
    order, person = order[person < MOST_PERSONS], person[person < MOST_PERSONS]
    place = frame[order] if length is None else _from_zero(present, length)[frame[order]]
    shape = (min(int(counts.max()), MOST_PERSONS), len(present) if length is None else length)
    spread = np.zeros((*shape, *skeletons.shape[1:]), dtype=skeletons.dtype)
    spread[person, place] = skeletons[order]
    return spread[..., :2], spread[..., 2]


def _from_zero(present: Array, length: int) -> Array:
    """Count frames from 0; published files count from 1."""
    first = 0 if present[0] == 0 else 1
    if present[0] < 0 or present[-1] - first >= length:
        raise RecordFaultError(f"frame_inds: found {present[0]} to {present[-1]}, but total_frames is {length}")
    return present - first


def _file_name(annotation: Any) -> str:
    if type(annotation) is not dict:
        raise RecordFaultError(f"annotation: found {type(annotation).__name__}, expected a dict")
    reason = field_fault(annotation, "frame_inds", "box_score", "anno_inds")
    if reason:
        raise RecordFaultError(reason)
    name = annotation.get("raw_file")
    if not isinstance(name, str) or not _base(name):
        raise RecordFaultError(f"raw_file: found {kind(name)}, expected the name of a kpfile")
    return _base(name)


def _base(name: str) -> str:
    return PurePosixPath(name.replace("\\", "/")).name


def _skeletons(poses: Any, annotation: dict[Any, Any]) -> Array | str:
    """Return the skeletons that a kpfile holds for an annotation, or why there are none."""
    entry = poses.get(str(annotation["frame_dir"])) if type(poses) is dict else None
    skeletons = entry.get("keypoint") if type(entry) is dict else None
    if not isinstance(skeletons, np.ndarray):
        return "keypoint: the kpfile holds none for this frame_dir"
    if skeletons.ndim != 3 or skeletons.shape[2] != 3 or skeletons.dtype.kind not in "fiu":
        return f"keypoint: found {skeletons.dtype} {skeletons.shape}, expected numbers [N, V, 3]"
    return skeletons


def _frames(annotation: dict[Any, Any], number: int) -> Array:
    frames: Array = annotation["frame_inds"]
    if frames.shape != (number,) or frames.dtype.kind not in "iu":
        found = f"{frames.dtype} {frames.shape}"
        raise RecordFaultError(f"frame_inds: found {found}, expected one integer for each of {number} skeletons")
    return frames.astype(np.int64)


def _kept(annotation: dict[Any, Any], number: int, options: KineticsConfig) -> npt.NDArray[np.bool_]:
    """Return which skeletons count: those in ``anno_inds`` if it is there, and those that scored enough."""
    kept = np.ones(number, dtype=bool)
    chosen = annotation.get("anno_inds")
    if chosen is not None:
        if chosen.shape != (number,) or chosen.dtype.kind != "b":
            raise RecordFaultError(f"anno_inds: found {chosen.dtype} {chosen.shape}, expected {number} truth values")
        kept &= chosen
    if options.box_threshold is not None:
        scores = annotation.get("box_score")
        if scores is None or scores.shape != (number,) or scores.dtype.kind not in "fiu":
            raise RecordFaultError(f"box_score: expected one number for each of {number} skeletons")
        kept &= scores >= options.box_threshold
    return kept


def _check_valid_ratio(annotation: dict[Any, Any], frames: Array, total: Any, options: KineticsConfig) -> None:
    """Raise unless enough frames have a skeleton: by the index's own count for the threshold, or counted here."""
    if not is_integer(total) or int(total) < 1:
        raise RecordFaultError(f"total_frames: found {kind(total)}, expected a positive integer")
    counted = annotation.get("valid")
    valid = counted.get(options.box_threshold) if type(counted) is dict else None
    valid = int(valid) if is_integer(valid) else len(np.unique(frames))
    if valid < options.valid_ratio * int(total):
        raise RecordFaultError(
            f"valid: {valid} of {total} frames have a skeleton, at least {options.valid_ratio:g} of them expected"
        )
