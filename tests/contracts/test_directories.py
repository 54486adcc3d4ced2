"""Replacing an artifact: no instant without it, nothing lost where the system cannot exchange names, no litter."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import pytest
from made_artifacts import KINDS

from components.contracts import directories as swap
from components.contracts.artifact import digest, staged
from components.contracts.errors import InputError

KIND = KINDS[3]
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
DIE = """
import os, signal, sys
from pathlib import Path
from made_artifacts import KINDS
from components.contracts import directories as swap
def die(*_, **__):
    os.kill(os.getpid(), signal.SIGKILL)
target, moment = Path(sys.argv[1]), sys.argv[2]
if moment == "exchanged":
    original = swap.exchange
    swap.exchange = lambda *names: (original(*names), die())
else:
    swap.exchange = lambda *_: False
    rename = Path.rename
    def renamed(source, to):
        result = rename(source, to)
        if (moment == "moved away" and source == target) or (moment == "replaced" and to == target):
            die()
        return result
    Path.rename = renamed
KINDS[3].write(target, 1)
"""


@pytest.fixture
def digests(tmp_path: Path) -> list[str]:
    """What the two variants of the artifact are known by."""
    for variant in (0, 1):
        KIND.write(tmp_path / "known" / str(variant), variant)
    return [digest(tmp_path / "known" / str(variant)) for variant in (0, 1)]


@pytest.mark.parametrize(
    ("moment", "survivor"), [("exchanged", 1), ("moved away", 0), ("replaced", 1)], ids=lambda value: str(value)
)
def test_killed_within_the_replacement(tmp_path: Path, digests: list[str], moment: str, survivor: int) -> None:
    target = tmp_path / "here" / "target"
    KIND.write(target)
    command = [sys.executable, "-c", DIE, str(target), moment]
    assert subprocess.run(command, env=ENVIRONMENT, check=False).returncode == -signal.SIGKILL
    assert target.exists() == (moment != "moved away")
    KIND.module.open(target)
    assert digest(target) == digests[survivor]
    KIND.write(target, 1 - survivor)
    assert digest(target) == digests[1 - survivor]
    assert [entry.name for entry in target.parent.iterdir()] == ["target"]


@pytest.mark.parametrize("exchanges", [True, False])
def test_the_artifact_has_its_name_all_the_time(
    tmp_path: Path, digests: list[str], exchanges: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A reader beside a writer; where names cannot be exchanged, the reader moves the old one back itself."""
    if not exchanges:
        monkeypatch.setattr(swap, "exchange", lambda *_: False)
    target = tmp_path / "here" / "target"
    KIND.write(target)

    def write() -> None:
        for turn in range(60):
            KIND.write(target, turn % 2)

    writer = threading.Thread(target=write)
    writer.start()
    seen = set()
    while writer.is_alive():
        try:
            seen.add(digest(target))
        except InputError:  # gone between two looks at it, which exchanging rules out
            assert not exchanges
    writer.join()
    assert seen <= set(digests)
    assert digest(target) == digests[1]
    assert [entry.name for entry in target.parent.iterdir()] == ["target"]


def test_a_living_writers_scratch_is_left_alone(tmp_path: Path) -> None:
    with staged(tmp_path / "target") as first:
        (first / "file").write_text("half")
        KIND.write(tmp_path / "target")
        assert (first / "file").read_text() == "half"
        KIND.write(tmp_path / "target.more")
        abandoned = tmp_path / ".target.abcd1234.tmp"
        other = tmp_path / ".target.more.abcd1234.tmp"
        for left in (abandoned, other):
            left.mkdir()
        KIND.write(tmp_path / "target", 1)
        assert not abandoned.exists() and other.exists()
        (first / "manifest.json").write_text("{}")
    assert (tmp_path / "target" / "file").read_text() == "half"
