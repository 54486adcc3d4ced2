"""Do labels fit the classes, and does every class keep samples?"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Mapping

from components.contracts.config import DataConfig
from components.preprocess.inspect.doubts import Doubt, Severity

NOTICEABLE = 0.02
"""Share of the samples."""
FEWEST = 3
SHOWN = 5


def label_doubts(labels: Counter[int], config: DataConfig) -> list[Doubt]:
    """Return what is doubtful about labels, which count from 0 once ``first_label`` is subtracted."""
    classes, total = len(config.classes), labels.total()
    outside = sum(count for label, count in labels.items() if not 0 <= label < classes)
    if not outside:
        return []
    first = config.first_label
    low, high = min(labels) + first, max(labels) + first
    found = f"labels {low} to {high} found, {first} to {classes - 1 + first} expected for {classes} classes"
    if min(labels) == 1 and max(labels) == classes:
        text = f"labels count from {low}: {found}; every name would be shifted by one and the last class be lost"
        return [Doubt("labels-from-1", "stop", text, f"set data.first_label: {first + 1}")]
    text = f"{outside} of {total} samples have labels outside of the classes: {found}"
    grave = outside >= FEWEST and outside >= NOTICEABLE * total
    return [Doubt("labels-outside", "stop" if grave else "warning", text, "name every class in data.classes")]


def class_doubts(labels: Mapping[str, int], splits: Mapping[str, Iterable[str]], config: DataConfig) -> list[Doubt]:
    """Return the classes that keep no sample in a split of the protocols; ``labels``: those of the packed samples."""
    doubts = []
    for name, protocol in config.protocols.items():
        for split, code in ((protocol.train, "class-without-training"), (protocol.test, "class-without-test")):
            there = {labels[sample_id] for sample_id in splits[split] if sample_id in labels}
            lacking = [title for number, title in enumerate(config.classes) if number not in there]
            if not lacking or not there:
                continue
            shown = ", ".join(lacking[:SHOWN]) + (", …" if len(lacking) > SHOWN else "")
            text = f"{len(lacking)} of {len(config.classes)} classes have no sample in split {split!r}: {shown}"
            without_training = code == "class-without-training"
            chosen = name == config.protocol
            severity: Severity = "warning" if chosen != without_training else "stop" if chosen else "note"
            remedy = "take them out of data.classes, or mend labels and splits"
            tested = {labels[sample_id] for sample_id in splits[protocol.test] if sample_id in labels} - there
            if tested and without_training:
                others = ", ".join(config.classes[number] for number in sorted(tested)[:SHOWN])
                text += f"; {len(tested)} of them are in {protocol.test!r} alone, and cannot be recognised: {others}"
            doubts.append(Doubt(code, severity, text, remedy))  # type: ignore[arg-type]
    return doubts
