"""Lists of labels, and what names of files say where there is none."""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import PurePosixPath

from components.preprocess.readers.clip import ClipFaultError
from components.preprocess.readers.tables import rows_of

LISTS = ("labels.csv", "labels.tsv", "labels.txt", "annotations.csv", "index.csv")
"""Names of files that list labels."""
_IDS = ("id", "file", "filename", "file_name", "name", "path", "clip", "video", "sample", "video_id", "clip_id")
_LABELS = ("label", "class", "action", "category", "y", "target", "class_name", "label_name", "action_name")
_SPLITS = ("split", "subset", "set", "partition")
_SUBJECTS = ("subject", "person", "performer", "actor", "user", "subject_id", "person_id", "participant")
_IN_NAMES = (
    re.compile(r"S\d{3}C\d{3}P(?P<subject>\d{3})R\d{3}A(?P<label>\d{3})"),
    re.compile(r"(?:^|[_\-])a(?P<label>\d+)[_\-]?s(?P<subject>\d+)", re.IGNORECASE),
)
"""Names that say action and subject: NTU's, and ``a01_s02_e03`` as MSR Action 3D and others have it."""


@dataclass
class LabelList:
    """What a list of labels says, by id or file name as it has them."""

    labels: dict[str, str] = field(default_factory=dict)
    splits: dict[str, str] = field(default_factory=dict)
    subjects: dict[str, str] = field(default_factory=dict)

    def keys_of(self, clips: Mapping[str, Sequence[str]]) -> dict[str, str]:
        """Return, for each clip that the list knows, the key by which it does.

        A clip has an id and files; a key may be any of them, or the folder of its frames, and lack folder or suffix,
        or have another one (that of the video), where that is unique.
        """
        aliases = [(alias, key) for key in self.labels for alias in dict.fromkeys(_forms(key))]
        often = Counter(alias for alias, _ in aliases)
        known = {alias: key for alias, key in aliases if often[alias] == 1} | {key: key for key in self.labels}
        found = {}
        for name, members in clips.items():
            names = [name, members[0] if len(members) == 1 else str(PurePosixPath(members[0]).parent)]
            key = next((known[form] for one in names for form in _forms(one) if form in known), None)
            if key is not None:
                found[name] = key
        return found


def _forms(name: str) -> Iterable[str]:
    path = PurePosixPath(name.replace("\\", "/"))
    return (name, str(path.with_suffix("")) if path.name else name, path.name, path.stem)


def said_by_names(names: Iterable[str]) -> LabelList | None:
    """Return the labels and subjects that the names of all clips say; None if one does not, or all are alike."""
    found = LabelList()
    for name in names:
        said = next((match for pattern in _IN_NAMES if (match := pattern.search(PurePosixPath(name).name))), None)
        if said is None:
            return None
        found.labels[name] = str(int(said["label"]))
        found.subjects[name] = said["subject"]
    return found if len(set(found.labels.values())) > 1 else None


def label_list(content: bytes) -> LabelList:
    """Read a list of labels: a line per clip with its id or file, its label and, if known, split and subject.

    Columns are found by their names (``id`` or ``file``, ``label`` or ``class``, ``split``, ``subject``, and usual
    others); without a line of names they are id, label, split, subject.

    Raises:
        ClipFaultError: a column is missing, or an id stands twice with different labels.
    """
    rows = rows_of(content)
    if not rows:
        raise ClipFaultError("the list is empty")
    header = [cell.lower() for cell in rows[0]]
    known = {*_IDS, *_LABELS, *_SPLITS, *_SUBJECTS}
    if known & set(header):
        rows = rows[1:]
    else:
        header = ["id", "label", "split", "subject"][: len(header)]
    at = {what: _column(header, names) for what, names in (("ids", _IDS), ("labels", _LABELS))}
    if at["ids"] is None or at["labels"] is None:
        raise ClipFaultError(f"found columns {', '.join(header)}, expected id (or file) and label (or class)")
    found = LabelList()
    optional = ((_SPLITS, found.splits), (_SUBJECTS, found.subjects))
    for line, row in enumerate(rows, 2):
        if len(row) < len(header):
            raise ClipFaultError(f"line {line}: found {len(row)} columns, expected {len(header)}")
        name, label = row[at["ids"]], row[at["labels"]]
        if found.labels.setdefault(name, label) != label:
            raise ClipFaultError(
                f"line {line}: {name!r} stands twice, with labels {found.labels[name]!r} and {label!r}"
            )
        for names, target in optional:
            column = _column(header, names)
            if column is not None and row[column]:
                target[name] = row[column]
    return found


def _column(header: Sequence[str], names: Sequence[str]) -> int | None:
    return next((header.index(name) for name in names if name in header), None)
