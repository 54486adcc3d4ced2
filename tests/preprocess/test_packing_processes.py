"""Samples packed by several processes: the same bytes, nobody left behind, a killed one is one line."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from pickles import annotation, config, content, dump, keypoints
from raw_recordings import standing, text, tracked, write

from components.contracts.config import DataConfig
from components.contracts.errors import InputError, ResourceError
from components.preprocess.core import preprocess
from components.preprocess.packing import CHUNK, prepared
from components.preprocess.readers.pyskl import AnnotationPickle
from components.preprocess.readers.samples import Sample

NTU = {
    "layout": "ntu25",
    "classes": [f"class {number}" for number in range(60)],
    "max_persons": 2,
    "normalisation": "body",
    "protocols": {"xsub": {"train": "xsub_train", "test": "xsub_val"}},
    "protocol": "xsub",
    "accept": ["class-without-training", "joint-order"],
}


def files_of(folder: Path) -> dict[str, bytes]:
    return {file.name: file.read_bytes() for file in folder.iterdir()}


def pickled(folder: Path) -> tuple[Path, DataConfig]:
    """Samples of many lengths, some of them faulty, one of them twice."""
    lengths = np.random.default_rng(0).integers(1, 60, 3 * CHUNK + 5).tolist()
    more = [annotation(f"n{number}", points=keypoints(number, frames=frames)) for number, frames in enumerate(lengths)]
    more[7]["keypoint"] = more[7]["keypoint"] * np.nan
    more[50]["label"] = 9
    more.append(annotation("n3"))
    return dump(folder / "in.pkl", content(*more), 2), config()


def recorded(folder: Path) -> tuple[Path, DataConfig]:
    """Raw recordings of one and two bodies, one of them damaged."""
    files: dict[str, str | bytes] = {}
    for number in range(CHUNK + 3):
        bodies = [(str(body), 0, standing(number + body, 20)) for body in range(1 + number % 2)]
        files[f"S001C001P{number % 3 + 1:03d}R001A{number + 1:03d}.skeleton"] = text(tracked(*bodies, frames=20))
    files["S001C001P001R001A050.skeleton"] = "1\n2\n"
    return write(folder / "raw", files), DataConfig.model_validate(NTU)


@pytest.mark.parametrize("made", [pickled, recorded])
def test_the_number_of_processes_changes_no_byte(tmp_path: Path, made: Any) -> None:
    source, settings = made(tmp_path)
    for processes in (1, 2, 5):
        preprocess(source, settings, tmp_path / str(processes), processes=processes)
    assert files_of(tmp_path / "1") == files_of(tmp_path / "2") == files_of(tmp_path / "5")
    assert b"reason" in files_of(tmp_path / "5")["skipped.jsonl"]


def test_a_refusal_in_mid_input_is_the_same_line(tmp_path: Path) -> None:
    source, settings = pickled(tmp_path)
    source.write_bytes(source.read_bytes()[:-100])
    for processes in (1, 3):
        with pytest.raises(InputError, match="cut off"):
            preprocess(source, settings, tmp_path / "out", processes=processes)
        assert {file.name for file in tmp_path.iterdir()} == {"in.pkl"}


class Deadly(AnnotationPickle):
    """Kills the process that finishes the sample called "deadly"."""

    def finish(self, raw: Any) -> Any:
        if isinstance(raw, Sample) and raw.sample_id == "deadly":
            os.kill(os.getpid(), signal.SIGKILL)
        return raw


def test_a_killed_process_is_one_clear_line() -> None:
    records = [annotation("a"), annotation("deadly"), annotation("b")]
    with pytest.raises(ResourceError, match="was killed: is there enough memory"):
        list(prepared(Deadly(records, {}), config(), processes=2))


ENDLESS = """
import itertools, os, sys
from pickles import annotation, config
from components.preprocess.readers.pyskl import AnnotationPickle
from components.preprocess.packing import prepared

class Endless(AnnotationPickle):
    expected = 0
    def raw(self):
        for number in itertools.count():
            yield from AnnotationPickle([annotation(str(number))], {}).raw()

for number, _ in enumerate(prepared(Endless([], {}), config(), processes=2)):
    if number == 100:
        print(os.getpid(), flush=True)
"""


def children(parent: int) -> Iterator[int]:
    for folder in Path("/proc").glob("[0-9]*"):
        try:
            if int((folder / "stat").read_text().rpartition(")")[2].split()[1]) == parent:
                yield int(folder.name)
        except (FileNotFoundError, ProcessLookupError):
            continue


@pytest.mark.skipif(sys.platform != "linux", reason="several processes are used on Linux only")
def test_processes_end_with_the_one_that_started_them() -> None:
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *sys.path])}
    command = [sys.executable, "-c", ENDLESS]
    with subprocess.Popen(command, env=environment, stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None and int(process.stdout.readline()) == process.pid
        workers = list(children(process.pid))
        process.kill()
    assert len(workers) == 2
    deadline = time.monotonic() + 20
    while any(Path(f"/proc/{worker}").exists() for worker in workers) and time.monotonic() < deadline:
        time.sleep(0.02)
    assert not [worker for worker in workers if Path(f"/proc/{worker}").exists()]
