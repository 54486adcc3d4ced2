"""Saves that go to the object store beside the training: what is sent, what is skipped, what stays. See also
``tests/runtime/store/test_s3_saves.py``, with a real server."""

from __future__ import annotations

import shutil
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
from train_helpers import experiment

from components.contracts import confusion
from components.contracts.checkpoint import Checkpoint, TrainState
from components.contracts.errors import InputError
from components.runtime.store import LocalStore
from components.train.training import remote_saves
from components.train.training.remote_saves import kept_at
from components.train.training.saves import SavePlace, Saves, round_key

URI = "s3://lab/j-r1"


class SlowStore(LocalStore):
    """A store in a folder; publishing waits for ``open`` and notes what came, or fails as often as ``failures``."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.open = threading.Event()
        self.open.set()
        self.busy = threading.Event()
        self.published: list[str] = []
        self.failures = 0

    def _local(self, uri: str) -> str:
        return str(self.folder / uri.partition("://")[2])

    def exists(self, uri: str) -> bool:
        return super().exists(self._local(uri))

    def fetch(self, uri: str, into: Path) -> Path:
        return Path(shutil.copytree(super().fetch(self._local(uri), into), into / "copy"))

    def publish(self, source: Path, uri: str) -> None:
        self.busy.set()
        assert self.open.wait(10)
        if self.failures:
            self.failures -= 1
            raise InputError(f"{uri}: the server cannot be reached")
        super().publish(source, self._local(uri))
        self.published.append(source.name)

    def remove(self, uri: str) -> None:
        super().remove(self._local(uri))


@pytest.fixture
def store(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> SlowStore:
    store = SlowStore(tmp_path / "store")
    monkeypatch.setattr(remote_saves, "store_for", lambda uri: store)
    return store


def saved(epoch: int, seed: int = 3) -> Checkpoint:
    state = TrainState(stream="j", round=1, epoch=epoch, step=epoch, text_dimensions=4)
    return Checkpoint(
        {"weight": np.full(3, epoch, dtype=np.float32)},
        {},
        state,
        experiment().model_copy(update={"seed": seed}).stage_train("j"),
    )


MADE_FROM = {"dataset": "1"}


def key(seed: int = 3) -> str:
    return round_key(saved(0, seed).config, "j", 1, MADE_FROM)


def saves(kept: SavePlace, seed: int = 3) -> Saves:
    """The saves of a round, which has looked for one."""
    made = Saves(kept, 1, key(seed), MADE_FROM)
    made.newest()
    return made


@contextmanager
def killed(place: str) -> Iterator[SavePlace]:
    """A round that ends before it is complete."""
    with pytest.raises(KeyboardInterrupt), kept_at(place) as kept:
        assert kept is not None
        yield kept
        raise KeyboardInterrupt


def test_another_machine_goes_on_from_the_newest_save(store: SlowStore) -> None:
    with killed(URI) as kept:
        written = saves(kept)
        for epoch in (1, 2, 3):
            written.write(saved(epoch))
    assert not kept.folder.exists() and store.exists(f"{URI}-{key()}")
    with kept_at(URI) as elsewhere:
        assert elsewhere is not None
        found = Saves(elsewhere, 1, key(), MADE_FROM).newest()
        assert found is not None and found.state.epoch == 3
    assert not store.exists(f"{URI}-{key()}"), "the round is complete"


def test_the_save_of_another_setting_stays(store: SlowStore) -> None:
    with killed(URI) as kept:
        saves(kept, seed=4).write(saved(7, seed=4))
    with kept_at(URI) as kept:
        assert kept is not None
        saves(kept).write(saved(1))
    with killed(URI) as kept:
        found = Saves(kept, 1, key(4), MADE_FROM).newest()
        assert found is not None and found.state.epoch == 7


def test_training_does_not_wait_and_skips_what_is_overtaken(store: SlowStore) -> None:
    store.open.clear()
    with killed(URI) as kept:
        written = saves(kept)
        written.write(saved(1))
        assert store.busy.wait(10)
        for epoch in (2, 3, 4):  # the save being sent is dropped from the disk meanwhile
            written.write(saved(epoch))
        assert store.published == []
        store.open.set()
    assert store.published == [f"epoch-000001-{key()}", f"epoch-000004-{key()}"]


def test_a_server_that_is_away_does_not_end_the_training(store: SlowStore) -> None:
    store.failures = 1
    with killed(URI) as kept:
        written = saves(kept)
        written.write(saved(1))
        assert store.busy.wait(10)
        written.write(saved(2))
    assert store.published[-1] == f"epoch-000002-{key()}"


def test_what_is_no_checkpoint_is_left_alone(store: SlowStore, tmp_path: Path) -> None:
    counts = np.eye(6, dtype=np.int64)
    made = confusion.Confusion("j", 1, counts, counts)
    confusion.write(tmp_path / "made", made, made_from={}, config=experiment().stage_train("j"))
    uri = f"{URI}-{key()}"
    store.publish(tmp_path / "made", uri)
    with (
        pytest.raises(InputError, match=f"^{uri}: expected a checkpoint artifact, found 'confusion'$"),
        kept_at(URI) as kept,
    ):
        assert kept is not None
        saves(kept)
    assert store.exists(uri)


def test_a_folder_and_nothing_are_used_as_they_are(tmp_path: Path) -> None:
    with kept_at(str(tmp_path)) as kept:
        assert kept == SavePlace(tmp_path)
    with kept_at(None) as kept:
        assert kept is None
