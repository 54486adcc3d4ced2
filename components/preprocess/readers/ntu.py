"""Reader of the raw recordings of NTU RGB+D 60 and 120: a folder or archive of ``SsssCcccPpppRrrrAaaa.skeleton``.

Which of the tracked bodies make the sample is decided in ``ntu_denoising``.
"""

from __future__ import annotations

import re
from pathlib import PurePosixPath

from components.contracts.errors import InputError
from components.preprocess.readers.members import Files
from components.preprocess.readers.ntu_denoising import JOINTS, two_bodies
from components.preprocess.readers.samples import Sample
from components.preprocess.readers.skeleton_text import Recordings, parse, split_by, stem

SUFFIX = ".skeleton"
_LIST = re.compile(r".*missing.*\.txt", re.IGNORECASE)
NAME = re.compile(r"S(\d{3})C(\d{3})P(\d{3})R(\d{3})A(\d{3})")

TRAINING_SUBJECTS = frozenset(
    (
        *(1, 2, 4, 5, 8, 9, 13, 14, 15, 16, 17, 18, 19, 25, 27, 28, 31, 34, 35, 38),  # NTU RGB+D 60
        *(45, 46, 47, 49, 50, 52, 53, 54, 55, 56, 57, 58, 59, 70, 74, 78, 80, 81, 82, 83, 84, 85, 86, 89),
        *(91, 92, 93, 94, 95, 97, 98, 100, 103),
    )
)
"""Cross-subject: Shahroudy et al. 2016, section 3.2.1; Liu et al. 2019, section 3.3.1. The first 40 subjects are
those of NTU RGB+D 60, hence one list serves both."""

LARGEST_LIST = 1 << 24
MISSING = "among the recordings with missing or incomplete skeletons"


def open(files: Files) -> Recordings:
    """Open a folder or archive of recordings.

    Splits ``xsub_*`` (subject), ``xview_*`` (camera 1 is the test view; meant for NTU RGB+D 60) and ``xset_*``
    (odd setups are the test set; NTU RGB+D 120) are computed from the names. A text file with "missing" in its
    name, such as the published ``NTU_RGBD_samples_with_missing_skeletons.txt``, lists recordings to skip.
    """
    names = [name for name in files.names if name.endswith(SUFFIX)]
    fields = {stem(name): match for name in names if (match := NAME.fullmatch(stem(name)))}
    refused = dict.fromkeys(_listed_missing(files), MISSING)
    for name in names:
        if stem(name) not in fields:
            refused[stem(name)] = (
                f"file name: found {PurePosixPath(name).name!r}, expected SsssCcccPpppRrrrAaaa{SUFFIX}"
            )

    def read(position: int, sample_id: str, content: bytes) -> Sample:
        keypoints = two_bodies(parse(content, JOINTS))
        return Sample(position, sample_id, int(fields[sample_id][5]) - 1, keypoints)

    splits = {
        **split_by(fields, lambda name: int(name[3]) in TRAINING_SUBJECTS, "xsub"),
        **split_by(fields, lambda name: int(name[2]) != 1, "xview"),
        **split_by(fields, lambda name: int(name[1]) % 2 == 0, "xset"),
    }
    return Recordings("ntu", files, names, read, splits, refused)


def _listed_missing(files: Files) -> set[str]:
    lists = [name for name in files.names if _LIST.fullmatch(PurePosixPath(name).name)]
    found: set[str] = set()
    for member in files.members(lists):
        text = member.read(LARGEST_LIST).decode("utf-8", errors="replace")
        listed = {match.group() for match in NAME.finditer(text)}
        if not listed:
            raise InputError("names no recording, expected lines such as S001C002P005R002A008", at=member.label)
        found |= listed
    return found
