"""Artifacts that meet in a stage must speak of the same joints and classes: the one check of that."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from components.contracts.config import DataConfig
from components.contracts.errors import InputError
from components.contracts.skeleton import load_layout


def expect_same_data(layout: str, classes: Sequence[str], data: DataConfig, *, at: Path) -> None:
    """Check what an artifact says of its data against the configuration.

    Args:
        layout: the artifact's skeleton layout.
        classes: its class names in label order.
        data: what the stage is configured for.
        at: the artifact, which the error names.

    Raises:
        InputError: another layout, another number of classes, or another name; the first that differs is named.
    """
    if layout != data.layout:
        found, expected = _layout_name(layout), _layout_name(data.layout)
        other = " (one of this name with other joints)" if found == expected else ""
        raise InputError(f"layout {found!r} found, {expected!r}{other} expected", at=at)
    if len(classes) != len(data.classes):
        raise InputError(f"{len(classes)} classes found, {len(data.classes)} expected", at=at)
    for label, (found, expected) in enumerate(zip(classes, data.classes, strict=True)):
        if found != expected:
            raise InputError(f"class {label} {found!r} found, {expected!r} expected", at=at)


def _layout_name(layout: str) -> str:
    """Return the name of a layout; the text of a layout of one's own is too long for a line."""
    return load_layout(layout).name if layout.startswith("{") else layout
