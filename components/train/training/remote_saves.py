"""Saves in the object store: what a pod on another node, with an empty disk, goes on from.

The newest save of a running round lies at one URI. It goes there beside the training, from a copy made of hard links;
of saves that come faster than they can be sent only the newest is. When the round is complete it is removed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from components.contracts import checkpoint
from components.contracts.errors import SkeletonAgentError
from components.runtime.logs import stage_logger
from components.runtime.store import Store, store_for
from components.train.training.saves import save_path

LOG = stage_logger("train")


@dataclass(frozen=True)
class Kept:
    """Where a round keeps its saves on this machine, and what it tells of each; see ``core.train_round``."""

    folder: Path | None = None
    saved: Callable[[Path], None] | None = None


@contextmanager
def kept_at(place: str | None) -> Iterator[Kept]:
    """Surround a round whose saves are kept at ``place``: a folder, an ``s3://`` URI, or nowhere.

    Raises:
        InputError: the object store cannot be used, or holds something else at that URI.
    """
    if place is None or "://" not in place:
        yield Kept(Path(place) if place else None)
        return
    scratch = Path(tempfile.mkdtemp(prefix="skeletonagent-"))
    try:
        store = store_for(place)
        _fetch(store, place, scratch)
        uploads = _Uploads(store, place, scratch)
        try:
            yield Kept(scratch / "saves", uploads.put)
        except BaseException:
            uploads.finish()
            raise
        uploads.finish(drop=True)
        _remove(store, place)
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


def _fetch(store: Store, place: str, scratch: Path) -> None:
    """Copy what an interrupted round left at ``place`` to where the round looks for its saves."""
    store.check(place)
    if not store.exists(place):
        return
    fetched = store.fetch(place, scratch / "in")
    try:
        epoch = checkpoint.verify(fetched).about["epoch"]
    except SkeletonAgentError as error:
        raise error.renamed({str(fetched): place}) from None
    target = save_path(scratch / "saves", epoch)
    target.parent.mkdir()
    fetched.rename(target)


def _remove(store: Store, place: str) -> None:
    try:
        store.remove(place)
    except SkeletonAgentError as error:  # the round is complete: a leftover costs space, nothing else
        LOG.warning("%s; the save could not be removed", error)


class _Uploads:
    """A thread that publishes the newest save."""

    def __init__(self, store: Store, place: str, scratch: Path) -> None:
        self._store, self._place, self._scratch = store, place, scratch
        self._changed = threading.Condition()
        self._waiting: Path | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="saves", daemon=True)
        self._thread.start()

    def put(self, path: Path) -> None:
        """Send a save as soon as the one before is sent; one that still waits is dropped."""
        copy = Path(tempfile.mkdtemp(dir=self._scratch)) / path.name
        shutil.copytree(path, copy, copy_function=os.link)
        with self._changed:
            self._drop()
            self._waiting = copy
            self._changed.notify()

    def finish(self, *, drop: bool = False) -> None:
        """Wait until everything is sent; ``drop`` leaves out what has not begun."""
        with self._changed:
            if drop:
                self._drop()
            self._ended = True
            self._changed.notify()
        self._thread.join()

    def _drop(self) -> None:
        if self._waiting is not None:
            shutil.rmtree(self._waiting.parent)
            self._waiting = None

    def _work(self) -> None:
        while True:
            with self._changed:
                self._changed.wait_for(lambda: self._waiting or self._ended)
                copy, self._waiting = self._waiting, None
            if copy is None:
                return
            try:
                self._store.publish(copy, self._place)
            except SkeletonAgentError as error:
                LOG.warning("%s; training goes on, the next save is tried again", error)
            shutil.rmtree(copy.parent)
