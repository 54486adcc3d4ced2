"""The runs below a root, as ``python -m pipelines runs`` lists them, and what deleting one takes away."""

from __future__ import annotations

import os
import shutil
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console
from rich.table import Table

from components.contracts.errors import InputError
from pipelines.local.eta import words
from pipelines.local.folders import ARTIFACTS, CACHE, RECORD, Record, Uses, locked, read_record


@dataclass(frozen=True)
class Run:
    """A run that has a record; ``own``: what of the shared artifacts and of the cache no other run uses."""

    home: Path
    record: Record
    own: Uses
    state: str

    @property
    def size(self) -> int:
        """Bytes that deleting it sets free."""
        artifacts = self.home.parent / ARTIFACTS
        return _size([self.home, *(artifacts / path for path in self.own.artifacts)])


def runs(root: Path) -> list[Run]:
    """Return the runs below a root, the oldest first."""
    records = {file.parent: read_record(file.parent) for file in sorted(root.glob(f"*/{RECORD}"))}
    uses = {home: Uses.read(home) for home in records}
    found = []
    for home, record in records.items():
        if record is None:
            continue
        others = [other for place, other in uses.items() if place != home]
        own = Uses(
            keys=uses[home].keys.difference(*(other.keys for other in others)),
            artifacts=uses[home].artifacts.difference(*(other.artifacts for other in others)),
        )
        found.append(Run(home, record, own, _state(home, record)))
    return sorted(found, key=lambda run: run.record.started)


def _state(home: Path, record: Record) -> str:
    if record.state != "running":
        return record.state
    with locked(home) as alone:
        return "interrupted" if alone else "running"


def show(root: Path, console: Console) -> None:
    """Print a line for each run: accuracy, when, how long, the disk that is its own, and what was set."""
    table = Table(box=None, pad_edge=False)
    for name in ("run", "top-1", "started", "took", "disk", "state", "settings"):
        table.add_column(name, justify="right" if name in ("top-1", "took", "disk") else "left", overflow="fold")
    for run in runs(root):
        record = run.record
        table.add_row(
            run.home.name,
            "" if record.top1 is None else f"{record.top1:.1%}",
            record.started.astimezone().strftime("%Y-%m-%d %H:%M"),
            words(record.seconds) if record.seconds else "",
            f"{run.size / 1e6:.1f} MB",
            run.state,
            " ".join(f"{key}={value}" for key, value in record.settings.items()),
        )
    console.print(table if table.row_count else f"no runs in {root}", highlight=False, markup=False)


def delete(root: Path, name: str) -> int:
    """Delete a run with the artifacts and cache entries that only it uses; return the bytes that were set free.

    What an LLM has answered stays: it was paid for, and every run may use it.

    Raises:
        InputError: there is no such run, or it is in progress.
    """
    known = {run.home.name: run for run in runs(root)}
    if name not in known:
        raise InputError(f"no run {name!r} in {root}; found {', '.join(known) or 'none'}")
    run = known[name]
    with locked(run.home) as alone:
        if not alone:
            raise InputError(f"run {name!r} is in progress")
        size, artifacts = run.size, root / ARTIFACTS
        for path in sorted(run.own.artifacts):
            shutil.rmtree(artifacts / path, ignore_errors=True)
            (artifacts / path).unlink(missing_ok=True)
            _remove_empty((artifacts / path).parent, artifacts)
        for key in run.own.keys:
            (root / CACHE / f"{key}.json").unlink(missing_ok=True)
        shutil.rmtree(run.home)
    return size


def _remove_empty(folder: Path, above: Path) -> None:
    """Remove a task's folder, and then its pipeline's, once nothing but KFP's notes are left in them."""
    while folder != above and folder.is_dir():
        left = [path for path in folder.iterdir() if path.name != "executor_output.json"]
        if left:
            return
        parent = folder.parent
        shutil.rmtree(folder)
        folder = parent


def _size(paths: Iterable[Path]) -> int:
    """Return the bytes of all files below; one of several names, as in a model, counts once, and only if all go."""
    names: Counter[tuple[int, int]] = Counter()
    found: dict[tuple[int, int], os.stat_result] = {}
    for path in paths:
        for file in [path] if path.is_file() else path.rglob("*"):
            if file.is_file() and not file.is_symlink():
                about = file.stat()
                names[about.st_dev, about.st_ino] += 1
                found[about.st_dev, about.st_ino] = about
    return sum(about.st_size for key, about in found.items() if names[key] >= about.st_nlink)
