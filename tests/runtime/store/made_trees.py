"""Artifacts of any files, and what a bucket holds, for the tests of the store."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import numpy as np
from minio import Minio

from components.contracts.artifact import Schema, digest, seal, verify

SCHEMA = Schema("made", 1, 0)
BUCKET = "experiments"


def make_tree(path: Path, files: Mapping[str, bytes]) -> Path:
    """Write an artifact of these files and return its path."""
    path.mkdir(parents=True)
    for name, content in files.items():
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        (path / name).write_bytes(content)
    seal(path, SCHEMA, made_from={}, config={}, about={})
    return path


def noise(size: int, seed: int = 0) -> bytes:
    """Return bytes that no compression or deduplication shortens."""
    return np.random.default_rng(seed).bytes(size)


def verified_digest(path: Path) -> str:
    """Check an artifact of ``make_tree`` and return its digest."""
    verify(path, SCHEMA)
    return digest(path)


def keys(client: Minio, uri: str) -> list[str]:
    """Return what lies below a URI, relative to it."""
    bucket, _, key = uri.partition("://")[2].partition("/")
    found = client.list_objects(bucket, f"{key}/", recursive=True)
    return sorted(str(entry.object_name).removeprefix(f"{key}/") for entry in found)
