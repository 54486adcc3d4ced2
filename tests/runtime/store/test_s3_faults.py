"""Servers that die, connections that break, writers that are killed: nothing lost, nothing half visible."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable
from pathlib import Path

import pytest
from dropping_proxy import DroppingProxy
from made_trees import make_tree, noise, verified_digest
from minio import Minio
from swift_server import SwiftServer

from components.contracts.artifact import digest
from components.contracts.errors import UnavailableError
from components.runtime.store import store_for, transfer
from components.runtime.store.s3 import S3Store

FOR_EVER = 10**9
PUBLISH = """
import sys
from pathlib import Path
from components.runtime.store import store_for
store_for(sys.argv[2]).publish(Path(sys.argv[1]), sys.argv[2])
"""


@pytest.fixture
def old(prefix: str, tmp_path: Path) -> str:
    """The digest of an artifact that stands at the prefix already."""
    tree = make_tree(tmp_path / "old", {"large": noise(1000, 1), "other": b"old"})
    store_for(prefix).publish(tree, prefix)
    return digest(tree)


@pytest.fixture
def new(tmp_path: Path) -> Path:
    """A larger artifact: two parts and a bit."""
    return make_tree(tmp_path / "new", {"large": noise(40_000_000, 2), "small": b"new"})


def wait_for(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 120
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def one_line(caught: pytest.ExceptionInfo[UnavailableError], prefix: str, proxy: DroppingProxy) -> None:
    message = str(caught.value)
    assert message.startswith(f"{prefix}: {proxy.endpoint} ") and "\n" not in message


class TestConnectionCut:
    def test_an_upload_survives(self, prefix: str, old: str, new: Path, proxy: DroppingProxy, tmp_path: Path) -> None:
        proxy.cut(after=3_000_000, times=5)
        store_for(prefix).publish(new, prefix)
        assert proxy.cuts == 5
        assert verified_digest(store_for(prefix).fetch(prefix, tmp_path / "into")) == digest(new)

    def test_a_download_survives(self, prefix: str, new: Path, proxy: DroppingProxy, tmp_path: Path) -> None:
        store_for(prefix).publish(new, prefix)
        proxy.cut(after=3_000_000, times=5)
        assert verified_digest(store_for(prefix).fetch(prefix, tmp_path / "into")) == digest(new)
        assert proxy.cuts == 5

    @pytest.mark.parametrize("after", [0, 3_000_000])
    def test_for_ever_during_an_upload(
        self, prefix: str, old: str, new: Path, proxy: DroppingProxy, tmp_path: Path, after: int
    ) -> None:
        proxy.cut(after=after, times=FOR_EVER)
        with pytest.raises(UnavailableError, match="cannot be reached") as caught:
            S3Store(patience=1).publish(new, prefix)
        one_line(caught, prefix, proxy)
        proxy.cut(after=0, times=0)
        assert verified_digest(store_for(prefix).fetch(prefix, tmp_path / "into")) == old

    def test_for_ever_during_a_download(self, prefix: str, new: Path, proxy: DroppingProxy, tmp_path: Path) -> None:
        store_for(prefix).publish(new, prefix)
        proxy.cut(after=3_000_000, times=FOR_EVER)
        with pytest.raises(UnavailableError, match="cannot be reached") as caught:
            S3Store(patience=1).fetch(prefix, tmp_path / "into")
        one_line(caught, prefix, proxy)

    def test_when_the_answer_to_the_switch_is_lost(
        self, prefix: str, old: str, new: Path, proxy: DroppingProxy, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        """The new artifact is there or the old one: whoever is told of a failure may look."""
        original = transfer.Bucket.put_file

        def cut_then_put(self: transfer.Bucket, upload: transfer.Upload, *arguments: object) -> None:
            if upload.key.endswith(f"{prefix.rpartition('/')[2]}/manifest.json"):
                proxy.cut(after=0, times=FOR_EVER)
            original(self, upload, *arguments)  # type: ignore[arg-type]

        monkeypatch.setattr(transfer.Bucket, "put_file", cut_then_put)
        with pytest.raises(UnavailableError):
            S3Store(patience=0.5).publish(new, prefix)
        proxy.cut(after=0, times=0)
        assert verified_digest(store_for(prefix).fetch(prefix, tmp_path / "into")) in {old, digest(new)}


class TestServerKilled:
    """The server dies of SIGKILL in the middle of an upload."""

    def upload(self, store: S3Store, new: Path, prefix: str) -> tuple[threading.Thread, list[UnavailableError]]:
        failures: list[UnavailableError] = []

        def work() -> None:
            try:
                store.publish(new, prefix)
            except UnavailableError as error:
                failures.append(error)

        thread = threading.Thread(target=work)
        thread.start()
        return thread, failures

    def test_and_restarted(
        self, prefix: str, old: str, new: Path, proxy: DroppingProxy, swift: SwiftServer, tmp_path: Path
    ) -> None:
        thread, failures = self.upload(S3Store(patience=300), new, prefix)
        wait_for(lambda: proxy.passed > 20_000_000)
        swift.kill()
        swift.start()
        thread.join()
        assert failures == []
        assert verified_digest(store_for(prefix).fetch(prefix, tmp_path / "into")) == digest(new)

    def test_and_restarted_too_late(
        self, prefix: str, old: str, new: Path, proxy: DroppingProxy, swift: SwiftServer, tmp_path: Path
    ) -> None:
        thread, failures = self.upload(S3Store(patience=0.5), new, prefix)
        wait_for(lambda: proxy.passed > 20_000_000)
        swift.kill()
        thread.join()
        swift.start()
        assert len(failures) == 1 and "\n" not in str(failures[0])
        assert verified_digest(store_for(prefix).fetch(prefix, tmp_path / "into")) == old
        store_for(prefix).publish(new, prefix)
        assert verified_digest(store_for(prefix).fetch(prefix, tmp_path / "again")) == digest(new)


def test_a_writer_killed_in_the_middle(
    prefix: str, old: str, new: Path, proxy: DroppingProxy, client: Minio, repository: Path, tmp_path: Path
) -> None:
    with subprocess.Popen([sys.executable, "-c", PUBLISH, new, prefix], cwd=repository, env=os.environ) as writer:
        wait_for(lambda: proxy.passed > 20_000_000)
        writer.send_signal(signal.SIGKILL)
    assert verified_digest(store_for(prefix).fetch(prefix, tmp_path / "into")) == old
    store_for(prefix).publish(new, prefix)
    assert verified_digest(store_for(prefix).fetch(prefix, tmp_path / "again")) == digest(new)
