"""One file of several videos, as COCO's files often are: which frame is of which video.

A frame's video is its image's ``video_id`` (named as ``videos`` names it), else the folder of its ``file_name`` or
``image_id``, else what stands in the name before the frame's number: ``walk_0001.jpg`` is of ``walk``.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

_NUMBER = re.compile(r"[_\-. ]?\d+$")


def parted(document: Any) -> dict[str, Any]:
    """Return video → its part of a COCO data set or of results by image; one entry, or none, if it is no several."""
    if isinstance(document, dict) and isinstance(document.get("images"), list) and "annotations" in document:
        return _data_set(document)
    if not isinstance(document, list) or not all(isinstance(item, dict) for item in document):
        return {}
    images = [item.get("image_id") for item in document]
    parts: dict[str, Any] = {}
    if all(isinstance(image, str) for image in images):
        for item, video in zip(document, _of_names(images), strict=True):
            parts.setdefault(video, []).append(item)
    return parts


def _data_set(document: dict[str, Any]) -> dict[str, Any]:
    images = [
        image for image in document["images"] if isinstance(image, dict) and isinstance(image.get("id"), int | str)
    ]
    listed = document.get("videos")
    names = {
        video.get("id"): str(video.get("name", video.get("file_name", video.get("id"))))
        for video in (listed if isinstance(listed, list) else [])
        if isinstance(video, dict) and isinstance(video.get("id"), int | str)
    }
    ids = [image.get("video_id") for image in images]
    if images and all(isinstance(one, int | str) for one in ids):
        of_images = [PurePosixPath(names.get(one, str(one))).stem for one in ids]
    else:
        of_images = _of_names([str(image.get("file_name", image["id"])) for image in images])
    video_of = {image["id"]: video for image, video in zip(images, of_images, strict=True)}
    parts: dict[str, Any] = {video: {"images": [], "annotations": []} for video in dict.fromkeys(of_images)}
    for image, video in zip(images, of_images, strict=True):
        parts[video]["images"].append(image)
    for item in document["annotations"] if isinstance(document["annotations"], list) else []:
        if isinstance(item, dict) and isinstance(item.get("image_id"), int | str) and item["image_id"] in video_of:
            parts[video_of[item["image_id"]]]["annotations"].append(item)
    return parts


def _of_names(names: Sequence[Any]) -> list[str]:
    """Return the video of each image by its name."""
    paths = [PurePosixPath(str(name).replace("\\", "/")) for name in names]
    if len({path.parent for path in paths}) > 1:
        folders = [path.parent for path in paths]
        short = len({folder.name for folder in folders}) == len(set(folders))
        return [folder.name if short else str(folder) for folder in folders]
    found = [_NUMBER.sub("", path.stem) for path in paths]
    several = all(found) and 2 * len(set(found)) <= len(set(paths))  # else it is no number that ends the names
    return found if several else [""] * len(paths)
