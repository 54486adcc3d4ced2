"""Single objects of an S3 server: large ones in parallel parts and ranges, all of them checked when read."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import FIRST_EXCEPTION, ThreadPoolExecutor, wait
from dataclasses import dataclass
from functools import partial
from pathlib import Path

from minio import Minio
from minio.datatypes import Object as ListedObject
from minio.error import InvalidResponseError, S3Error

from components.contracts.artifact import sha256_file
from components.contracts.errors import DamagedError, InputError
from components.runtime.store.connection import PARALLEL, NoBucketError, Patience

PART = 16 << 20
"""Bytes of one part of an upload or one range of a download; longer objects go in several at once."""
MB = 10**6

LONGEST = 64 << 20
"""Bytes of an object that is read into memory."""

_MAX_PARTS = 10_000  # S3's limit
_CHUNK = 1 << 20
_UPLOADS = 3
_PARTS_AT_ONCE = 4  # each holds a part in memory


class UnfitError(Exception):
    """An object is missing, or is not what it should be."""


@dataclass(frozen=True)
class Upload:
    """A local file and the key it goes to."""

    source: Path
    key: str


@dataclass(frozen=True)
class Object:
    """What the server says of an object: size in bytes, ETag, and headers by lower-case name."""

    size: int
    etag: str
    headers: dict[str, str]


@dataclass(frozen=True)
class Download:
    """An object, what is known about it, and the local file it becomes."""

    key: str
    target: Path
    size: int
    sha256: str | None
    md5: str | None = None
    etag: str | None = None


class Count:
    """Adds up bytes from several threads and reports MB."""

    def __init__(self, total: int, report: Callable[[int], object]) -> None:
        self._total = total
        self._done = 0
        self._report = report
        self._lock = threading.Lock()

    def set_meta(self, object_name: str, total_length: int) -> None:
        """Be what minio's client calls before an upload."""

    def update(self, length: int) -> None:
        """Count bytes; those sent again count once at most."""
        with self._lock:
            self._done = min(self._done + length, self._total)
            self._report(self._done // MB)


class Bucket:
    """Objects of one bucket."""

    def __init__(self, client: Minio, name: str, patience: Patience) -> None:
        self.client = client
        self.name = name
        self._patience = patience

    def expect(self, key: str) -> None:
        """Raise ``NoBucketError`` unless the bucket is there: some servers make a missing one at the first write.

        An object, whether it is there or not, is asked for first: only a GET is answered with what is wrong.
        """
        self.read(key)
        if not self.client.bucket_exists(self.name):
            raise NoBucketError

    def objects(self, prefix: str) -> Iterator[ListedObject]:
        """Yield the objects whose keys begin with ``prefix``, whatever their depth.

        What stands for a folder only is left out: some servers list a prefix whose objects were all removed, also
        as its own child, and some programs write an empty object whose key ends with a slash.
        """
        for found in self.client.list_objects(self.name, prefix, recursive=True):
            name = found.object_name or ""
            if not found.is_dir and not name.endswith("/"):
                yield found

    def stat(self, key: str) -> Object | None:
        """Return what the server says of an object; None if there is none."""
        try:
            found = self.client.stat_object(self.name, key)
        except S3Error as error:
            if error.code == "NoSuchKey":
                return None
            raise
        headers = {str(name).lower(): str(value) for name, value in (found.metadata or {}).items()}
        return Object(found.size or 0, (found.etag or "").strip('"'), headers)

    def read(self, key: str) -> tuple[bytes, dict[str, str]] | None:
        """Return the content of a short object and its headers by lower-case name; None if there is none."""

        def request() -> tuple[bytes, dict[str, str]]:
            response = self.client.get_object(self.name, key)
            headers = {name.lower(): value for name, value in response.headers.items()}
            try:
                if "etag" not in headers:
                    raise InvalidResponseError(response.status, headers.get("content-type"), None)
                content = response.read(LONGEST + 1)
                if len(content) > LONGEST:
                    raise DamagedError(f"longer than {LONGEST} bytes, which no such object is", at=key)
                return content, headers
            finally:
                response.close()
                response.release_conn()

        try:
            return self._patience(request)
        except S3Error as error:
            if error.code == "NoSuchKey":
                return None
            raise

    def put(self, uploads: Iterable[Upload], count: Count) -> None:
        """Store files: short ones side by side, each long one in parallel parts."""
        short: list[Upload] = []
        long: list[Upload] = []
        for upload in uploads:
            (short if upload.source.stat().st_size <= PART else long).append(upload)
        _at_once([partial(self.put_file, upload, count) for upload in short])
        for upload in long:
            self.put_file(upload, count)

    def put_file(self, upload: Upload, count: Count, metadata: dict[str, str] | None = None) -> None:
        """Store one file. An object appears when all of it has arrived, and not before."""
        size = upload.source.stat().st_size
        part = max(PART, -(-size // _MAX_PARTS // _CHUNK) * _CHUNK)
        for _ in range(_UPLOADS):
            try:
                with upload.source.open("rb") as stream:
                    result = self.client.put_object(
                        self.name,
                        upload.key,
                        stream,
                        size,
                        metadata=dict(metadata or {}),
                        progress=count,
                        part_size=part if size > PART else 0,
                        num_parallel_uploads=_PARTS_AT_ONCE,
                    )
                if result.etag:  # S3 may answer the completion of an upload with an error inside of a success
                    return
            except S3Error as error:
                if error.code != "NoSuchUpload":  # its completion was repeated, because the answer had been lost
                    raise
        raise InputError("the server took all parts, but did not join them", at=upload.key)

    def get(self, downloads: list[Download], count: Count) -> None:
        """Read objects into files, all ranges of all of them side by side, and check each.

        Raises:
            UnfitError: one is missing, changed while it was read, or has another size or SHA-256 than it should.
        """
        tasks: list[Callable[[], None]] = []
        for download in downloads:
            download.target.parent.mkdir(parents=True, exist_ok=True)
            with download.target.open("wb") as stream:
                stream.truncate(download.size)
            for start in range(0, download.size, PART):
                tasks.append(partial(self._range, download, start, count))
        _at_once(tasks)
        for download in downloads:
            _check(download)

    def _range(self, download: Download, start: int, count: Count) -> None:
        end = min(start + PART, download.size)
        self._patience(lambda: self._read(download, start, end))
        count.update(end - start)

    def _read(self, download: Download, start: int, end: int) -> None:
        try:
            response = self.client.get_object(self.name, download.key, start, end - start)
        except S3Error as error:
            if error.code in ("NoSuchKey", "InvalidRange"):
                raise UnfitError(f"{download.key}: {'missing' if error.code == 'NoSuchKey' else 'too short'}") from None
            raise
        try:
            size = response.headers.get("Content-Range", "").rpartition("/")[2]
            if size != str(download.size):
                raise UnfitError(f"{download.key}: damaged: {size or 'unknown'} bytes found, {download.size} expected")
            etag = response.headers.get("ETag", "").strip('"')
            if download.etag is not None and etag != download.etag:
                raise UnfitError(f"{download.key}: changed while it was read")
            with download.target.open("r+b") as stream:
                stream.seek(start)
                for chunk in response.stream(_CHUNK):
                    stream.write(chunk)
                if stream.tell() != end:
                    raise UnfitError(
                        f"{download.key}: range of {stream.tell() - start} bytes found, {end - start} expected"
                    )
        finally:
            response.close()
            response.release_conn()


def _check(download: Download) -> None:
    if download.sha256 is not None:
        name, expected, found = "SHA-256", download.sha256, sha256_file(download.target)
    elif download.md5 is not None:
        with download.target.open("rb") as stream:
            name, expected, found = "MD5", download.md5, hashlib.file_digest(stream, "md5").hexdigest()
    else:
        return
    if found != expected:
        raise UnfitError(f"{download.key}: damaged: {name} {found[:12]}… found, {expected[:12]}… expected")


def _at_once(tasks: list[Callable[[], None]]) -> None:
    """Run tasks side by side; the first failure cancels those not yet begun and is raised."""
    if not tasks:
        return
    with ThreadPoolExecutor(min(PARALLEL, len(tasks)), thread_name_prefix="s3") as pool:
        futures = [pool.submit(task) for task in tasks]
        done, waiting = wait(futures, return_when=FIRST_EXCEPTION)
        for future in waiting:
            future.cancel()
    for future in done:
        future.result()
