"""Splits that the input lacks, made of the samples' ids, labels and subjects, or of other splits."""

from __future__ import annotations

import hashlib
import math
import re
from collections.abc import Iterable, Mapping, Sequence

from components.contracts.config import DataConfig
from components.contracts.data_config import MadeSplit
from components.contracts.errors import InputError

Splits = dict[str, list[str]]


def made_names(splits: Iterable[str]) -> list[str]:
    """Return the names of the splits that the configuration makes."""
    return [f"{name}_{part}" for name in splits for part in ("train", "val")]


def made_splits(
    config: DataConfig,
    given: Splits,
    labels: Mapping[str, int],
    subjects: Mapping[str, str],
    fingerprints: Mapping[str, bytes],
) -> Splits:
    """Make the splits of a configuration.

    Args:
        config: its ``splits`` say how.
        given: the splits of the input.
        labels: sample id → label, of all samples that are packed.
        subjects: sample id → subject, as far as the input says it.
        fingerprints: sample id → digest of its coordinates, of all samples that are packed.

    Raises:
        InputError: by subject, and an id has none.
    """
    made: Splits = {}
    for name, how in config.splits.items():
        if how.by != "leaks":
            chosen = _by_subject(how, list(labels), subjects, name) if how.by == "subject" else _at_random(how, labels)
            made[f"{name}_train"] = [sample_id for sample_id in labels if sample_id not in chosen]
            made[f"{name}_val"] = [sample_id for sample_id in labels if sample_id in chosen]
    there = {**given, **made}
    for name, how in config.splits.items():
        if how.of is not None:
            train, test = (there[split] for split in how.of)
            made[f"{name}_train"], made[f"{name}_val"] = train, without_leaks(train, test, fingerprints)
    return made


def without_leaks(train: Sequence[str], test: Sequence[str], fingerprints: Mapping[str, bytes]) -> list[str]:
    """Return the test samples that are not byte-equal to a training sample; one that is not packed leaks nothing."""
    known = {fingerprints[sample_id] for sample_id in train if sample_id in fingerprints}
    return [sample_id for sample_id in test if fingerprints.get(sample_id) not in known]


def subject_of(pattern: str, sample_id: str) -> str | None:
    """Return the subject that a regular expression finds in an id."""
    found = re.search(pattern, sample_id)
    return found[1] if found else None


def _by_subject(how: MadeSplit, ids: Sequence[str], subjects: Mapping[str, str], name: str) -> set[str]:
    test = set()
    for sample_id in ids:
        subject = subject_of(how.subject, sample_id) if how.subject else subjects.get(sample_id)
        if subject is None:
            source = f"expression {how.subject!r}" if how.subject else "list of labels"
            raise InputError(f"no subject found in id {sample_id!r} by the {source}", at=f"data.splits.{name}")
        if subject in how.test:
            test.add(sample_id)
    return test


def _at_random(how: MadeSplit, labels: Mapping[str, int]) -> set[str]:
    """Return the samples of each class whose digests with the seed are smallest: order and others do not matter."""
    by_class: dict[int, list[tuple[bytes, str]]] = {}
    for sample_id, label in labels.items():
        draw = hashlib.sha256(f"{how.seed}:{sample_id}".encode()).digest()
        by_class.setdefault(label, []).append((draw, sample_id))
    test: set[str] = set()
    for drawn in by_class.values():
        number = min(math.ceil(how.test_share * len(drawn)), len(drawn) - 1)
        test.update(sample_id for _, sample_id in sorted(drawn)[:number])
    return test
