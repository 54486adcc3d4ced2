"""A folder, or archive, of clips: a file each, a file for each frame, or one file of several videos.

Labels stand in ``labels.csv`` (see ``label_lists``), else the folder in which a clip lies is its class, else names such
as ``a01_s02_e03`` or NTU's say it. Folders ``train``, ``val`` and ``test`` are splits, as is the list's column
``split``. How files become clips: see ``grouping``.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import PurePosixPath

from components.contracts.config import DataConfig
from components.contracts.dataset import Skipped
from components.contracts.errors import InputError
from components.preprocess.readers.clip import Clip, ClipFaultError, Expected, expectation, natural
from components.preprocess.readers.decode import LARGEST_FILE, decode, parsed
from components.preprocess.readers.estimators import clip_of, frames_of
from components.preprocess.readers.grouping import clip_files, grouped, videos_of
from components.preprocess.readers.label_lists import LISTS, LabelList, label_list, said_by_names
from components.preprocess.readers.members import Files
from components.preprocess.readers.samples import Sample, Source

SPLITS = ("train", "training", "val", "valid", "validation", "test", "testing")
Raw = tuple[int, str, list[tuple[str, bytes]]]


class ClipFolder(Source):
    """An open folder. ``raw`` reads the files, ``finish`` understands them."""

    format = "folder"

    def __init__(self, files: Files, config: DataConfig | None, *, labelled: bool = True) -> None:
        self._files = files
        self._expected: Expected = expectation(config)
        self._shift = config.first_label if config else 0
        names = clip_files(files.names)
        self._videos = videos_of(files, names)
        self._clips = grouped(files, names)
        if self._videos:
            self._clips = {name: [file] for name, (file, _) in self._videos.items()}
        self._labelled = labelled
        self._texts: dict[str, str] = {}
        self.splits, self.subjects, self.classes = {}, {}, []
        self._lacking = "there is no list of labels, nor a folder per class, nor names such as a01_s01_e01"
        if labelled:
            self._take_labels(_listed(files), config)
        self._numbers = _numbers(self._texts.values(), config.classes if config else self.classes)

    def _take_labels(self, listed: LabelList | None, config: DataConfig | None) -> None:
        """Set texts of labels, splits, subjects and, without a configuration, classes."""
        folders = {name: PurePosixPath(members[0]).parent.parts for name, members in self._clips.items()}
        if listed:
            keys = listed.keys_of(self._clips)
            self._lacking = f"the list of labels has no such id (its first is {next(iter(listed.labels), '')!r})"
            self._texts = {name: listed.labels[key] for name, key in keys.items()}
            self.subjects = {name: listed.subjects[key] for name, key in keys.items() if key in listed.subjects}
            self.splits = _listed_splits(listed, keys)
        else:
            self._texts = self._folders_as_labels(folders)
            if not self._texts and (said := said_by_names(self._clips)):
                self._texts, self.subjects = said.labels, said.subjects
        if not listed or not listed.splits:
            self.splits = _splits_of_folders(folders)
        self.classes = [] if config else _names(self._texts.values())

    def _folders_as_labels(self, folders: Mapping[str, Sequence[str]]) -> dict[str, str]:
        labels = {}
        for name, parts in folders.items():
            inner = [part for part in parts if part.lower() not in SPLITS]
            file = PurePosixPath(self._clips[name][0])
            if file.stem != PurePosixPath(name).name == (inner or [""])[-1]:
                inner = inner[:-1]  # the folder is the clip, the one around it the class
            if inner:
                labels[name] = inner[-1]
        return labels if len(set(labels.values())) > 1 else {}

    @property
    def expected(self) -> int:
        return len(self._clips)

    def raw(self) -> Iterator[Raw | Skipped]:
        """Yield position, id and the files of each clip, or why it cannot be read."""
        if self._videos:
            for position, (name, (_, document)) in enumerate(self._videos.items()):
                yield position, name, [(f"{name}.json", json.dumps(document).encode())]
            return
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


def _listed_splits(listed: LabelList, keys: Mapping[str, str]) -> dict[str, list[str]]:
    """Return the splits that a list says, with the ids in it that no clip has."""
    splits: dict[str, list[str]] = {}
    for name, key in keys.items():
        if key in listed.splits:
            splits.setdefault(listed.splits[key], []).append(name)
    found = set(keys.values())
    for key, split in listed.splits.items():
        if key not in found:
            splits.setdefault(split, []).append(key)
    return splits


def _splits_of_folders(folders: Mapping[str, Sequence[str]]) -> dict[str, list[str]]:
    splits: dict[str, list[str]] = {}
    for name, parts in folders.items():
        if split := next((part for part in parts if part.lower() in SPLITS), None):
            splits.setdefault(split, []).append(name)
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
