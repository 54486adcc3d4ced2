"""What a running round keeps, to go on from if it is killed: the checkpoints of its last epochs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from components.contracts import checkpoint
from components.contracts.artifact import digest_of
from components.contracts.checkpoint import Checkpoint
from components.contracts.config import TrainStage
from components.contracts.errors import InputError
from components.runtime.logs import stage_logger

LOG = stage_logger("train")
_NAME = "epoch-"


@dataclass(frozen=True)
class SavePlace:
    """Where a round keeps its saves on this machine.

    Attributes:
        folder: there; it may hold the saves of other rounds too, and whatever else.
        fetch: is told the round's key before a save is looked for, to bring one that lies elsewhere to ``folder``.
        saved: is told the path of every new save, whose files never change until it returns.
    """

    folder: Path
    fetch: Callable[[str], None] | None = None
    saved: Callable[[Path], None] | None = None


def round_key(stage: TrainStage, stream: str, number: int, made_from: Mapping[str, str]) -> str:
    """Return what tells this round's saves from those of any other: 12 hex digits of all that decides its result."""
    return digest_of([stage.model_dump(mode="json"), stream, number, dict(made_from)])[:12]


def save_path(folder: Path, epoch: int, key: str) -> Path:
    """Return where the save after so many epochs of the round with this key lies."""
    return folder / f"{_NAME}{epoch:06d}-{key}"


@dataclass(frozen=True)
class Saves:
    """Checkpoints ``epoch-000007-<key>`` …: the newest ``keep`` of the round with this key.

    Those of other rounds, such as of the same experiment with another setting, are neither used nor touched.
    """

    place: SavePlace
    keep: int
    key: str
    made_from: Mapping[str, str]

    def write(self, saved: Checkpoint) -> None:
        """Keep a checkpoint, whole or not at all, and drop the oldest ones of this round."""
        path = save_path(self.place.folder, saved.state.epoch, self.key)
        checkpoint.write(path, saved, made_from=self.made_from)
        if self.place.saved is not None:
            self.place.saved(path)
        saves = self._newest_first()
        kept = saves[saves.index(path) :][: self.keep]  # newer ones are damaged
        for old in {*saves} - {*kept}:
            shutil.rmtree(old, ignore_errors=True)

    def newest(self) -> Checkpoint | None:
        """Return the newest save of this round; None if there is none.

        A damaged one is passed over for the one before.
        """
        if self.place.fetch is not None:
            self.place.fetch(self.key)
        for path in self._newest_first():
            try:
                saved = checkpoint.open(path)
            except InputError as error:
                LOG.warning("%s; not used", error)
                continue
            state = saved.state
            if round_key(saved.config, state.stream, state.round, saved.manifest.made_from) == self.key:
                return saved
            LOG.warning("%s: saved by another run than its name says; not used", path)
        if others := [
            path.name for path in self.place.folder.glob(f"{_NAME}[0-9]*") if not path.match(f"*-{self.key}")
        ]:
            LOG.info(
                "%s holds %d saves of other inputs or settings; they are left as they are",
                self.place.folder,
                len(others),
            )
        return None

    def clear(self) -> None:
        """Remove all saves of this round, and the folder unless it holds anything else: the round is complete."""
        for path in (*self._newest_first(), *self.place.folder.glob(f".{_NAME}[0-9]*-{self.key}.*")):
            shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            self.place.folder.rmdir()

    def _newest_first(self) -> list[Path]:
        return sorted(self.place.folder.glob(f"{_NAME}[0-9]*-{self.key}"), reverse=True)
