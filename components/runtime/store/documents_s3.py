"""Small documents in an S3 bucket, and claims that need no conditional write, which not every server has.

A claim is an object that holds its owner's token. Who finds it free writes it, waits, and reads it again: the
last writer has it (Fischer's algorithm; Lamport, "A fast mutual exclusion algorithm", 1987). It is exclusive if
a write that was answered is seen by every later read, and no write takes effect after its answer. A writer that
took longer than ``SETTLE_S`` does not trust its claim. Amazon S3, Ceph RGW and a single Swift server are such
servers; a Swift cluster with several replicas promises neither.

An owner shows that it lives by an object of its own that it rewrites every ``BEAT_S``. Who sees no change of it
for ``DEAD_S`` takes its claims. Hence one that stalls for so long, and then goes on, does so beside its successor.
"""

from __future__ import annotations

import io
import threading
import time
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime

from components.contracts.errors import SkeletonAgentError
from components.runtime.store.connection import (
    CHECK_PATIENCE_S,
    PATIENCE_S,
    Patience,
    Settings,
    connect,
    told,
)
from components.runtime.store.interface import Claim
from components.runtime.store.s3 import Place
from components.runtime.store.transfer import Bucket

SETTLE_S = 1.0
BEAT_S = 5.0
DEAD_S = 20.0


class S3Documents:
    """Documents below ``s3://bucket/prefix``; see the module for what its claims guarantee.

    Args:
        place: the URI.
        settle_s, beat_s, dead_s: see the module.
    """

    poll_s = 1.0

    def __init__(
        self, place: str, *, settle_s: float = SETTLE_S, beat_s: float = BEAT_S, dead_s: float = DEAD_S
    ) -> None:
        self.place = place.rstrip("/")
        self._settings = Settings.read()
        self._place = Place.of(place)
        patience = Patience(self._settings.endpoint, PATIENCE_S)
        self._bucket = Bucket(connect(self._settings, patience), self._place.bucket, patience)
        self._settle_s, self._beat_s, self._dead_s = settle_s, beat_s, dead_s
        self._owner = uuid.uuid4().hex
        self._lock = threading.Lock()
        self._mine: set[str] = set()
        self._doubtful: dict[str, tuple[str, float]] = {}
        self._seen: dict[str, tuple[bytes | None, float]] = {}
        self._last_beat = 0.0
        self._beating = False

    def check(self) -> None:
        """Raise ``InputError`` unless the bucket can be read; that it can be written is seen by the first write."""
        patience = Patience(self._settings.endpoint, CHECK_PATIENCE_S)
        with self._telling():
            Bucket(connect(self._settings, patience), self._place.bucket, patience).read(self._key("check"))

    def read(self, name: str) -> bytes | None:
        with self._telling():
            found = self._bucket.read(self._key(name))
        return found[0] if found else None

    def write(self, name: str, content: bytes) -> None:
        with self._telling():
            self._bucket.client.put_object(self._place.bucket, self._key(name), io.BytesIO(content), len(content))

    def remove(self, name: str) -> None:
        with self._telling():
            self._bucket.client.remove_object(self._place.bucket, self._key(name))

    def names(self, folder: str) -> list[str]:
        prefix = f"{self._key(folder)}/"
        with self._telling():
            found = [entry.object_name or "" for entry in self._bucket.client.list_objects(self._place.bucket, prefix)]
        return sorted(name.removeprefix(prefix).rstrip("/") for name in found)

    def append(self, name: str, line: str) -> None:
        """Write an object of its own for the line, named by the time: objects do not grow."""
        now = datetime.now(UTC).strftime("%Y-%m-%d/%H%M%S.%f")
        self.write(f"{name}/{now}-{uuid.uuid4().hex[:8]}", f"{line}\n".encode())

    def claim(self, name: str) -> Claim | None:
        with self._lock:
            if name in self._mine:
                return None
            self._mine.add(name)
        try:
            token = self._take(name)
        except BaseException:
            self._forget(name)
            raise
        if token is None:
            self._forget(name)
            return None
        return _Claim(self, name, token)

    def alive(self) -> bool:
        """Tell whether others see us alive: our claims stand as long."""
        return time.monotonic() - self._last_beat < self._dead_s / 2

    def release(self, name: str, token: str) -> None:
        """Give a claim back, unless it was taken away. Where the store fails, that is done as soon as it works."""
        document = f"claims/{name}"
        try:
            if self.read(document) == token.encode():
                self.remove(document)
        except SkeletonAgentError:
            self._doubtful[document] = (token, time.monotonic())
            raise
        finally:
            self._forget(name)

    def _forget(self, name: str) -> None:
        with self._lock:
            self._mine.discard(name)

    def _take(self, name: str) -> str | None:
        self._start_beating()
        document = f"claims/{name}"
        started = time.monotonic()
        standing = self.read(document)
        if standing is not None and not self._is_dead(standing.decode(errors="replace").partition("/")[0]):
            return None
        token = f"{self._owner}/{uuid.uuid4().hex}"
        self.write(document, token.encode())
        if time.monotonic() - started > self._settle_s:
            self._doubtful[document] = (token, time.monotonic() + self._dead_s)
            return None
        time.sleep(self._settle_s)
        return token if self.read(document) == token.encode() else None

    def _is_dead(self, owner: str) -> bool:
        """Tell whether an owner has not shown itself for so long; by our clock alone, whatever its own says."""
        if owner == self._owner:
            return False
        beat, now = self.read(f"claims/owners/{owner}"), time.monotonic()
        last, since = self._seen.get(owner, (None, now))
        if owner not in self._seen or last != beat:
            self._seen[owner] = (beat, now)
            return False
        return now - since > self._dead_s

    def _start_beating(self) -> None:
        with self._lock:
            if self._beating:
                return
            self._beating = True
        self._beat()
        threading.Thread(target=self._keep_beating, name="claims", daemon=True).start()

    def _keep_beating(self) -> None:
        while True:
            time.sleep(self._beat_s)
            try:
                self._beat()
                self._clear_doubtful()
            except SkeletonAgentError:
                continue  # ``alive`` says so

    def _beat(self) -> None:
        started = time.monotonic()
        self.write(f"claims/owners/{self._owner}", uuid.uuid4().hex.encode())
        self._last_beat = started

    def _clear_doubtful(self) -> None:
        """Remove claims that came too slowly to be trusted, when whoever got them instead has had its time."""
        for document, (token, until) in list(self._doubtful.items()):
            if time.monotonic() > until:
                if self.read(document) == token.encode():
                    self.remove(document)
                del self._doubtful[document]

    def _key(self, name: str) -> str:
        return f"{self._place.key}/{name}"

    @contextmanager
    def _telling(self) -> Iterator[None]:
        with told(self.place, self._place.bucket, self._settings.endpoint):
            yield


class _Claim:
    def __init__(self, documents: S3Documents, name: str, token: str) -> None:
        self._documents = documents
        self._name = name
        self._token = token

    def held(self) -> bool:
        return self._documents.alive()

    def release(self) -> None:
        self._documents.release(self._name, self._token)
