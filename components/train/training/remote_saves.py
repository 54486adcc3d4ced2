"""Saves in the object store: what a pod on another node, with an empty disk, goes on from.

The newest save of a running round lies at a URI of its own. It goes there beside the training, from a copy made of
hard links;
of saves that come faster than they can be sent only the newest is. When the round is complete it is removed.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from components.contracts import checkpoint
from components.contracts.errors import SkeletonAgentError
from components.runtime.logs import stage_logger
from components.runtime.store import Store, is_remote, store_for
from components.train.training.saves import SavePlace, save_path

LOG = stage_logger("train")


@contextmanager
def kept_at(place: str | None) -> Iterator[SavePlace | None]:
    """Surround a round whose saves are kept at ``place``: a folder, an ``s3://`` URI, or nowhere.

    The save of the round with key k lies at ``<place>-k``: those of other rounds stay.

    Raises:
        InputError: the object store cannot be used, or holds something else at that URI.
    """
    if place is None or not is_remote(place):
        yield SavePlace(Path(place)) if place else None
        return
    scratch = Path(tempfile.mkdtemp(prefix="skeletonagent-"))
    try:
        store = store_for(place)
        store.check(place)
        remote = _Remote(store, place, scratch)
        try:
            yield SavePlace(scratch / "saves", remote.fetch, remote.put)
        except BaseException:
            remote.finish()
            raise
        remote.finish(drop=True)
        remote.remove()
    finally:
        shutil.rmtree(scratch, ignore_errors=True)


class _Remote:
    """The save of a round in the store, and a thread that puts the newest one there."""

    def __init__(self, store: Store, place: str, scratch: Path) -> None:
        self._store, self._place, self._scratch = store, place, scratch
        self._uri: str | None = None
        self._changed = threading.Condition()
        self._waiting: Path | None = None
        self._ended = False
        self._thread = threading.Thread(target=self._work, name="saves", daemon=True)
        self._thread.start()

    def fetch(self, key: str) -> None:
        """Copy what an interrupted round with this key left to where the round looks for its saves."""
        self._uri = f"{self._place.rstrip('/')}-{key}"
        if not self._store.exists(self._uri):
            return
        fetched = self._store.fetch(self._uri, self._scratch / "in")
        try:
            epoch = checkpoint.verify(fetched).about["epoch"]
        except SkeletonAgentError as error:
            raise error.renamed({str(fetched): self._uri}) from None
        target = save_path(self._scratch / "saves", epoch, key)
        target.parent.mkdir()
        fetched.rename(target)

    def remove(self) -> None:
        """Remove the save: the round is complete."""
        if self._uri is None:
            return
        try:
            self._store.remove(self._uri)
        except SkeletonAgentError as error:  # a leftover costs space, nothing else
            LOG.warning("%s; the save could not be removed", error)

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
            assert self._uri is not None, "a round looks for its saves before it makes any"
            try:
                self._store.publish(copy, self._uri)
            except SkeletonAgentError as error:
                LOG.warning("%s; training goes on, the next save is tried again", error)
            shutil.rmtree(copy.parent)
