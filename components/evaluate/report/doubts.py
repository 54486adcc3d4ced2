"""What is doubtful about the data, in words; the same on the page and in the terminal."""

from __future__ import annotations

from components.contracts.metrics import Data, Doubt, Lost
from components.evaluate.wording import counted, percent

_CHECKED = ("leak", "class-without-training", "class-without-test")
"""Said of every protocol of the data; what holds of the run's own, ``measures.checks`` finds."""
_SAID = {"stop": "Meaningless data", "accepted": "Doubtful data, accepted by data.accept", "warning": "Data"}


def grave(data: Data) -> list[Doubt]:
    """Return the doubts about this run's data that are more than notes, the gravest first."""
    found = [doubt for doubt in data.doubts or [] if doubt.severity != "note"]
    return [doubt for doubt in found if doubt.severity != "warning" or doubt.code not in _CHECKED]


def accepted(data: Data) -> bool:
    """Whether results would be meaningless, had not somebody said that this is known."""
    return any(doubt.severity in ("stop", "accepted") for doubt in data.doubts or [])


def in_one_line(data: Data) -> str:
    """Return the gravest doubt, and which others there are; empty if there are notes at most."""
    found = grave(data)
    if not found:
        return ""
    others = f" Also: {', '.join(doubt.code for doubt in found[1:])}." if found[1:] else ""
    return f"{_SAID[found[0].severity]}: {found[0].text}.{others}"


def lost_in_words(lost: Lost) -> str:
    """Return how much of the data shows nobody, was left out or was filled in."""
    if not (lost.empty or lost.dropped or lost.filled):
        return f"Nothing was lost of {counted(lost.frames, 'frame')}."
    shown = [(lost.empty, "show nobody"), (lost.dropped, "were left out")]
    parts = [f"{counted(count, 'frame')} ({percent(count / lost.frames)}) {what}" for count, what in shown if count]
    if lost.filled:
        parts.append(f"{counted(lost.filled, 'position')} of joints were interpolated")
    return f"Of {counted(lost.frames, 'frame')}: {', '.join(parts)}; in {counted(lost.samples, 'sample')}."
