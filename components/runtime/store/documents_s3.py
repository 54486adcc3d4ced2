"""Small documents in an S3 bucket. A document is one object, which a PUT replaces whole."""

from __future__ import annotations

import io
import threading
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from components.runtime.store.connection import CHECK_PATIENCE_S, PATIENCE_S, Patience, Settings, connect, told
from components.runtime.store.interface import Claim
from components.runtime.store.s3 import Place
from components.runtime.store.transfer import Bucket


class S3Documents:
    """Documents below ``s3://bucket/prefix``.

    A claim excludes the other threads of this process only: not every S3 server has a conditional write that
    holds in a race, so two processes may do the same work. What they write is whole in any case.
    """

    poll_s = 0.1

    def __init__(self, place: str) -> None:
        self.place = place.rstrip("/")
        self._settings = Settings.read()
        self._place = Place.of(place)
        self._bucket = self._connected(PATIENCE_S)
        self._lock = threading.Lock()
        self._claimed: set[str] = set()

    def prepare(self) -> None:
        self.check()

    def check(self) -> None:
        """Write a byte, after a look whether the bucket is there: some servers make a missing one at a write."""
        impatient = self._connected(CHECK_PATIENCE_S)
        with self._telling():
            impatient.expect(self._key("check"))
            impatient.client.put_object(self._place.bucket, self._key("check"), io.BytesIO(b"\n"), 1)

    def read(self, name: str) -> bytes | None:
        with self._telling():
            found = self._bucket.read(self._key(name))
        return found[0] if found else None

    def write(self, name: str, content: bytes) -> None:
        with self._telling():
            self._bucket.client.put_object(self._place.bucket, self._key(name), io.BytesIO(content), len(content))

    def append(self, name: str, line: str) -> None:
        """Write an object of its own for the line, named by the time: objects do not grow."""
        now = datetime.now(UTC).strftime("%Y-%m-%d/%H%M%S.%f")
        self.write(f"{name}/{now}-{uuid.uuid4().hex[:8]}", f"{line}\n".encode())

    def claim(self, name: str) -> Claim | None:
        with self._lock:
            if name in self._claimed:
                return None
            self._claimed.add(name)
        return _Claim(self._claimed, name)

    def _connected(self, patience_s: float) -> Bucket:
        patience = Patience(self._settings.endpoint, patience_s)
        return Bucket(connect(self._settings, patience), self._place.bucket, patience)

    def _key(self, name: str) -> str:
        return f"{self._place.key}/{name}"

    @contextmanager
    def _telling(self) -> Iterator[None]:
        with told(self.place, self._place.bucket, self._settings.endpoint):
            yield


class _Claim:
    def __init__(self, claimed: set[str], name: str) -> None:
        self._claimed = claimed
        self._name = name

    def release(self) -> None:
        self._claimed.discard(self._name)
