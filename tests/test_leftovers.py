"""The fixtures that fail a test which leaves something behind do see it."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from pathlib import Path

import leftovers
import pytest
import watchdog


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


SESSION = """
import subprocess, sys
sys.path.insert(0, sys.argv[2])
import watchdog
process = watchdog.start(sys.argv[1])
subprocess.Popen(["sleep", "600"])
print("started", flush=True)
sys.stdin.read()
watchdog.end(process)
"""


@pytest.mark.parametrize("killed", [True, False])
def test_what_a_killed_session_has_started_ends(tmp_path: Path, killed: bool) -> None:
    folder = tmp_path / "session"
    folder.mkdir()
    command = [sys.executable, "-c", SESSION, str(folder), str(Path(watchdog.__file__).parent)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as session:
        assert session.stdout is not None and session.stdin is not None
        assert session.stdout.readline() == b"started\n"
        if killed:
            session.kill()
            session.stdout.read()  # the others have it too, so this waits for the end of the last
            assert not folder.exists() and watchdog.of_session(str(folder)) == []
        else:
            session.stdin.close()
            session.wait()
            (sleeping,) = watchdog.of_session(str(folder))
            assert folder.exists()
            os.kill(sleeping.pid, signal.SIGKILL)
