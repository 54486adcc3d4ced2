"""Reader of the raw skeletons of UAV-Human (Li et al. 2021): a folder or archive of ``P000S00…A000R0_08241716.txt``.

The files have the form of NTU's but hold 17 joints in the order of COCO, x and y in pixels of the video; there is
no score, hence 1 where a body is listed and 0 where it is not. They do not say how large the video is: as in the
reference, use normalisation ``none``. Bodies are told apart by their place in the frame (ids are all alike).
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

import numpy as np

from components.contracts.skeleton import load_layout
from components.preprocess.readers.members import Files
from components.preprocess.readers.samples import Sample
from components.preprocess.readers.skeleton_text import Recordings, parse, split_by, stem

JOINTS = 17
SUFFIX = ".txt"
NAME = re.compile(r"P(\d+)S\d+G\d+B\d+H\d+UC\d+LC\d+A(\d+)R\d+_\d+")
MOST_PERSONS = 4
"""Of a frame's bodies, as in the data set's own reader."""

TEST_SUBJECTS_1 = frozenset(
    (1, 3, 4, 9, 22, 23, 24, 31, 41, 54, 58, 60, 66, 72, 74, 75, *range(91, 98), 99, 101, 104, 107, 108, 109, 113)
)
"""Cross-subject-v1: 30 of 119 subjects, those that the data set's repository (sutdcv/UAV-Human, README) does not
list for training."""
TEST_SUBJECTS_2 = frozenset(
    (
        1,
        2,
        7,
        9,
        13,
        15,
        17,
        23,
        25,
        27,
        28,
        33,
        34,
        41,
        42,
        48,
        50,
        51,
        53,
        55,
        58,
        65,
        68,
        76,
        82,
        85,
        90,
        98,
        105,
        116,
    )
)
"""Cross-subject-v2, from the same list."""


def open(files: Files, layout: str = "coco17") -> Recordings:
    """Open a folder or archive of recordings; joints come in the order of ``layout``, matched by name.

    Splits ``csv1_*`` and ``csv2_*`` are computed from the names.
    """
    names = [name for name in files.names if name.endswith(SUFFIX)]
    fields = {stem(name): match for name in names if (match := NAME.fullmatch(stem(name)))}
    refused = {
        stem(name): f"file name: found {PurePosixPath(name).name!r}, expected P…S…G…B…H…UC…LC…A…R…_….txt"
        for name in names
        if stem(name) not in fields
    }
    order = joint_order(layout)

    def read(position: int, sample_id: str, content: bytes) -> Sample:
        recording = parse(content, JOINTS)
        kept = recording.place < MOST_PERSONS
        place, frame = recording.place[kept], recording.frame[kept]
        keypoints = np.zeros((int(place.max()) + 1, recording.frames, JOINTS, 2), dtype=np.float32)
        scores = np.zeros(keypoints.shape[:3], dtype=np.float32)
        keypoints[place, frame] = recording.joints[kept][..., :2]
        scores[place, frame] = 1
        return Sample(position, sample_id, int(fields[sample_id][2]), keypoints[:, :, order], scores)

    splits = {
        **split_by(fields, lambda name: int(name[1]) not in TEST_SUBJECTS_1, "csv1"),
        **split_by(fields, lambda name: int(name[1]) not in TEST_SUBJECTS_2, "csv2"),
    }
    return Recordings("uav", files, names, read, splits, refused)


def joint_order(layout: str) -> list[int]:
    """Return where each joint of ``layout`` stands in a file; the file's own order if the names are not the same."""
    file_joints, wanted = load_layout("coco17").joints, load_layout(layout).joints
    if set(file_joints) != set(wanted):
        return list(range(JOINTS))
    return [file_joints.index(joint) for joint in wanted]
