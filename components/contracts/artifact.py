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
import re
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.contracts.directories import recover, replace, scratch_beside
from components.contracts.documents import check_size, read_bytes, reading
from components.contracts.errors import DamagedError, InputError, ResourceError

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
    digest of all the rest, so that damage to the manifest itself is seen. ``digest`` is the artifact's, which is not
    in the file: what ``digest()`` returns, of the bytes that were verified.
    """

    model_config = ConfigDict(extra="ignore", frozen=True)

    artifact: str
    version: str
    made_from: dict[str, str]
    config: dict[str, Any]
    about: dict[str, Any]
    files: dict[str, FileRecord] = Field(default_factory=dict)
    sha256: str = ""
    digest: str = Field(default="", exclude=True)


UNSEALED = Manifest(artifact="", version="", made_from={}, config={}, about={})
"""The manifest of what was made in memory and not yet written."""


@dataclass(frozen=True, kw_only=True)
class Artifact:
    """What every opened artifact carries: the manifest that opening it has verified. Nobody need verify it again."""

    manifest: Manifest = field(default=UNSEALED, repr=False, compare=False)

    @property
    def digest(self) -> str:
        """The artifact's digest; empty unless it was opened."""
        return self.manifest.digest


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
        raise InputError("exists and is no artifact; give the output another name", at=path)
    with ExitStack() as stack:
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            scratch = stack.enter_context(scratch_beside(path))
        except OSError as error:
            raise InputError(f"cannot be written: {error.strerror}", at=path) from None
        scratch.chmod(0o755)
        try:
            yield scratch
            _replace_directory(scratch, path)
        except OSError as error:
            if error.errno in WRITE_FAILURES:
                raise ResourceError(f"cannot be written: {error.strerror or error}", at=path) from None
            raise


WRITE_FAILURES = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EIO, None)
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
    """Write ``manifest.json`` over the files that lie in ``directory``; the last step of every ``write``.

    The manifests of artifacts within it are files like others.
    """
    files = {
        str(file.relative_to(directory)): FileRecord(bytes=file.stat().st_size, sha256=sha256_file(file))
        for file in sorted(directory.rglob("*"))
        if file.is_file() and file != directory / MANIFEST
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
        raise InputError(f"{schema.name} artifact not found", at=path)
    with reading(path, schema.name):
        return _verified(path, schema)


def _verified(path: Path, schema: Schema) -> Manifest:
    manifest = _read_manifest(path)
    if manifest.artifact != schema.name:
        raise InputError(f"expected a {schema.name} artifact, found {manifest.artifact[:40]!r}", at=path)
    _check_version(path, manifest.version, schema)
    for name, record in manifest.files.items():
        _check_file(path / name, record)
    return manifest


def _read_manifest(path: Path) -> Manifest:
    file = path / MANIFEST
    try:
        content = read_bytes(file)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError):
        message = f"not an artifact: {MANIFEST} is missing (unfinished or wrong directory)"
        raise DamagedError(message, at=path) from None
    manifest = parse_manifest(content, str(file))
    # On the document, not on ``Manifest``: a newer minor version may have fields that this program does not know.
    document = json.loads(content)
    recorded, found = document.pop("sha256", None), digest_of(document)
    if found != recorded:
        what = f"damaged: SHA-256 {found[:12]}… of its content found, {str(recorded)[:12]}… recorded"
        raise DamagedError(what, at=file)
    return manifest.model_copy(update={"digest": hashlib.sha256(content).hexdigest()})


def parse_manifest(content: bytes, where: str) -> Manifest:
    """Read a manifest, whose files must be names below it: a stranger's manifest must not have others opened.

    Raises:
        DamagedError: it is not a manifest, or names a file that is not below it; the line begins with ``where``.
    """
    try:
        check_size(content, where)
        manifest = Manifest.model_validate_json(content)
    except ValidationError as error:
        first = error.errors()[0]
        field_name = ".".join(str(part) for part in first["loc"]) or "document"
        raise DamagedError(f"damaged manifest: {field_name}: {first['msg']}", at=where) from None
    for name in manifest.files:
        inside = PurePosixPath(name)
        if "\0" in name or inside.is_absolute() or ".." in inside.parts or str(inside) != name or name == MANIFEST:
            raise DamagedError(f"damaged manifest: {name[:100]!r} is not the name of a file below it", at=where)
    return manifest


def _check_version(path: Path, version: str, schema: Schema) -> None:
    if not re.fullmatch(r"[0-9]{1,4}\.[0-9]{1,4}", version):
        raise DamagedError(f"damaged manifest: version {version[:20]!r} is not MAJOR.MINOR", at=path)
    major = version.partition(".")[0]
    if int(major) != schema.major:
        advice = "update this program" if int(major) > schema.major else "run the stage that made it again"
        reads = f"this program reads {schema.major}.x"
        raise InputError(f"{schema.name} artifact has schema version {version}, {reads}: {advice}", at=path)


def _check_file(file: Path, record: FileRecord) -> None:
    if not file.is_file():
        raise DamagedError(f"missing, but listed in {MANIFEST}", at=file)
    size = file.stat().st_size
    if size != record.bytes:
        raise DamagedError(f"damaged: {size} bytes found, {record.bytes} expected", at=file)
    found = sha256_file(file)
    if found != record.sha256:
        raise DamagedError(f"damaged: SHA-256 {found[:12]}… found, {record.sha256[:12]}… expected", at=file)
