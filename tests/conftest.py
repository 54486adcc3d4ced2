"""What all tests share: the material outside the repository, and that none leaves anything behind.

Tests that need material which is absent skip, and say so.
"""

from __future__ import annotations

import functools
import inspect
import logging
import os
import shutil
import subprocess
import tempfile
from collections.abc import Generator, Iterator
from pathlib import Path

import leftovers
import pytest
import watchdog
from hypothesis import settings

from components.runtime.logs import LOGGER

ROOT = Path(__file__).resolve().parents[1]
SHARED = ROOT.parent / "shared"
settings.register_profile("no deadline", deadline=None)  # Hypothesis' 200 ms judge the machine, which may be busy
settings.load_profile("no deadline")


def _directory(path: Path, what: str) -> Path:
    if not path.is_dir():
        pytest.skip(f"{what} not found at {path}")
    return path


TEMPORARY = pytest.StashKey[Path]()
WATCHDOG = pytest.StashKey[subprocess.Popen[bytes]]()


def pytest_configure(config: pytest.Config) -> None:
    """Give the session a temporary folder of its own, in which it can be seen what tests leave there."""
    config.option.randomly_reset_seed = False  # pytest-randomly's: the order is random, numbers are each test's own
    if hasattr(config, "workerinput"):  # a process of pytest-xdist; it has the session's folder from its parent
        return
    folder = Path(tempfile.mkdtemp(prefix="sa-"))  # short: names of sockets have at most 107 characters
    os.environ["TMPDIR"], tempfile.tempdir = str(folder), None
    config.stash[TEMPORARY] = folder
    config.stash[WATCHDOG] = watchdog.start(str(folder))


def pytest_unconfigure(config: pytest.Config) -> None:
    """Let the watchdog go."""
    if waiting := config.stash.get(WATCHDOG, None):
        watchdog.end(waiting)


def pytest_make_parametrize_id(val: object, argname: str) -> str | None:
    """Name long texts by their length.

    A test's name is in ``PYTEST_CURRENT_TEST``, which its processes inherit: with one of 128 KiB none can be started.
    """
    return f"{argname} of {len(val)}" if isinstance(val, str | bytes) and len(val) > 200 else None


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that share a fixture of their module in one of pytest-xdist's processes: it is made once."""
    for item in items:
        known = item._fixtureinfo.name2fixturedefs.values() if isinstance(item, pytest.Function) else ()
        shares = any(fixture.scope in ("class", "module") for fixtures in known for fixture in fixtures)
        if shares and not item.get_closest_marker("xdist_group"):
            item.add_marker(pytest.mark.xdist_group(item.path.stem))


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail a session that leaves files in the temporary folder; remove that folder, unless something failed."""
    folder = session.config.stash.get(TEMPORARY, None)
    if folder is None:
        return
    if left := leftovers.files_left(folder):
        print(f"\nleft behind in {folder}: {', '.join(left)}")
        session.exitstatus = session.exitstatus or pytest.ExitCode.TESTS_FAILED
    if session.exitstatus in (pytest.ExitCode.OK, pytest.ExitCode.NO_TESTS_COLLECTED):
        shutil.rmtree(folder, ignore_errors=True)


class _Wider:
    """What fixtures of a wider scope than one test have started, which may go on."""

    started = leftovers.Seen()


@pytest.hookimpl(wrapper=True)
def pytest_fixture_setup(fixturedef: pytest.FixtureDef[object]) -> Generator[None, object, object]:
    """Note what fixtures start that serve more than one test; some are set up in the middle of one."""
    if fixturedef.scope == "function":
        return (yield)
    before = leftovers.Seen.now()
    result = yield
    _Wider.started |= leftovers.Seen.now() - before
    return result


@pytest.fixture(scope="session", autouse=True)
def callers_without_source() -> Iterator[None]:
    """Spare KFP the source of all callers, which it looks up for a name at every setting of a task.

    Below pytest, and beside torch's thousands of modules, that takes seconds for each pipeline that is compiled.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(inspect, "stack", functools.partial(inspect.stack, 0))
        yield


@pytest.fixture(autouse=True)
def nothing_left_running() -> Iterator[None]:
    """Fail a test that leaves threads or processes behind, for they would disturb the ones after it."""
    before = leftovers.Seen.now()
    yield
    if left := leftovers.left_since(before | _Wider.started):
        pytest.fail(f"left behind: {'; '.join(left)}")


@pytest.fixture(autouse=True)
def logging_as_before() -> Iterator[None]:
    """Undo what a command run in this process does to the project's logger: it then hides its lines from others."""
    logger = logging.getLogger(LOGGER)
    handlers, level, propagate = logger.handlers[:], logger.level, logger.propagate
    yield
    logger.handlers[:], logger.level, logger.propagate = handlers, level, propagate


@pytest.fixture(scope="session")
def repository() -> Path:
    """The repository's root."""
    return ROOT


@pytest.fixture(scope="session")
def golden_dir() -> Path:
    """Input/output pairs of the reference implementation (not part of the repository)."""
    return _directory(SHARED / "golden", "golden data of the reference implementation")


@pytest.fixture(scope="session")
def data_dir() -> Path:
    """Real skeleton files (not part of the repository)."""
    return _directory(SHARED / "data", "real skeleton data")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 KiB; skips where none may be mounted."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(folder)]
    try:
        done = subprocess.run(mount, capture_output=True, text=True, check=False)
    except FileNotFoundError:
        pytest.skip("no mount command")
    if done.returncode:
        pytest.skip(f"no file system can be mounted here: {done.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "-l", str(folder)], check=True)
