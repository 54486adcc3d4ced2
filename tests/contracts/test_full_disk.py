"""A disk that is full: one line that names the artifact, and nothing half written."""

from __future__ import annotations

from pathlib import Path

import pytest
from made_artifacts import KINDS, Kind

from components.contracts.errors import ResourceError


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
@pytest.mark.parametrize("left", [0, 4096, 8192])
def test_a_full_disk_is_one_line_and_leaves_nothing(small_disk: Path, kind: Kind, left: int) -> None:
    """With ``left`` bytes free, the first file does not fit, or a later one."""
    fill(small_disk / "filler", left)
    with pytest.raises(ResourceError) as refused:
        for variant in range(4):
            kind.write(small_disk / f"artifact{variant}", variant)
    assert "cannot be written: " in str(refused.value) and "\n" not in str(refused.value)
    for entry in small_disk.iterdir():
        assert entry.name == "filler" or kind.module.verify(entry)


def fill(file: Path, left: int) -> None:
    content = b"0" * (64 * 1024)
    while True:
        try:
            file.write_bytes(content[: len(content) - left])
            return
        except OSError:
            left += 4096
