"""Killed, out of disk or without permission, the stage leaves a whole data set, or nothing, or the old one."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import pytest
from pickles import annotation, config, content, dump, keypoints

from components.contracts import dataset
from components.contracts.artifact import digest
from components.contracts.errors import InputError, ResourceError
from components.preprocess.core import preprocess

START = """
import os, resource, signal, sys
from pathlib import Path
from pickles import config
from components.contracts import artifact, dataset
from components.contracts.errors import SkeletonAgentError
from components.preprocess.core import preprocess

source, output = Path(sys.argv[1]), Path(sys.argv[2])

def run():
    try:
        preprocess(source, config(), output)
    except SkeletonAgentError as error:
        print(error)
        sys.exit(error.exit_status)
"""
LOOP = "print('ready', flush=True)\nwhile True:\n    run()\n"
LARGE_FILES = "resource.setrlimit(resource.RLIMIT_FSIZE, (int(sys.argv[3]), int(sys.argv[3])))\nrun()\n"
NOBODY = "preprocess(source, config(), Path(sys.argv[3]))\nos.setgid(65534)\nos.setuid(65534)\nrun()\n"
"""The first run imports all that is needed: nobody may not read it."""
ENVIRONMENT = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}


def command(program: str, *arguments: object) -> list[str]:
    return [sys.executable, "-c", START + program, *map(str, arguments)]


def run(program: str, *arguments: object) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        command(program, *arguments), env=ENVIRONMENT, capture_output=True, text=True, check=False, timeout=60
    )


def source_of(folder: Path, samples: int = 60) -> Path:
    more = [annotation(f"more {number}", points=keypoints(number, frames=40)) for number in range(samples)]
    return dump(folder / "in.pkl", content(*more))


def bytes_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


@pytest.fixture
def whole(tmp_path: Path) -> dict[str, bytes]:
    """The files of an undisturbed run on ``tmp_path / "in.pkl"``."""
    preprocess(source_of(tmp_path), config(), tmp_path / "undisturbed")
    return bytes_of(tmp_path / "undisturbed")


@pytest.mark.parametrize("seed", range(2))
def test_killed_at_random_moments_a_new_run_gives_the_same_bytes(
    tmp_path: Path, whole: dict[str, bytes], seed: int
) -> None:
    """Each kill hits some moment of a run: reading, packing, sealing, or replacing the data set of the run before."""
    moments, output = random.Random(seed), tmp_path / "out"
    for _ in range(3):
        with subprocess.Popen(
            command(LOOP, tmp_path / "in.pkl", output), env=ENVIRONMENT, stdout=subprocess.PIPE
        ) as process:
            assert process.stdout is not None and process.stdout.readline()
            time.sleep(moments.uniform(0.0, 0.12))
            process.kill()
        if output.exists():
            dataset.open(output)
            assert bytes_of(output) == whole
    preprocess(tmp_path / "in.pkl", config(), output)
    assert bytes_of(output) == whole


@pytest.mark.parametrize("old", [False, True], ids=["nothing there", "an older data set there"])
@pytest.mark.parametrize(
    ("owner", "step"),
    [
        ("dataset.Writer", "splits"),
        ("dataset", "write_npz"),
        ("dataset", "seal"),
        ("artifact", "_replace_directory"),
    ],
)
def test_killed_before_a_step(tmp_path: Path, whole: dict[str, bytes], owner: str, step: str, old: bool) -> None:
    output = tmp_path / "out"
    if old:
        other = dump(tmp_path / "other.pkl", content())
        preprocess(other, config(), output)
    before = digest(output) if old else None
    killing = f"{owner}.{step} = lambda *_, **__: os.kill(os.getpid(), signal.SIGKILL)\nrun()\n"
    assert run(killing, tmp_path / "in.pkl", output).returncode == -signal.SIGKILL
    assert (digest(output) if output.exists() else None) == before
    for left in tmp_path.glob(".out.*"):
        if not (left / "manifest.json").exists():  # sealed, yet under a name that nobody asks for
            with pytest.raises(InputError):
                dataset.open(left)
    preprocess(tmp_path / "in.pkl", config(), output)
    assert bytes_of(output) == whole


def test_a_file_that_must_not_grow(tmp_path: Path, whole: dict[str, bytes]) -> None:
    """A file-size limit fails the write as a full disk does: in the keypoints, and in what is written after them."""
    largest = len(whole["keypoints.npy"])
    for limit in (0, largest // 2, largest - 1):
        done = run(LARGE_FILES, tmp_path / "in.pkl", tmp_path / "out", limit)
        assert (done.returncode, done.stderr) == (ResourceError.exit_status, "")
        assert done.stdout == f"{tmp_path / 'out'}: cannot be written: File too large\n"
        assert {file.name for file in tmp_path.iterdir()} == {"in.pkl", "undisturbed"}
    assert run(LARGE_FILES, tmp_path / "in.pkl", tmp_path / "out", largest).returncode == 0
    assert bytes_of(tmp_path / "out") == whole


def test_a_full_disk_is_one_line_and_leaves_nothing(tmp_path: Path, whole: dict[str, bytes], small_disk: Path) -> None:
    with pytest.raises(ResourceError, match=r"out: cannot be written: No space left on device$"):
        preprocess(tmp_path / "in.pkl", config(), small_disk / "out")
    assert list(small_disk.iterdir()) == []


def test_a_full_disk_keeps_the_old_data_set(tmp_path: Path, whole: dict[str, bytes], small_disk: Path) -> None:
    preprocess(dump(tmp_path / "other.pkl", content()), config(), small_disk / "out")
    before = bytes_of(small_disk / "out")
    with pytest.raises(ResourceError, match="No space left on device"):
        preprocess(tmp_path / "in.pkl", config(), small_disk / "out")
    assert bytes_of(small_disk / "out") == before and [file.name for file in small_disk.iterdir()] == ["out"]


@pytest.mark.skipif(os.geteuid() != 0, reason="only root can become nobody")
def test_missing_permissions_are_one_line_and_leave_nothing(tmp_path: Path, whole: dict[str, bytes]) -> None:
    for folder in (tmp_path, *tmp_path.parents):
        folder.chmod(0o755)
        if folder == Path(tempfile.gettempdir()):  # the session's own
            break
    arguments = tmp_path / "in.pkl", tmp_path / "out", tmp_path / "undisturbed"
    done = run(NOBODY, *arguments)
    assert (done.returncode, done.stderr) == (2, "")
    assert done.stdout == f"{tmp_path / 'out'}: cannot be written: Permission denied\n"
    (tmp_path / "in.pkl").chmod(0o600)
    done = run(NOBODY, *arguments)
    assert (done.returncode, done.stderr) == (2, "") and done.stdout.count("\n") == 1
    assert done.stdout == f"{tmp_path / 'in.pkl'}: cannot be read: Permission denied\n"
    assert {file.name for file in tmp_path.iterdir()} == {"in.pkl", "undisturbed"}
