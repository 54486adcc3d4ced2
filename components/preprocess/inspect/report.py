"""Prints what ``inspection`` found, for people."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable

import numpy as np
from rich.console import Console
from rich.table import Table

from components.contracts.skeleton import load_layout
from components.preprocess.inspect import guess
from components.preprocess.inspect.doubts import Doubt
from components.preprocess.inspect.inspection import Holdings

SHOWN_CLASSES = 30
SHOWN_SPLITS = 6
SHOWN_IDS = 3
LONGEST_TEXT = 300


def show(found: Holdings, name: str, layout: str | None = None) -> None:
    """Print the whole report to stdout; what is doubtful is told for ``layout``, else for the likeliest one."""
    console = Console(soft_wrap=True, highlight=False, markup=False, emoji=False)
    console.print(f"{name}: {found.kind}, {len(found.labels)} samples, {len(set(found.labels.values()))} classes")
    for (joints, channels, scored), count in found.forms.most_common():
        what = f"{joints} joints × {channels} coordinates{' + score' if scored else ''}"
        console.print(f"form: {what} ({count} samples)")
    persons = ", ".join(f"{persons}: {count}" for persons, count in sorted(found.persons.items()))
    console.print(f"persons: {persons or 'none'}")
    if found.frames:
        console.print(f"frames: {_spread(found.frames.values())}, {sum(found.frames.values())} in all")
    _show_layout(found, console)
    _show_splits(found, console)
    _show_classes(found, console)
    _show_faults(found, console)
    _show_copies(found, console)
    _show_doubts(found, layout, console)


def _show_layout(found: Holdings, console: Console) -> None:
    """Print the layouts that have the data's number of joints, and the joint order of the likeliest."""
    if found.form is None:
        return
    names = guess.candidates(found)
    if not names:
        console.print(f"layout: none that ships with us has {found.form[0]} joints; see contracts/layouts/README.md")
        return
    others = f"; {', '.join(names[1:])} have as many joints" if len(names) > 1 else ""
    console.print(f"layout: {names[0]}{others}. Its joint order:")
    order = ", ".join(f"{number} {joint}" for number, joint in enumerate(load_layout(names[0]).joints))
    console.print(f"  {order}")


def _show_doubts(found: Holdings, layout: str | None, console: Console) -> None:
    names = guess.candidates(found)
    layout = layout or (names[0] if names else None)
    told = [Doubt(one["code"], one["severity"], one["text"], one["remedy"]) for one in found.recorded]
    if found.kind != "dataset" and layout and found.labels:
        told = guess.doubts(found, layout)
    for doubt in told:
        style = "bold red" if doubt.severity == "stop" else "yellow"
        console.print(
            f"{'DOUBTFUL' if doubt.severity == 'stop' else doubt.severity} {doubt.code}: {doubt.line()}", style=style
        )
    if found.empty:
        worst = sorted(found.empty, key=lambda name: -found.empty[name] / found.frames[name])
        shown = ", ".join(f"{printable(name)} {found.empty[name]}/{found.frames[name]}" for name in worst[:SHOWN_IDS])
        console.print(
            f"{sum(found.empty.values())} frames of {len(worst)} samples show nobody: {shown}", style="yellow"
        )


def _spread(values: Iterable[int]) -> str:
    least, low, middle, high, most = np.percentile(list(values), [0, 5, 50, 95, 100], method="nearest")
    return f"min {least:g}, 5 % {low:g}, median {middle:g}, 95 % {high:g}, max {most:g}"


def _show_splits(found: Holdings, console: Console) -> None:
    table = Table("split", "ids", "without a sample", "classes", "frames")
    for split, ids in found.splits.items():
        known = [sample_id for sample_id in dict.fromkeys(ids) if sample_id in found.labels]
        frames = sum(found.frames.get(sample_id, 0) for sample_id in known)
        classes = len({found.labels[sample_id] for sample_id in known})
        table.add_row(printable(split), str(len(ids)), str(len(set(ids)) - len(known)), str(classes), str(frames))
    console.print(table)
    named = {sample_id for ids in found.splits.values() for sample_id in ids}
    if outside := len(found.labels.keys() - named):
        console.print(f"{outside} samples are in no split", style="yellow")


def _show_classes(found: Holdings, console: Console) -> None:
    counts = Counter(found.labels.values())
    if not counts:
        return
    console.print(f"samples per class: {_spread(counts.values())}")
    if len(counts) > SHOWN_CLASSES:
        return
    shown = found.splits if len(found.splits) <= SHOWN_SPLITS else {}
    table = Table("class", "samples", *map(printable, shown))
    per_split = [Counter(found.labels[i] for i in ids if i in found.labels) for ids in shown.values()]
    for label, count in sorted(counts.items()):
        title = f"{label} {found.classes[label]}" if label < len(found.classes) else str(label)
        table.add_row(title, str(count), *(str(of_split[label]) for of_split in per_split))
    console.print(table)


def _show_faults(found: Holdings, console: Console) -> None:
    if not found.faults and not found.repeated:
        console.print("no sample is all zero, NaN or otherwise faulty")
    for reason, ids in sorted(found.faults.items(), key=lambda item: -len(item[1])):
        console.print(f"{len(ids)} samples: {printable(reason)} ({_some(ids)})", style="yellow")
    if found.repeated:
        console.print(f"{len(found.repeated)} ids stand more than once ({_some(found.repeated)})", style="yellow")


def _show_copies(found: Holdings, console: Console) -> None:
    copies = found.copies()
    if copies:
        console.print(f"{sum(map(len, copies))} samples are byte-equal to another one, in {len(copies)} groups")
    for train, test in found.pairs:
        twins = found.twins(train, test)
        sides = f"{printable(train)} → {printable(test)}"
        if not twins:
            console.print(f"{sides}: no test sample is byte-equal to a training sample")
            continue
        labels = Counter(found.labels[sample_id] for _, sample_id in twins)
        classes = ", ".join(f"class {label}: {count}" for label, count in sorted(labels.items()))
        console.print(
            f"LEAK {sides}: {len(twins)} of {len(found.splits[test])} test samples are byte-equal to training "
            f"samples ({classes}), such as {_some([twins[0][1]])} = {_some([twins[0][0]])}",
            style="bold red",
        )


def printable(text: str) -> str:
    """Return text from an input as it may go to a terminal: control characters escaped, not too long."""
    text = text if len(text) <= LONGEST_TEXT else f"{text[:LONGEST_TEXT]}…"
    return text if text.isprintable() else ascii(text)


def _some(ids: list[str]) -> str:
    return ", ".join(map(printable, ids[:SHOWN_IDS])) + (", …" if len(ids) > SHOWN_IDS else "")
