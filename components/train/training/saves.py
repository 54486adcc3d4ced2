"""What a running round keeps, to go on from if it is killed: the checkpoints of its last epochs."""

from __future__ import annotations

import shutil
from collections.abc import Callable, Mapping
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from components.contracts import checkpoint
from components.contracts.checkpoint import Checkpoint
from components.contracts.errors import InputError
from components.runtime.logs import stage_logger

LOG = stage_logger("train")
_NAME = "epoch-"


def save_path(folder: Path, epoch: int) -> Path:
    """Return where the save after so many epochs lies."""
    return folder / f"{_NAME}{epoch:06d}"


@dataclass(frozen=True)
class Saves:
    """Checkpoints ``epoch-000007`` … in ``folder``: the newest ``keep`` of one round.

    made_from: the digests of the round's inputs; saves of anything else are not used.
    published: is told of every new save, whose files never change until it returns.
    """

    folder: Path
    keep: int
    made_from: Mapping[str, str]
    published: Callable[[Path], None] | None = None

    def write(self, saved: Checkpoint) -> None:
        """Keep a checkpoint, whole or not at all, and drop the oldest ones."""
        path = save_path(self.folder, saved.state.epoch)
        checkpoint.write(path, saved, made_from=self.made_from)
        if self.published is not None:
            self.published(path)
        saves = self._newest_first()
        kept = saves[saves.index(path) :][: self.keep]  # newer ones are of another run, or damaged
        for old in {*saves} - {*kept}:
            shutil.rmtree(old, ignore_errors=True)

    def newest(self, like: Checkpoint) -> Checkpoint | None:
        """Return the newest save of the round that ``like`` is a checkpoint of; None if there is none.

        A damaged one is passed over for the one before.
        """
        for path in self._newest_first():
            try:
                saved = checkpoint.open(path)
            except InputError as error:
                LOG.warning("%s; not used", error)
                continue
            round_, config = (saved.state.stream, saved.state.round), saved.config
            if (
                saved.manifest.made_from != self.made_from
                or round_ != (like.state.stream, like.state.round)
                or config != like.config
            ):
                LOG.warning("%s: saved by a run with other inputs or another configuration; not used", path)
                continue
            return saved
        return None

    def clear(self) -> None:
        """Remove all saves, and the folder unless it holds anything else: the round is complete."""
        for path in (*self._newest_first(), *self.folder.glob(f".{_NAME}*")):
            shutil.rmtree(path, ignore_errors=True)
        with suppress(OSError):
            self.folder.rmdir()

    def _newest_first(self) -> list[Path]:
        return sorted(self.folder.glob(f"{_NAME}[0-9]*"), reverse=True)
