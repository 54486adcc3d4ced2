"""What all artifacts share: a directory of files, described by a ``manifest.json`` written last.

The manifest carries the schema name and version, the digests of what the artifact was made from,
the part of the configuration that made it, and the SHA-256 of every file. An artifact therefore
either verifies completely or is refused with one line; a directory without a manifest is a write
that never finished. No manifest holds a time, a host or a path: the same inputs give the same bytes.
"""

from __future__ import annotations

import errno
import hashlib
import json
import os
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.contracts.directories import recover, replace, scratch_beside
from components.contracts.errors import InputError

MANIFEST = "manifest.json"
_CHUNK = 1 << 20


@dataclass(frozen=True)
class Schema:
    """Name and version of an artifact's format; a reader accepts its own major version or an older minor."""

    name: str
    major: int
    minor: int

    @property
    def version(self) -> str:
        return f"{self.major}.{self.minor}"


class FileRecord(BaseModel):
    """Size in bytes and SHA-256 (hex) of one file of an artifact."""

    model_config = ConfigDict(extra="forbid")

    bytes: int
    sha256: str


class Manifest(BaseModel):
    """The content of ``manifest.json``.

    ``made_from`` maps an input's role to its digest, ``config`` is the configuration section that
    made the artifact, ``about`` holds what the particular artifact says of itself, ``sha256`` is the
    digest of all the rest, so that damage to the manifest itself is seen.
    """

    model_config = ConfigDict(extra="ignore", populate_by_name=True)

    artifact: str
    version: str
    made_from: dict[str, str]
    config: dict[str, Any]
    about: dict[str, Any]
    files: dict[str, FileRecord] = Field(default_factory=dict)
    sha256: str = ""


def sha256_file(path: Path) -> str:
    """Return the SHA-256 (hex) of a file, read in chunks."""
    digest = hashlib.sha256()
    with path.open("rb") as stream:
        while chunk := stream.read(_CHUNK):
            digest.update(chunk)
    return digest.hexdigest()


def canonical_json(value: Any) -> str:
    """Serialise to JSON with sorted keys and no spare white space: equal values, equal text."""
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False)


def digest_of(value: Any) -> str:
    """Return the SHA-256 (hex) of a JSON-serialisable value in canonical form."""
    return hashlib.sha256(canonical_json(value).encode()).hexdigest()


def digest(path: Path) -> str:
    """Return an artifact's digest: the SHA-256 of its manifest, which itself covers every file."""
    recover(path)
    try:
        return sha256_file(path / MANIFEST)
    # Opened without looking first: where names cannot be exchanged a writer may move it away in between.
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        message = f"{path}: not an artifact: {MANIFEST} is missing (unfinished or wrong directory)"
        raise InputError(message) from None


@contextmanager
def staged(path: Path) -> Iterator[Path]:
    """Yield a scratch directory that takes the place of ``path`` if, and only if, the block succeeds.

    A crash leaves at most a ``.<name>.*.tmp`` directory beside the target, which the next writer removes, never half
    an artifact. What is no artifact is never replaced: a mistyped output must not cost anybody a directory.
    """
    if path.exists() and not (path.is_dir() and ((path / MANIFEST).is_file() or not any(path.iterdir()))):
        raise InputError(f"{path}: exists and is no artifact; give the output another name")
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = stack.enter_context(scratch_beside(path))
        except OSError as error:
            raise InputError(f"{path}: cannot be written: {error.strerror}") from None
        scratch.chmod(0o755)
        try:
            yield scratch
            _replace_directory(scratch, path)
        except OSError as error:
            if error.errno in _WRITE_FAILURES:
                raise InputError(f"{path}: cannot be written: {error.strerror or error}") from None
            raise


_WRITE_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, None)
"""How a write fails; NumPy, which counts what was written, gives no number."""


def _replace_directory(source: Path, target: Path) -> None:
    for file in source.rglob("*"):
        if file.is_file():
            _sync(file)
    _sync(source)
    replace(source, target)
    _sync(target.parent)


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def seal(
    directory: Path,
    schema: Schema,
    *,
    made_from: Mapping[str, str],
    config: Mapping[str, Any],
    about: Mapping[str, Any],
) -> None:
    """Write ``manifest.json`` over the files that lie in ``directory``; the last step of every ``write``."""
    files = {
        str(file.relative_to(directory)): FileRecord(bytes=file.stat().st_size, sha256=sha256_file(file))
        for file in sorted(directory.rglob("*"))
        if file.is_file() and file.name != MANIFEST
    }
    manifest = Manifest(
        artifact=schema.name,
        version=schema.version,
        made_from=dict(made_from),
        config=dict(config),
        about=dict(about),
        files=files,
    )
    document = manifest.model_dump(mode="json", exclude={"sha256"})
    document["sha256"] = digest_of(document)
    text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False)
    (directory / MANIFEST).write_text(text + "\n", encoding="utf-8")


def verify(path: Path, schema: Schema) -> Manifest:
    """Check an artifact completely and return its manifest.

    Raises:
        InputError: no manifest, another kind of artifact, a newer major version, or a file that is
            missing or whose size or SHA-256 is not the recorded one.
    """
    recover(path)
    if not path.exists():
        raise InputError(f"{path}: {schema.name} artifact not found")
    manifest = _read_manifest(path)
    if manifest.artifact != schema.name:
        raise InputError(f"{path}: expected a {schema.name} artifact, found {manifest.artifact!r}")
    _check_version(path, manifest.version, schema)
    _check_manifest(path / MANIFEST)
    for name, record in manifest.files.items():
        _check_file(path / name, record)
    return manifest


def _read_manifest(path: Path) -> Manifest:
    file = path / MANIFEST
    if not file.is_file():
        raise InputError(f"{path}: not an artifact: {MANIFEST} is missing (unfinished or wrong directory)")
    try:
        return Manifest.model_validate_json(file.read_bytes())
    except ValidationError as error:
        first = error.errors()[0]
        where = ".".join(str(part) for part in first["loc"]) or "document"
        raise InputError(f"{file}: damaged manifest: {where}: {first['msg']}") from None


def _check_version(path: Path, version: str, schema: Schema) -> None:
    major, _, minor = version.partition(".")
    if not (major.isdigit() and minor.isdigit()):
        raise InputError(f"{path}: damaged manifest: version {version!r} is not MAJOR.MINOR")
    if int(major) != schema.major:
        advice = "update this program" if int(major) > schema.major else "run the stage that made it again"
        reads = f"this program reads {schema.major}.x"
        raise InputError(f"{path}: {schema.name} artifact has schema version {version}, {reads}: {advice}")


def _check_manifest(file: Path) -> None:
    # On the document, not on ``Manifest``: a newer minor version may have fields that this program does not know.
    document = json.loads(file.read_bytes())
    recorded = document.pop("sha256", None)
    found = digest_of(document)
    if found != recorded:
        raise InputError(f"{file}: damaged: SHA-256 {found[:12]}… of its content found, {str(recorded)[:12]}… recorded")


def _check_file(file: Path, record: FileRecord) -> None:
    if not file.is_file():
        raise InputError(f"{file}: missing, but listed in {MANIFEST}")
    size = file.stat().st_size
    if size != record.bytes:
        raise InputError(f"{file}: damaged: {size} bytes found, {record.bytes} expected")
    found = sha256_file(file)
    if found != record.sha256:
        raise InputError(f"{file}: damaged: SHA-256 {found[:12]}… found, {record.sha256[:12]}… expected")
