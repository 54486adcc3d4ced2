"""Which files of a folder hold clips, and which of them make a clip together."""

from __future__ import annotations

import re
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from components.contracts.errors import InputError
from components.preprocess.readers.clip import ClipFaultError, natural
from components.preprocess.readers.decode import LARGEST_FILE, SUFFIXES, TEXT, parsed
from components.preprocess.readers.estimators import frames_of, is_estimate
from components.preprocess.readers.label_lists import LISTS
from components.preprocess.readers.members import Files
from components.preprocess.readers.videos import parted
from components.runtime.logs import stage_logger

MOST_FILES = 8
"""Of so many files each is looked into for several videos; more are a file per clip."""
_log = stage_logger("preprocess")
_FRAME = re.compile(r"(.*?)[_\-.]?(\d+)(?:_keypoints)?\.json", re.DOTALL)
_OPENPOSE = re.compile(r".*_\d+_keypoints\.json", re.DOTALL)


def clip_files(names: Sequence[str]) -> list[str]:
    """Return the files that may hold clips, in the order in which people read their names."""
    found = [
        name
        for name in names
        if PurePosixPath(name).suffix.lower() in SUFFIXES and PurePosixPath(name).name.lower() not in LISTS
    ]
    if not found:
        texts = [name for name in names if PurePosixPath(name).suffix.lower() == TEXT]
        found = [
            name for name in texts if not PurePosixPath(name).name.lower().startswith((*LISTS, "readme", "license"))
        ]
    return sorted(found, key=natural)


def grouped(files: Files, names: Sequence[str]) -> dict[str, list[str]]:
    """Return clip → its files.

    A clip is a file; or the folder of ``*_keypoints.json`` of OpenPose, or of JSON files of one frame each that are
    numbered (what stands before the number, if they are of several clips); or, where all files are called alike, such
    as ``alphapose-results.json``, the folder in which each lies.
    """
    if names and all(name.endswith(".json") for name in names) and _is_by_frame(files, names):
        groups: dict[str, list[str]] = {}
        for name in names:
            match = _FRAME.fullmatch(name)
            clip = match[1].rstrip("_-./") if match else name
            groups.setdefault(clip or files.path.stem, []).append(name)
        return _short(groups)
    if len(names) > 1 and len({PurePosixPath(name).name for name in names}) == 1:
        return _short({str(PurePosixPath(name).parent): [name] for name in names})
    return _short({str(PurePosixPath(name).with_suffix("")): [name] for name in names})


def _short(groups: dict[str, list[str]]) -> dict[str, list[str]]:
    """Name clips without their folders where no two have the same name then."""
    stems = [PurePosixPath(name).name for name in groups]
    return dict(zip(stems, groups.values(), strict=True)) if len(set(stems)) == len(stems) else groups


def _is_by_frame(files: Files, names: Sequence[str]) -> bool:
    if all(_OPENPOSE.fullmatch(name) for name in names):
        return True
    if len(names) < 2 or not all(_FRAME.fullmatch(name) for name in names):
        return False
    member = next(iter(files.members({names[0]})))
    try:
        document = parsed(member.read(LARGEST_FILE))
        return is_estimate(document) and len(frames_of(document)[0]) == 1
    except (ClipFaultError, InputError):
        return False


def videos_of(files: Files, names: Sequence[str]) -> dict[str, tuple[str, Any]]:
    """Return video → its file and the part of the document that is of it; nothing where each file is one clip."""
    if len(names) > MOST_FILES or not any(name.lower().endswith(".json") for name in names):
        return {}
    found: dict[str, tuple[str, Any]] = {}
    for member in files.members(set(names)):
        try:
            parts = parted(parsed(member.read(LARGEST_FILE)))
        except (ClipFaultError, InputError):
            return {}
        if len(parts) < 2:
            return {}
        _log.info("%s: %d videos in one file, %s", member.name, len(parts), ", ".join([*list(parts)[:3], "…"]))
        found.update({name: (member.name, part) for name, part in parts.items()})
    return {name: found[name] for name in sorted(found, key=natural)}
