"""The folder of a run: which one it is, that one process has it, and what is written there about the run.

``runs/<name>/`` belongs to the first experiment of that name. Another one under the same name (other streams, other
settings, other data, an edited file) gets ``runs/<name>-2/``, the next ``-3``: no run takes the place of a report. The
same experiment again returns to its own folder. A folder without a report is free for the next of its name.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
from collections.abc import Iterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal, TextIO

from kfp import dsl
from kfp.local.cache import LocalCache
from pydantic import BaseModel, Field, ValidationError

from components.contracts.errors import InputError

ARTIFACTS, CACHE, DOWNLOADS, LLM, TEMPORARY = "artifacts", "cache", "downloads", "llm", "tmp"
RESERVED = (ARTIFACTS, CACHE, DOWNLOADS, LLM, "agent", "containers", "bucket")
"""What lies beside the runs' folders."""
REPORT, RECORD, USES, MODEL = "report.html", "run.json", "uses.jsonl", "model"


class Record(BaseModel):
    """What ``run.json`` says of a run. ``identity``: digest of experiment and data; ``seconds``: of all attempts."""

    experiment: str
    identity: str
    data: str
    config: str
    settings: dict[str, Any] = {}
    started: datetime = Field(default_factory=lambda: datetime.now(UTC).replace(microsecond=0))
    seconds: float = 0.0
    state: Literal["running", "finished", "failed"] = "running"
    error: str = ""
    top1: float | None = None

    def write(self, home: Path) -> None:
        """Write it into the run's folder, whole or not at all."""
        part = home / f".{RECORD}.part"
        part.write_text(self.model_dump_json(indent=2) + "\n", encoding="utf-8")
        part.replace(home / RECORD)


def read_record(home: Path) -> Record | None:
    """Return the record of a folder; None where there is none that can be read."""
    try:
        return Record.model_validate_json((home / RECORD).read_bytes())
    except (OSError, ValidationError):
        return None


def make_folder(path: Path) -> None:
    """Make a folder below the root of the runs; ``InputError`` where that cannot be."""
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(path, error) from None


def _unwritable(path: Path, error: OSError) -> InputError:
    return InputError(f"cannot be written: {error.strerror}; name another folder with --root (make: ROOT=)", at=path)


@contextlib.contextmanager
def locked(home: Path) -> Iterator[bool]:
    """Yield whether this process alone has the folder, for as long as the block lasts."""
    make_folder(home)
    try:
        lock = (home / "lock").open("w")
    except OSError as error:
        raise _unwritable(home, error) from None
    with lock:
        yield _lock(lock)


def _lock(file: TextIO) -> bool:
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return False
    return True


@contextlib.contextmanager
def only_run(home: Path, name: str) -> Iterator[None]:
    """Make the folder of a run; refuse a second run there, which would get in its way."""
    with locked(home) as alone:
        if not alone:
            raise InputError(f"another run of {name!r} is in progress in {home}; use --set name=… beside it")
        yield


@contextlib.contextmanager
def own_folder(root: Path, record: Record) -> Iterator[Path]:
    """Yield the folder of a run, which is this process's alone for as long as the block lasts.

    Raises:
        InputError: the same run is in progress, its name is taken by something else, or nothing can be written.
    """
    if record.experiment in RESERVED:
        raise InputError(f"name: found {record.experiment!r}, which lies beside the runs in {root}; choose another")
    make_folder(root)
    homes = _homes(root, record.experiment)
    for home in homes:
        known = read_record(home)
        if known is not None and known.identity == record.identity:
            with only_run(home, record.experiment):
                record.seconds, record.top1 = known.seconds, known.top1
                yield home
            return
    for home in [*homes, root / _numbered(record.experiment, len(homes) + 1)]:
        with locked(home) as alone:
            if alone and not (home / REPORT).exists():
                yield home
                return
    raise InputError(f"another run of {record.experiment!r} started in {root} at the same moment; start this one again")


def _numbered(name: str, number: int) -> str:
    return name if number == 1 else f"{name}-{number}"


def _homes(root: Path, name: str) -> list[Path]:
    """Return the folders of that name which are there, in order."""
    found: list[Path] = []
    while (home := root / _numbered(name, len(found) + 1)).is_dir():
        found.append(home)
    return found


class Uses(BaseModel):
    """What a run has used of what all runs share. ``artifacts``: relative to the folder of the artifacts."""

    keys: set[str] = set()
    artifacts: set[str] = set()

    @classmethod
    def read(cls, home: Path) -> Uses:
        """Return what ``uses.jsonl`` lists; a last line that was cut by a kill is left out."""
        uses = cls()
        if (home / USES).is_file():
            for line in (home / USES).read_text(encoding="utf-8").splitlines():
                with contextlib.suppress(json.JSONDecodeError):
                    entry = json.loads(line)
                    uses.keys.add(entry["key"])
                    uses.artifacts.update(entry["artifacts"])
        return uses


def note_uses(cache: LocalCache, home: Path, artifacts: Path) -> None:
    """Let KFP's cache write into ``uses.jsonl`` what this run takes from it and puts into it."""
    known = Uses.read(home).keys
    get, put = cache.get, cache.put

    def note(key: str, outputs: dict[str, Any]) -> None:
        if key in known:
            return
        known.add(key)
        paths = [_relative(Path(artifact.path), artifacts) for artifact in _artifacts(outputs)]
        with (home / USES).open("a", encoding="utf-8") as stream:
            stream.write(json.dumps({"key": key, "artifacts": [path for path in paths if path]}) + "\n")

    def noted_get(key: str) -> dict[str, Any] | None:
        outputs = get(key)
        if outputs is not None:
            note(key, outputs)
        return outputs

    def noted_put(key: str, outputs: dict[str, Any]) -> None:
        put(key, outputs)
        note(key, outputs)

    cache.get, cache.put = noted_get, noted_put


def _artifacts(outputs: dict[str, Any]) -> Iterator[dsl.Artifact]:
    for value in outputs.values():
        for one in value if isinstance(value, list) else [value]:
            if isinstance(one, dsl.Artifact):
                yield one


def _relative(path: Path, root: Path) -> str:
    return str(path.resolve().relative_to(root)) if path.resolve().is_relative_to(root) else ""
