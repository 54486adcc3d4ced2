"""A folder, or archive, of clips: a file each, or a file for each frame, with a list of labels or folders as labels.

Labels stand in ``labels.csv`` (see ``tables.label_list``), else the folder in which a clip lies is its class. Folders
``train``, ``val`` and ``test`` are splits, as is the list's column ``split``. Frame by frame: ``*_keypoints.json`` of
OpenPose, and JSON files of one frame each that are numbered; then the folder, or what stands before the number, is the
clip.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from components.contracts.config import DataConfig
from components.contracts.dataset import Skipped
from components.contracts.errors import InputError
from components.preprocess.readers.clip import Clip, ClipFaultError, Expected, expectation, natural
from components.preprocess.readers.decode import LARGEST_FILE, SUFFIXES, decode, parsed
from components.preprocess.readers.estimators import clip_of, frames_of, is_estimate
from components.preprocess.readers.members import Files
from components.preprocess.readers.samples import Sample, Source
from components.preprocess.readers.tables import LISTS, LabelList, label_list, looked_up

SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing")
_FRAME = re.compile(r"(.*?)[_\-.]?(\d+)(?:_keypoints)?\.json", re.DOTALL)
_OPENPOSE = re.compile(r".*_\d+_keypoints\.json", re.DOTALL)
Raw = tuple[int, str, list[tuple[str, bytes]]]


class ClipFolder(Source):
    """An open folder. ``raw`` reads the files, ``finish`` understands them."""

    format = "folder"

    def __init__(self, files: Files, config: DataConfig | None, *, labelled: bool = True) -> None:
        self._files = files
        self._expected: Expected = expectation(config)
        self._shift = config.first_label if config else 0
        names = clip_files(files.names)
        self._clips = _grouped(files, names)
        self._labelled = labelled
        listed = _listed(files) if labelled else None
        folders = {name: PurePosixPath(members[0]).parent.parts for name, members in self._clips.items()}
        self._texts = self._label_texts(listed, folders) if labelled else {}
        self._lacking = "there is no list of labels, nor a folder per class"
        if listed:
            self._lacking = f"the list of labels has no such id (its first is {next(iter(listed.labels), '')!r})"
        self.classes = [] if config or not labelled else _names(self._texts.values())
        self._numbers = _numbers(self._texts.values(), config.classes if config else self.classes)
        self.splits = _splits(listed, folders, self._clips) if labelled else {}
        self.subjects = {}
        if listed:
            found = {name: _said(listed.subjects, name, members) for name, members in self._clips.items()}
            self.subjects = {name: subject for name, subject in found.items() if subject}

    def _label_texts(self, listed: LabelList | None, folders: Mapping[str, Sequence[str]]) -> dict[str, str]:
        if listed:
            said = {name: _said(listed.labels, name, members) for name, members in self._clips.items()}
            return {name: label for name, label in said.items() if label is not None}
        labels = {}
        for name, parts in folders.items():
            inner = [part for part in parts if part.lower() not in SPLITS]
            by_frame = len(self._clips[name]) > 1
            if by_frame and PurePosixPath(name).name == (inner or [""])[-1]:
                inner = inner[:-1]  # the folder is the clip, the one around it the class
            if inner:
                labels[name] = inner[-1]
        return labels if len(set(labels.values())) > 1 else {}

    @property
    def expected(self) -> int:
        return len(self._clips)

    def raw(self) -> Iterator[Raw | Skipped]:
        """Yield position, id and the files of each clip, or why it cannot be read."""
        clip_of_file = {member: name for name, members in self._clips.items() for member in members}
        positions = {name: position for position, name in enumerate(self._clips)}
        parts: dict[str, list[tuple[str, bytes]]] = {}
        failed: dict[str, str] = {}
        left = Counter(clip_of_file.values())
        for member in self._files.members(set(clip_of_file)):
            name = clip_of_file[member.name]
            try:
                parts.setdefault(name, []).append((member.name, member.read(LARGEST_FILE)))
            except InputError as error:
                failed[name] = str(error).removeprefix(f"{member.label}: ")
            left[name] -= 1
            if not left[name]:
                found = parts.pop(name, [])
                if name in failed:
                    yield Skipped(position=positions[name], sample_id=name, reason=failed[name])
                else:
                    yield positions[name], name, found

    def finish(self, raw: Raw | Skipped) -> Sample | Skipped:
        if isinstance(raw, Skipped):
            return raw
        position, name, parts = raw
        try:
            clip = self._decoded(name, parts)
            label = self._label(name)
        except ClipFaultError as error:
            where = PurePosixPath(parts[0][0]).name if len(parts) == 1 else name
            return Skipped(position=position, sample_id=name, reason=f"{where}: {error}")
        return Sample(position, name, label, clip.keypoints, clip.scores, clip.image)

    def _decoded(self, name: str, parts: list[tuple[str, bytes]]) -> Clip:
        if len(parts) == 1:
            return decode(parts[0][0], parts[0][1], self._expected)
        frames = []
        for file, content in sorted(parts, key=lambda part: natural(part[0])):
            try:
                frames.append(frames_of(parsed(content))[0])
            except ClipFaultError as error:
                raise ClipFaultError(f"{PurePosixPath(file).name}: {error}") from None
        return clip_of([frame[0] if frame else [] for frame in frames], name, self._expected)

    def _label(self, name: str) -> int:
        if not self._labelled:
            return 0
        text = self._texts.get(name)
        if text is None:
            raise ClipFaultError(f"no label: {self._lacking}")
        if text not in self._numbers:
            raise ClipFaultError(f"label: found {text!r}, expected one of data.classes")
        number = self._numbers[text]
        return number if _is_integer(text) else number + self._shift


def clip_files(names: Sequence[str]) -> list[str]:
    """Return the files that may hold clips, in the order in which people read their names."""
    found = [
        name
        for name in names
        if PurePosixPath(name).suffix.lower() in SUFFIXES and PurePosixPath(name).name.lower() not in LISTS
    ]
    return sorted(found, key=natural)


def _grouped(files: Files, names: Sequence[str]) -> dict[str, list[str]]:
    """Return clip → its files."""
    if names and all(name.endswith(".json") for name in names) and _is_by_frame(files, names):
        groups: dict[str, list[str]] = {}
        for name in names:
            match = _FRAME.fullmatch(name)
            clip = match[1].rstrip("_-./") if match else name
            groups.setdefault(clip or files.path.stem, []).append(name)
        return _short(groups)
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


def _listed(files: Files) -> LabelList | None:
    names = [name for name in files.names if PurePosixPath(name).name.lower() in LISTS]
    if len(names) > 1:
        raise InputError(f"found {len(names)} lists of labels ({', '.join(names[:3])}), one expected", at=files.path)
    for member in files.members(set(names)):
        try:
            return label_list(member.read(LARGEST_FILE))
        except ClipFaultError as error:
            raise InputError(str(error), at=member.label) from None
    return None


def _said(table: Mapping[str, str], name: str, members: Sequence[str]) -> str | None:
    """Return what a list says of a clip: by its id, by its file, or by the folder of its frames."""
    if name in table:
        return table[name]
    if len(members) == 1:
        return looked_up(table, members[0])
    return next(
        (table[key] for key in (str(PurePosixPath(members[0]).parent), PurePosixPath(name).name) if key in table), None
    )


def _splits(
    listed: LabelList | None, folders: Mapping[str, Sequence[str]], clips: Mapping[str, Sequence[str]]
) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    for name, parts in folders.items():
        split = _said(listed.splits, name, clips[name]) if listed and listed.splits else None
        if split is None and not (listed and listed.splits):
            split = next((part for part in parts if part.lower() in SPLITS), None)
        if split:
            splits.setdefault(split, []).append(name)
    if listed and listed.labels:
        for key, split in listed.splits.items():
            if not any(_said({key: split}, name, members) for name, members in clips.items()):
                splits.setdefault(split, []).append(key)
    return splits


def _is_integer(text: str) -> bool:
    return text.removeprefix("-").isdigit()


def _names(texts: Iterable[str]) -> list[str]:
    found = sorted(set(texts), key=natural)
    return [] if all(map(_is_integer, found)) else found


def _numbers(texts: Iterable[str], classes: Sequence[str]) -> dict[str, int]:
    """Return the number of each label: the number itself, or that of the class with this name."""
    numbers = {name: number for number, name in enumerate(classes)}
    found = set(texts)
    if found and all(map(_is_integer, found)) and not found <= set(classes):
        return {text: int(text) for text in found}
    return {text: numbers[text] for text in found if text in numbers}
