"""A killed training is started again in its pod, a mistake is not; ``training/test_kills.py`` has a real training."""

from __future__ import annotations

import faulthandler
import logging
import os
import signal
import sys
import tempfile
from collections.abc import Callable
from pathlib import Path

import pytest

from components.contracts.errors import DamagedError, ResourceError
from components.train.distributed.restarts import KilledError, in_child, restarted


def counting(file: Path, then: Callable[[int], None]) -> Callable[[], None]:
    """What a child does: it notes that it was started, and goes on with how often anyone was."""

    def body() -> None:
        with file.open("a") as stream:
            stream.write("x")
        then(file.stat().st_size)

    return body


def kill_itself(number: int = signal.SIGKILL) -> None:
    faulthandler.disable()  # pytest's would print a traceback
    Path(tempfile.gettempdir(), "left").write_text("of the killed one")
    os.kill(os.getpid(), number)


@pytest.fixture
def lines(monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture) -> pytest.LogCaptureFixture:
    monkeypatch.setattr(logging.getLogger("skeletonagent"), "propagate", True)
    return caplog


def test_killed_twice_the_third_gets_through(
    tmp_path: Path, lines: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))  # its own: other tests kill at the same time
    starts = tmp_path / "starts"
    restarted(lambda: in_child(counting(starts, lambda count: kill_itself() if count < 3 else None)))
    assert starts.read_text() == "xxx"
    said = [record.getMessage() for record in lines.records]
    assert len(said) == 2 and all("started again from the last epoch saved" in line for line in said)
    assert [entry.name for entry in tmp_path.iterdir()] == ["starts"], "what the killed ones left"


def test_killed_every_time_ends_in_one_line(tmp_path: Path) -> None:
    starts = tmp_path / "starts"
    with pytest.raises(ResourceError, match="killed 3 times, the last time by SIGSEGV; it may lack memory"):
        restarted(lambda: in_child(counting(starts, lambda _: kill_itself(signal.SIGSEGV))))
    assert starts.read_text() == "xxx"


def test_mistakes_are_handed_on_and_not_tried_again(tmp_path: Path) -> None:
    starts = tmp_path / "starts"

    def damaged(_: int) -> None:
        raise DamagedError("4 bytes found, 8 expected", at="/data/model.safetensors")

    with pytest.raises(DamagedError) as error:
        restarted(lambda: in_child(counting(starts, damaged)))
    assert (error.value.what, error.value.at) == ("4 bytes found, 8 expected", "/data/model.safetensors")
    assert starts.read_text() == "x"


def test_other_ends_are_handed_on_and_not_tried_again(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    for number, (body, status) in enumerate(
        ((lambda _: sys.exit(75), 75), (lambda _: kill_itself(signal.SIGTERM), 128 + signal.SIGTERM))
    ):
        starts = tmp_path / str(number)
        with pytest.raises(SystemExit) as end:
            restarted(lambda starts=starts, body=body: in_child(counting(starts, body)))
        assert end.value.code == status and starts.read_text() == "x"
    with pytest.raises(RuntimeError, match=r"training ended by ZeroDivisionError: division by zero"):
        in_child(lambda: print(1 / 0))
    assert "ZeroDivisionError" in capfd.readouterr().err, "the traceback of a defect is printed"


def test_one_that_is_killed_says_so() -> None:
    with pytest.raises(KilledError, match="SIGKILL"):
        in_child(kill_itself)
