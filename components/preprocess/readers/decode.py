"""One file of clips, whichever tool wrote it: by its suffix, and by what JSON looks like."""

from __future__ import annotations

import json
from pathlib import PurePosixPath
from typing import Any

import numpy as np

from components.preprocess.readers.arrays import persons_first, read_npy, read_npz
from components.preprocess.readers.clip import Array, Clip, ClipFaultError, Expected, numbers, with_depth
from components.preprocess.readers.estimators import clip_of, is_estimate
from components.preprocess.readers.pyskl import image_size
from components.preprocess.readers.tables import clip_table

SUFFIXES = (".npy", ".npz", ".csv", ".json", ".jsonl", ".tsv")
TEXT = ".txt"
"""Tables of text, too, where a folder holds none of the other files."""
LARGEST_FILE = 1 << 30
_POINTS = ("keypoints", "keypoint", "skeletons", "skeleton", "data", "poses", "joints", "x", "arr_0")
_SCORES = ("scores", "keypoint_score", "keypoint_scores", "confidence", "visibility")


def decode(name: str, content: bytes, expected: Expected) -> Clip:
    """Return the clip that a file holds; its name is the file's without folder and suffix.

    Raises:
        ClipFaultError: the file cannot be read, or holds something else.
    """
    stem, suffix = PurePosixPath(name).stem, PurePosixPath(name).suffix.lower()
    if suffix in (".csv", ".tsv", TEXT):
        return _shaped(stem, clip_table(content, expected), None, None, expected)
    if suffix in (".json", ".jsonl"):
        document = parsed(content)
        if is_estimate(document):
            return clip_of(document, stem, expected)
        return _from_values(stem, document, expected)
    if suffix == ".npz":
        return _from_values(stem, read_npz(content), expected)
    return _from_values(stem, read_npy(content), expected)


def parsed(content: bytes) -> Any:
    """Return a JSON document, or a list of those that stand line by line; ``ClipFaultError`` if it is none."""
    try:
        document = json.loads(content)
    except (ValueError, RecursionError) as error:
        lines = content.splitlines()
        try:
            document = [json.loads(line) for line in lines if line.strip()]
        except (ValueError, RecursionError):
            document = []
        if len(document) < 2:
            reason = (str(error).strip() or type(error).__name__).splitlines()[0]
            raise ClipFaultError(f"cannot be read as JSON: {reason}") from None
    if isinstance(document, list) and document and all(isinstance(item, str) for item in document):
        try:
            return [json.loads(item) for item in document]  # what ``to_json`` returns, put into a list
        except ValueError:
            raise ClipFaultError("found a list of text, expected frames") from None
    return document


def _from_values(name: str, values: Any, expected: Expected) -> Clip:
    scores, image = None, None
    if isinstance(values, dict):
        key = next((key for key in _POINTS if key in values), None)
        if key is None:
            found = ", ".join(list(map(str, values))[:6]) or "nothing"
            raise ClipFaultError(f"found {found}, expected keypoints")
        given = next((values[one] for one in _SCORES if one in values), None)
        scores = None if given is None else numbers(given, "scores")
        image, values = image_size(values), values[key]
    return _shaped(name, numbers(values, "keypoints"), scores, image, expected)


def _shaped(name: str, values: Array, scores: Array | None, image: tuple[int, int] | None, expected: Expected) -> Clip:
    points = persons_first(values, expected)
    if scores is not None:
        scores = scores.reshape(points.shape[:3]) if scores.size == np.prod(points.shape[:3]) else scores
    points, scores = with_depth(points, scores, expected.depth)
    return Clip(name, points, scores, image)
