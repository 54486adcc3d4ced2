"""Reader of the annotation pickle of PYSKL (Duan et al. 2022), the common form of skeleton data sets.

``{'split': {name: [ids]}, 'annotations': [{'frame_dir': id, 'label': int, 'keypoint': [M, T, V, C], …}]}``,
for 2D data with ``'keypoint_score': [M, T, V]`` and ``'img_shape': (height, width)``.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import suppress
from typing import Any, TypeGuard

import numpy as np

from components.contracts.dataset import Skipped
from components.contracts.errors import InputError
from components.preprocess.readers.arrays import MOST_PERSONS
from components.preprocess.readers.samples import Sample, Source
from components.runtime.pickled.records import Records


class AnnotationPickle(Source):
    """An open annotation pickle."""

    format = "pyskl"

    def __init__(self, annotations: list[Any] | Records, splits: dict[str, list[str]]) -> None:
        self._annotations = annotations
        self.splits = splits

    @property
    def expected(self) -> int:
        if isinstance(self._annotations, list):
            return len(self._annotations)
        named = {sample_id for ids in self.splits.values() for sample_id in ids}
        return len(named) if self._annotations.number is None else self._annotations.number

    def raw(self) -> Iterator[Sample | Skipped]:
        return (_sample(position, annotation) for position, annotation in enumerate(self._annotations))

    def finish(self, raw: Sample | Skipped) -> Sample | Skipped:
        return raw


Annotations = list[Any] | Records


def checked(content: Any, name: str) -> tuple[Annotations, dict[str, list[str]]]:
    """Return annotations and splits of a pickle's content; ``name`` is what error messages call the file.

    A list of annotations alone has no splits; the configuration may make them.

    Raises:
        InputError: ``annotations`` is missing or of the wrong kind, or ``split`` is.
    """
    if type(content) is list and content and type(content[0]) is dict:
        content = {"annotations": content}
    if type(content) is not dict:
        raise InputError(f"found a pickled {type(content).__name__}, expected a dict with {_KEYS}", at=name)
    if "annotations" not in content:
        found = ", ".join(sorted(str(key)[:40] for key in list(content)[:10])) or "nothing"
        raise InputError(f"annotations missing: found {found}, expected {_KEYS}", at=name)
    annotations = content["annotations"]
    if not isinstance(annotations, list | Records):
        raise InputError(f"annotations: found {type(annotations).__name__}, expected a list", at=name)
    if (annotations.number if isinstance(annotations, Records) else len(annotations)) == 0:
        raise InputError("annotations: the list is empty", at=name)
    return annotations, _splits(name, content.get("split", {}))


_KEYS = "'split' and 'annotations'"


def _splits(path: str, splits: Any) -> dict[str, list[str]]:
    if type(splits) is not dict:
        raise InputError(f"split: found {type(splits).__name__}, expected a dict of lists of sample ids", at=path)
    checked = {}
    for name, ids in splits.items():
        if not isinstance(name, str) or not isinstance(ids, list | tuple | np.ndarray):
            raise InputError(f"split {str(name)[:40]!r}: found {type(ids).__name__}, expected a list of ids", at=path)
        strange = next((sample_id for sample_id in ids if not isinstance(sample_id, str)), None)
        if strange is not None:
            found = type(strange).__name__
            raise InputError(f"split {name!r}: holds an id that is not text ({found}), expected frame_dir", at=path)
        checked[str(name)] = [str(sample_id) for sample_id in ids]
    return checked


def _sample(position: int, annotation: Any) -> Sample | Skipped:
    if type(annotation) is not dict:
        reason = f"annotation: found {type(annotation).__name__}, expected a dict"
        return Skipped(position=position, sample_id="", reason=reason)
    name = annotation.get("frame_dir")
    sample_id = str(name) if isinstance(name, str) else ""
    annotation = _in_shape({**annotation, **_as_arrays(annotation, "keypoint", "keypoint_score")})
    found = field_fault(annotation, "keypoint", "keypoint_score") or _length_fault(annotation)
    if found:
        return Skipped(position=position, sample_id=sample_id, reason=found)
    return Sample(
        position=position,
        sample_id=sample_id,
        label=int(annotation["label"]),
        keypoints=annotation["keypoint"],
        scores=annotation.get("keypoint_score"),
        image=image_size(annotation),
    )


def _as_arrays(annotation: dict[Any, Any], *names: str) -> dict[str, Any]:
    """Return those fields that are lists or tuples of numbers as arrays; a field of None counts as missing."""
    arrays = {}
    for name in names:
        value = annotation.get(name)
        if isinstance(value, list | tuple):
            with suppress(ValueError):  # of different lengths: said where fields are checked
                arrays[name] = np.asarray(value)
    return arrays


def _in_shape(annotation: dict[Any, Any]) -> dict[Any, Any]:
    """Return an annotation with its arrays as persons×frames×joints(×channels) where they can mean nothing else.

    The axis of persons may be missing, or stand after that of frames where ``total_frames`` says so, or be ST-GCN's
    last one; scores may have an axis of one channel.
    """
    points, scores = annotation.get("keypoint"), annotation.get("keypoint_score")
    if not isinstance(points, np.ndarray):
        return annotation
    shape, total = points.shape, annotation.get("total_frames")
    turned = len(shape) == 4 and is_integer(total) and shape[0] == total != shape[1] and shape[1] <= MOST_PERSONS
    if len(shape) == 3 and shape[2] in (2, 3, 4) and total in (None, shape[0]):
        annotation["keypoint"] = points[None]
    elif len(shape) == 4 and shape[3] == 1 and shape[0] in (2, 3):
        annotation["keypoint"] = np.transpose(points, (3, 1, 2, 0))
    elif turned:
        annotation["keypoint"] = np.swapaxes(points, 0, 1)
    if isinstance(scores, np.ndarray):
        if scores.ndim == 4 and scores.shape[3] == 1:
            scores = scores[..., 0]
        if scores.ndim == 2:
            scores = scores[None]
        annotation["keypoint_score"] = np.swapaxes(scores, 0, 1) if turned and scores.ndim == 3 else scores
    return annotation


def field_fault(annotation: dict[Any, Any], array: str, *more: str) -> str | None:
    """Return what is wrong with id, label or a field that must hold an array; only those in ``more`` may be missing."""
    missing = [name for name in ("frame_dir", "label", array) if name not in annotation]
    if missing:
        return f"missing: {', '.join(missing)}"
    if not isinstance(annotation["frame_dir"], str) or not annotation["frame_dir"]:
        return f"frame_dir: found {kind(annotation['frame_dir'])}, expected text"
    if not is_integer(annotation["label"]):
        return f"label: found {kind(annotation['label'])}, expected an integer"
    for name in (array, *more):
        if name in annotation and not isinstance(annotation[name], np.ndarray):
            if isinstance(annotation[name], list | tuple):
                return f"{name}: its lists differ in length, expected an array"
            return f"{name}: found {kind(annotation[name])}, expected an array"
    return None


def _length_fault(annotation: dict[Any, Any]) -> str | None:
    shape = annotation["keypoint"].shape
    if "total_frames" not in annotation or len(shape) != 4:
        return None
    total = annotation["total_frames"]
    if not is_integer(total):
        return f"total_frames: found {kind(total)}, expected an integer"
    if int(total) != shape[1]:
        if int(total) == shape[2]:
            found = "×".join(map(str, shape))
            return f"keypoint: found shape {found}, total_frames {total}: joints stand before frames, expected after"
        return f"total_frames: found {total}, but keypoint has {shape[1]} frames"
    return None


def image_size(annotation: dict[Any, Any]) -> tuple[int, int] | None:
    """Return (height, width) if the annotation has a sensible one."""
    size = annotation.get("img_shape", annotation.get("original_shape"))
    size = size.tolist() if isinstance(size, np.ndarray) else size
    if not isinstance(size, list | tuple) or len(size) != 2:
        return None
    if not all(is_integer(side) and side > 0 for side in size):
        return None
    return int(size[0]), int(size[1])


def is_integer(value: Any) -> TypeGuard[int]:
    """Tell whether a value is an integer; a truth value is none."""
    return isinstance(value, int | np.integer) and not isinstance(value, bool)


def kind(value: Any) -> str:
    """Return what error messages call a value of the wrong kind."""
    return "empty text" if isinstance(value, str) and not value else type(value).__name__
