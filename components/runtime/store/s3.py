"""Artifacts and files in the buckets of an S3 server.

A file is one object. An artifact is a prefix, and its ``manifest.json``, written last, is what makes it one::

    prefix/manifest.json            the artifact's manifest; its object metadata names the folder with the files
    prefix/files-<random>/...       the files, and a copy of the manifest

Every upload has a folder of its own, so that no two writers ever touch the same object but the manifest, and
that one is replaced in a single PUT, which S3 makes atomic. Whoever reads sees the old artifact or the new
one, whole; of several writers the last wins, whole; one that dies leaves the old artifact as it was. This asks
nothing else of the server: neither locks nor conditional writes, which not every server has. The folder that a
manifest replaced is removed, as are folders of uploads that died; a reader who is still in it begins again.

A prefix with the files beside the manifest, as KFP uploads it, is read too. So is a folder by its own URI.
"""

from __future__ import annotations

import logging
import re
import shutil
import tempfile
import uuid
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from pathlib import Path, PurePosixPath

from minio.deleteobjects import DeleteObject

from components.contracts.artifact import MANIFEST, Manifest, parse_manifest, sha256_file
from components.contracts.errors import DamagedError, InputError, SkeletonAgentError
from components.runtime.store.connection import (
    CHECK_PATIENCE_S,
    PATIENCE_S,
    Patience,
    Settings,
    connect,
    told,
)
from components.runtime.store.interface import Meter, unseen
from components.runtime.store.transfer import MB, Bucket, Count, Download, Object, UnfitError, Upload

_FOLDER = "folder"  # of a manifest's metadata
_FOLDERS = r"files-[0-9a-f]{32}/"
_SHA256 = "sha256"
_BUCKET = re.compile(r"(?!.*\.\.)(?!\d+(\.\d+){3}$)[a-z0-9][a-z0-9.-]{1,61}[a-z0-9]")
_READS = 5  # as often may a reader be overtaken by writers
_ABANDONED = timedelta(days=1)

_log = logging.getLogger("skeletonagent.store")


@dataclass(frozen=True)
class Place:
    """A URI taken apart; ``key`` has no slash at its ends."""

    uri: str
    bucket: str
    key: str

    @classmethod
    def of(cls, uri: str) -> Place:
        """Take a URI apart; ``InputError`` unless it is ``s3://bucket/prefix``."""
        _, _, rest = uri.partition("://")
        bucket, *names = [name for name in rest.split("/") if name] or [""]
        if not _BUCKET.fullmatch(bucket) or not names or {".", ".."} & {*names}:
            raise InputError("expected s3://bucket/prefix, the bucket in lower case, no '..' in the prefix", at=uri)
        return cls(uri, bucket, "/".join(names))


@dataclass(frozen=True)
class _Head:
    """What stands at an artifact's prefix: the manifest and, relative to the prefix, the folder of its files."""

    text: bytes
    manifest: Manifest
    folder: str

    def names(self) -> list[str]:
        """The keys of its files relative to the prefix, and of the manifest's copy in the folder."""
        copy = [f"{self.folder}{MANIFEST}"] if self.folder else []
        return [*(self.folder + name for name in self.manifest.files), *copy]


class S3Store:
    """Buckets of the server that the environment names; see the module for how artifacts lie in them."""

    def __init__(self, meter: Meter = unseen, *, patience: float = PATIENCE_S) -> None:
        self._meter = meter
        self._seconds = patience
        self._settings = Settings.read()

    def exists(self, uri: str) -> bool:
        """Tell whether an artifact or a file is there; what a dead writer left behind is not."""
        with self._bucket(uri, self._seconds) as (place, bucket):
            return _head(bucket, place) is not None or bucket.stat(place.key) is not None

    def check(self, uri: str) -> None:
        """Raise unless the server can be reached, takes the credentials and has the bucket."""
        with self._bucket(uri, min(CHECK_PATIENCE_S, self._seconds)) as (place, bucket):
            bucket.expect(f"{place.key}/{MANIFEST}")

    def fetch(self, uri: str, into: Path) -> Path:
        """Copy an artifact or a file into a new directory below ``into`` and check its bytes.

        Raises:
            InputError: nothing is there, or it is unfinished or damaged, or the server cannot be used.
        """
        with self._bucket(uri, self._seconds) as (place, bucket):
            into.mkdir(parents=True, exist_ok=True)
            for _ in range(_READS):
                # A directory for each, because several inputs may have the same name.
                target = Path(tempfile.mkdtemp(dir=into)) / PurePosixPath(place.key).name
                found = _find(bucket, place)
                try:
                    if isinstance(found, _Head):
                        self._fetch_artifact(bucket, place, found, target)
                    else:
                        self._fetch_file(bucket, place, found, target)
                    return target
                except UnfitError as error:
                    fault = str(error)
                    shutil.rmtree(target.parent)
                if _find(bucket, place) == found:
                    break  # no writer has overtaken us: this is how it is
            raise InputError(f"{fault}", at=uri)

    def publish(self, source: Path, uri: str) -> None:
        """Store an artifact or a file; until all of it has arrived, what was there before stays.

        Raises:
            InputError: ``source`` is a directory but no artifact, or a file where an artifact is already, or the
                server cannot be used.
        """
        with self._bucket(uri, self._seconds) as (place, bucket):
            bucket.expect(f"{place.key}/{MANIFEST}")
            if source.is_dir():
                self._publish_artifact(source, bucket, place)
            elif _head(bucket, place) is not None:
                raise InputError("an artifact is there; give the file another name", at=uri)
            else:
                with self._count("uploading", place, source.stat().st_size) as count:
                    bucket.put_file(Upload(source, place.key), count, {_SHA256: sha256_file(source)})

    def remove(self, uri: str) -> None:
        """Take away an artifact, its manifest first, and what dead writers of it left."""
        with self._bucket(uri, self._seconds) as (place, bucket):
            bucket.client.remove_object(place.bucket, f"{place.key}/{MANIFEST}")
            listed = bucket.objects(f"{place.key}/files-")
            names = [(found.object_name or "").removeprefix(f"{place.key}/") for found in listed]
            _remove(bucket, place, [name for name in names if re.match(_FOLDERS, name)])

    @contextmanager
    def _bucket(self, uri: str, seconds: float) -> Iterator[tuple[Place, Bucket]]:
        place = Place.of(uri)
        patience = Patience(self._settings.endpoint, seconds)
        client = connect(self._settings, patience)
        with told(uri, place.bucket, self._settings.endpoint):
            yield place, Bucket(client, place.bucket, patience)

    @contextmanager
    def _count(self, verb: str, place: Place, size: int) -> Iterator[Count]:
        with self._meter(f"{verb} {place.uri} (MB)", -(-size // MB)) as report:
            yield Count(size, report)

    def _publish_artifact(self, source: Path, bucket: Bucket, place: Place) -> None:
        manifest = parse_manifest(_manifest_text(source), str(source))
        folder = f"files-{uuid.uuid4().hex}/"
        names = [*manifest.files, MANIFEST]
        uploads = [Upload(source / name, f"{place.key}/{folder}{name}") for name in names]
        with self._count("uploading", place, sum(upload.source.stat().st_size for upload in uploads)) as count:
            bucket.put(uploads, count)
        previous = _head(bucket, place)
        switch = Upload(source / MANIFEST, f"{place.key}/{MANIFEST}")
        bucket.put_file(switch, Count(0, lambda done: None), {_FOLDER: folder})
        try:
            with told(place.uri, place.bucket, self._settings.endpoint):
                _remove(bucket, place, previous.names() if previous else [])
                _remove(bucket, place, _abandoned(bucket, place, folder))
        except SkeletonAgentError as error:
            _log.warning("%s: published, but what it replaces could not be removed: %s", place.uri, error.what)

    def _fetch_artifact(self, bucket: Bucket, place: Place, found: _Head, target: Path) -> None:
        target.mkdir()
        (target / MANIFEST).write_bytes(found.text)
        downloads = [
            Download(f"{place.key}/{found.folder}{name}", target / name, record.bytes, record.sha256)
            for name, record in found.manifest.files.items()
        ]
        with self._count("downloading", place, sum(download.size for download in downloads)) as count:
            bucket.get(downloads, count)

    def _fetch_file(self, bucket: Bucket, place: Place, found: Object, target: Path) -> None:
        encryption = found.headers.get("x-amz-server-side-encryption", "AES256")
        customer = "x-amz-server-side-encryption-customer-algorithm" in found.headers
        digest_like = re.fullmatch(r"[0-9a-f]{32}", found.etag)  # unlike that of an upload in parts
        download = Download(
            place.key,
            target,
            found.size,
            sha256=found.headers.get(f"x-amz-meta-{_SHA256}"),
            md5=found.etag if digest_like and encryption == "AES256" and not customer else None,
            etag=found.etag,
        )
        with self._count("downloading", place, found.size) as count:
            bucket.get([download], count)


def _find(bucket: Bucket, place: Place) -> _Head | Object:
    found = _head(bucket, place) or bucket.stat(place.key)
    if found is None:
        unfinished = any(bucket.objects(f"{place.key}/"))
        reason = f"unfinished, or no artifact: {MANIFEST} is missing" if unfinished else "no such file or artifact"
        raise InputError(f"{reason}", at=place.uri)
    return found


def _head(bucket: Bucket, place: Place) -> _Head | None:
    """Read the manifest at a prefix; None if there is none."""
    found = bucket.read(f"{place.key}/{MANIFEST}")
    if found is None:
        return None
    text, headers = found
    folder = headers.get(f"x-amz-meta-{_FOLDER}", "")
    if folder and not re.fullmatch(_FOLDERS, folder):
        raise DamagedError(f"damaged: {MANIFEST} names the folder {folder!r}", at=place.uri)
    return _Head(text, parse_manifest(text, place.uri), folder)


def _manifest_text(source: Path) -> bytes:
    try:
        return (source / MANIFEST).read_bytes()
    except FileNotFoundError:
        raise DamagedError(
            f"not an artifact: {MANIFEST} is missing (unfinished or wrong directory)", at=source
        ) from None


def _remove(bucket: Bucket, place: Place, names: Iterable[str]) -> None:
    keys = [DeleteObject(f"{place.key}/{name}") for name in names]
    for error in bucket.client.remove_objects(bucket.name, keys):
        _log.warning("%s: %s could not be removed: %s", place.uri, error.name, error.code)


def _abandoned(bucket: Bucket, place: Place, current: str) -> list[str]:
    """Name the objects of uploads that died long ago, relative to the prefix."""
    folders: dict[str, list[str]] = {}
    newest: dict[str, datetime] = {}
    for found in bucket.objects(f"{place.key}/files-"):
        name = (found.object_name or "").removeprefix(f"{place.key}/")
        folder = name.partition("/")[0] + "/"
        if not re.fullmatch(_FOLDERS, folder):
            continue
        folders.setdefault(folder, []).append(name)
        written = found.last_modified or datetime.now(UTC)
        newest[folder] = max(newest.get(folder, written), written)
    limit = datetime.now(UTC) - _ABANDONED
    old = (folder for folder in folders if folder != current and newest[folder] < limit)
    return [name for folder in old for name in folders[folder]]
