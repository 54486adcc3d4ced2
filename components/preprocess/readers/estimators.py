"""Poses as pose estimators write them in JSON: what every tool means by a frame, a person and a joint.

- MMPose: ``{"instance_info": [{"frame_id": 1, "instances": [{"keypoints": [[x, y], …], "keypoint_scores": […]}]}]}``,
  or that list alone;
- COCO, as results ``[{"image_id": …, "keypoints": [x, y, score, …]}]`` or as a data set with ``images`` and
  ``annotations``; AlphaPose the same with ``idx``, the person;
- AlphaPose with ``--format cmu`` or ``open``: ``{"0.jpg": {"bodies": [{"joints": […]}]}}`` or ``people``;
- OpenPose, one frame a file: ``{"people": [{"pose_keypoints_2d": [x, y, score, …]}]}``;
- Ultralytics, ``results.to_json()`` per frame: ``[{"keypoints": {"x": […], "y": […], "visible": […]}}]``;
- MediaPipe: per frame 33 ``{"x", "y", "z", "visibility"}``, alone or below ``pose_landmarks`` (shares of the image) or
  ``pose_world_landmarks`` (metres).
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from components.preprocess.readers.clip import Array, Clip, ClipFaultError, Expected, natural, numbers, with_depth
from components.preprocess.readers.tracking import Person, joined
from components.preprocess.readers.videos import parted

_FLAT = ("pose_landmarks", "poseLandmarks", "landmarks", "landmark")
_WORLD = ("pose_world_landmarks", "poseWorldLandmarks", "world_landmarks", "worldLandmarks")
_PEOPLE = ("instances", "people", "bodies", "predictions", "persons", "detections")
_JOINTS = ("keypoints", "pose_keypoints_2d", "joints", "pose_keypoints_3d")
_TRACKS = ("track_id", "tracking_id", "idx", "person_id")
_FRAMES = ("frame_id", "frame", "frame_index", "image_id")
LARGEST_GAP = 4
"""Frames that are left out by their numbers are put back, unless they would be more than so many times the others."""


def is_estimate(document: Any) -> bool:
    """Whether a JSON document is one of a pose estimator, not an array."""
    sample = _first(document)
    if not isinstance(sample, dict):
        return False
    known = {*_FLAT, *_WORLD, *_PEOPLE, *_JOINTS, "instance_info", "images", "frames"}
    inside = next((value for value in sample.values() if isinstance(value, dict)), {})
    return bool(known & sample.keys()) or {"x", "y"} <= sample.keys() or bool(known & inside.keys())


def _first(document: Any) -> Any:
    for _ in range(3):
        if isinstance(document, list):
            document = next((item for item in document if item), None)
    return document


def clip_of(document: Any, name: str, expected: Expected) -> Clip:
    """Return the clip that a document holds; frames in which nobody is found are kept.

    Raises:
        ClipFaultError: nobody is found, or a person's joints are not what the tool writes.
    """
    if len(videos := parted(document)) > 1:
        shown = ", ".join(list(videos)[:3])
        raise ClipFaultError(
            f"holds frames of {len(videos)} videos ({shown}, …); one a file expected, or all videos in a single file"
        )
    try:
        frames, image = frames_of(document)
        persons = [persons_of(frame, expected.depth) for frame in frames]
        points, scores = joined(persons)
    except (ValueError, TypeError, KeyError, AttributeError, IndexError, OverflowError, RecursionError):
        # Whatever a stranger's document has in places of frames, persons and joints.
        raise ClipFaultError("its frames, persons or joints are not built as a known tool builds them") from None
    depth = _is_world(frames) if expected.depth is None else expected.depth
    points, scores = with_depth(points, scores, depth)
    return Clip(name, points, scores, image)


def _is_world(frames: Sequence[Any]) -> bool:
    """Whether landmarks are metres only, not also shares of an image."""
    keys = {key for frame in frames if isinstance(frame, dict) for key in frame}
    return bool(keys & {*_WORLD}) and not keys & {*_FLAT}


def frames_of(document: Any) -> tuple[list[Any], tuple[int, int] | None]:
    """Return a document's frames, each as its tool has it, and the size of the image (height, width) if it is said."""
    if isinstance(document, dict):
        image = _size(document.get("image_size", document.get("img_shape")))
        if "annotations" in document and "images" in document:
            return _annotated(document)
        for key in ("instance_info", "frames"):
            if isinstance(document.get(key), list):
                return _in_order(document[key]), image
        values = list(document.values())
        if values and all(isinstance(value, dict) and any(key in value for key in _PEOPLE) for value in values):
            return [document[key] for key in sorted(document, key=natural)], image
        lists = [key for key in (*_WORLD, *_FLAT) if isinstance(document.get(key), list)]
        if lists and _depth_of_lists(document[lists[0]]) > 1 and len(document[lists[0]]) > 1:
            merged = [
                dict(zip(lists, each, strict=True)) for each in zip(*(document[key] for key in lists), strict=True)
            ]
            return merged, image
        return [document], image
    if not isinstance(document, list):
        raise ClipFaultError(f"found {type(document).__name__}, expected frames")
    if document and all(isinstance(item, dict) for item in document):
        if any(_number_key(item) for item in document):
            return _in_order(document), None
        if any(key in document[0] for key in _JOINTS) or {"x", "y"} <= document[0].keys():
            return [document], None  # the persons, or the joints, of one frame
    return document, None


def _depth_of_lists(value: Any) -> int:
    depth = 0
    while isinstance(value, list):
        value, depth = next((item for item in value if item), None), depth + 1
    return depth


def _number_key(item: dict[str, Any]) -> str | None:
    return next((key for key in _FRAMES if isinstance(item.get(key), int | str)), None)


def _in_order(items: Sequence[Any]) -> list[Any]:
    """Return frames, put together of persons if need be, in the order of their numbers, with empty ones between."""
    by_frame: dict[str, list[Any]] = {}
    for item in items:
        key = _number_key(item) if isinstance(item, dict) else None
        if key is None:
            return list(items)
        by_frame.setdefault(str(item[key]), []).append(item)
    names = sorted(by_frame, key=natural)
    frames = {
        name: by_frame[name] if len(by_frame[name]) > 1 or _is_person(by_frame[name][0]) else by_frame[name][0]
        for name in names
    }
    places = [_digits(name) for name in names]
    if None in places or len(set(places)) < len(places):
        return [frames[name] for name in names]
    first, last = min(places), max(places)  # type: ignore[type-var]
    if last - first + 1 > LARGEST_GAP * len(names):  # type: ignore[operator]
        return [frames[name] for name in names]
    at = dict(zip(places, names, strict=True))
    return [frames[at[place]] if place in at else [] for place in range(first, last + 1)]  # type: ignore[arg-type,operator]


def _digits(name: str) -> int | None:
    """Return the last number in a name, such as 12 of ``frame_00012.jpg``."""
    found = [part for part, text in natural(name.rpartition(".")[0] or name) if not text]
    return found[-1] if found and found[-1] >= 0 else None


def _is_person(item: Any) -> bool:
    return isinstance(item, dict) and any(key in item for key in _JOINTS) and not any(key in item for key in _PEOPLE)


def _annotated(document: dict[str, Any]) -> tuple[list[Any], tuple[int, int] | None]:
    """Return the frames of a COCO data set: its images in the order of their names."""
    images = [image for image in document["images"] if isinstance(image, dict) and "id" in image]
    found: dict[Any, list[Any]] = {image["id"]: [] for image in images}
    for item in document["annotations"]:
        if isinstance(item, dict) and item.get("image_id") in found:
            found[item["image_id"]].append(item)
    order = sorted(images, key=lambda image: natural(str(image.get("file_name", image["id"]))))
    size = _size((images[0].get("height"), images[0].get("width"))) if images else None
    return [found[image["id"]] for image in order], size


def _size(value: Any) -> tuple[int, int] | None:
    if (
        isinstance(value, list | tuple)
        and len(value) == 2
        and all(isinstance(side, int) and side > 0 for side in value)
    ):
        return int(value[0]), int(value[1])
    return None


def persons_of(frame: Any, depth: bool | None) -> list[Person]:
    """Return the persons of one frame.

    Raises:
        ClipFaultError: it is no frame of a known tool.
    """
    if frame is None or frame == [] or frame == {}:
        return []
    if isinstance(frame, dict):
        keys = (*_WORLD, *_FLAT) if depth else (*_FLAT, *_WORLD)
        for key in (*_PEOPLE, *keys):
            if key in frame:
                return persons_of(frame[key], depth)
        return [_person(frame)] if any(frame.get(key) for key in _JOINTS) else []
    if isinstance(frame, list):
        if all(_is_landmark(item) for item in frame):
            return [Person(_landmarks(frame))]
        return [person for item in frame for person in persons_of(item, depth)]
    raise ClipFaultError(f"frame: found {type(frame).__name__}, expected persons")


def _is_landmark(item: Any) -> bool:
    return isinstance(item, dict) and "x" in item and "y" in item and not isinstance(item["x"], list)


def _landmarks(items: Iterable[dict[str, Any]]) -> Array:
    """Return ``[V, 2]`` or ``[V, 4]``: x, y, or x, y, z and visibility."""
    rows = [
        [item["x"], item["y"], item.get("z", 0.0), item.get("visibility", item.get("score", 1.0))] for item in items
    ]
    return numbers(rows, "landmarks").astype(np.float64)


def _person(item: dict[str, Any]) -> Person:
    key = next(key for key in _JOINTS if item.get(key))
    track = _track(item)
    if isinstance(item[key], dict):
        columns = [numbers(item[key].get(axis, []), f"{key}.{axis}") for axis in ("x", "y")]
        visible = item[key].get("visible", item[key].get("confidence"))
        points = np.stack(columns, axis=-1).astype(np.float64)
        return Person(points, None if visible is None else numbers(visible, f"{key}.visible"), track)
    if isinstance(item[key], list) and item[key] and all(_is_landmark(joint) for joint in item[key]):
        return Person(_landmarks(item[key]), None, track)
    points = numbers(item[key], key).astype(np.float64)
    given = item.get("keypoint_scores", item.get("keypoints_scores"))
    if points.ndim == 1:
        width = 4 if key.endswith("3d") else 3
        if len(points) % width:
            raise ClipFaultError(f"{key}: found {len(points)} numbers, expected x, y and score of every joint")
        points = points.reshape(-1, width)
    if points.ndim == 3 and len(points) == 1:
        points = points[0]
    if points.ndim != 2 or points.shape[1] not in (2, 3, 4):
        raise ClipFaultError(f"{key}: found shape {'×'.join(map(str, points.shape))}, expected joints×channels")
    if given is not None:
        return Person(points, numbers(given, "keypoint_scores").reshape(-1), track)
    if points.shape[1] == 3:
        return Person(points[:, :2], _shares(points[:, 2]), track)
    return Person(points, None, track)


def _shares(scores: Array) -> Array:
    """Return scores between 0 and 1: COCO's flags 0, 1, 2 say unlabelled, hidden, visible; AlphaPose goes beyond 1."""
    return np.asarray(np.clip(scores, 0, 1))


def _track(item: dict[str, Any]) -> str | None:
    for key in _TRACKS:
        value = item.get(key)
        value = value[0] if isinstance(value, list) and value else value
        if isinstance(value, int | float | str) and not isinstance(value, bool) and value not in (-1, ""):
            return str(value)
    return None
