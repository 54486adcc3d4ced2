"""Reader of Northwestern-UCLA as it is distributed: a folder of ``a01_s01_e00_v01.json``, one sequence each.

``{"file_name": …, "skeletons": [T, 20, 3], "label": …}``, metres, Kinect v1's joints. Names say what is seen: action
``a``, subject ``s``, take ``e`` and view ``v``; their order, and whether some stand in the folders, do not matter. The
action decides on the label, as labels in the files count from 1 in some copies. View 3 is the test split. As it is
distributed, sequences of it are among those of views 1 and 2, too, under other names: ``xview_train_clean`` lacks them.
"""

from __future__ import annotations

import hashlib
import re
from pathlib import PurePosixPath

import numpy as np

from components.contracts.errors import InputError
from components.preprocess.readers.clip import ClipFaultError, numbers
from components.preprocess.readers.decode import LARGEST_FILE, parsed
from components.preprocess.readers.members import Files, Member
from components.preprocess.readers.samples import Sample
from components.preprocess.readers.skeleton_text import Recordings, TextFaultError, split_by

ACTIONS = (1, 2, 3, 4, 5, 6, 8, 9, 11, 12)
"""The numbers of the ten actions; 7 and 10 were never published."""
CLASSES = (
    "pick up with one hand",
    "pick up with two hands",
    "drop trash",
    "walk around",
    "sit down",
    "stand up",
    "donning",
    "doffing",
    "throw",
    "carry",
)
_FIELDS = {letter: re.compile(rf"(?<![a-z]){letter}(\d+)") for letter in "asev"}


def fields(name: str) -> dict[str, int] | None:
    """Return action, subject, take and view that a path says, or None if it does not say action, subject and view."""
    if not name.endswith(".json"):
        return None
    text = name.removesuffix(".json").lower().replace("view_", "v").replace("view", "v")
    found = {letter: int(match[1]) for letter, pattern in _FIELDS.items() if (match := pattern.search(text))}
    return found if {"a", "s", "v"} <= found.keys() and found["a"] in ACTIONS else None


def open(files: Files) -> Recordings:
    """Open a folder or archive of sequences.

    Splits are ``xview_train`` (views 1 and 2), ``xview_val`` (view 3), and ``xview_train_clean``, which is the first
    without the sequences whose coordinates are, to the byte, those of one of the second.
    """
    known = {name: found for name in files.names if (found := fields(name))}
    names = list(known)
    by_id = {PurePosixPath(name).stem: found for name, found in known.items()}

    def read(position: int, sample_id: str, content: bytes) -> Sample:
        try:
            document = parsed(content)
            if not isinstance(document, dict) or "skeletons" not in document:
                raise ClipFaultError("found no 'skeletons'")
            points = numbers(document["skeletons"], "skeletons")
        except ClipFaultError as error:
            raise TextFaultError(str(error)) from None
        label = ACTIONS.index(by_id[sample_id]["a"])
        return Sample(position, sample_id, label, np.asarray(points)[None])

    splits = split_by(by_id, lambda found: found["v"] != 3, "xview")
    digests = {PurePosixPath(member.name).stem: _digest(member) for member in files.members(set(names))}
    tested = {digests[sample_id] for sample_id in splits["xview_val"]}
    splits["xview_train_clean"] = [name for name in splits["xview_train"] if digests[name] not in tested]
    opened = Recordings("ucla", files, names, read, splits, {})
    opened.classes = CLASSES
    opened.subjects = {sample_id: str(found["s"]) for sample_id, found in by_id.items()}
    return opened


def _digest(member: Member) -> bytes:
    """Return a digest of the coordinates as they are written; of all content where there are none."""
    try:
        content = b"".join(member.read(LARGEST_FILE).split())
    except InputError:
        return member.name.encode()  # said, and listed, when the sequence itself is read
    start, end = content.find(b'"skeletons"'), content.rfind(b"]]]")
    return hashlib.sha256(content[start : end + 3] if 0 <= start < end else content).digest()
