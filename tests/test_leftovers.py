"""The fixtures that fail a test which leaves something behind do see it."""

from __future__ import annotations

import subprocess
import sys
import threading
from pathlib import Path

import leftovers
import pytest


@pytest.fixture(autouse=True)
def at_once(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "GRACE_S", 0.0)


def test_a_thread_is_seen_until_it_ends() -> None:
    before, over = leftovers.Seen.now(), threading.Event()
    thread = threading.Thread(target=over.wait, name="forgotten", daemon=True)
    thread.start()
    assert leftovers.left_since(before) == ["thread forgotten"]
    over.set()
    thread.join()
    assert leftovers.left_since(before) == []


@pytest.mark.parametrize("lists", [True, False])
def test_a_process_is_seen_until_it_ends(lists: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(leftovers, "LISTS", lists and leftovers.LISTS)
    before = leftovers.Seen.now()
    with subprocess.Popen([sys.executable, "-c", "input('forgotten')"], stdin=subprocess.PIPE, stdout=-3) as process:
        (left,) = leftovers.left_since(before)
        assert left.startswith("process ") and "forgotten" in left
        process.communicate(b"\n")
    assert leftovers.left_since(before) == []


def test_files_are_seen_but_pytests_own(tmp_path: Path) -> None:
    (tmp_path / "pytest-of-somebody").mkdir()
    (tmp_path / "kfp-workspace-abc").mkdir()
    assert leftovers.files_left(tmp_path) == ["kfp-workspace-abc"]
