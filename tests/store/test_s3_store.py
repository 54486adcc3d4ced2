"""The S3 store against a real server: what goes in comes out, whole or not at all."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from made_artifacts import KINDS, Kind, write_scores
from minio import Minio

from components.contracts import scores
from components.contracts.artifact import digest
from components.contracts.errors import InputError
from components.contracts.store import store_for


def publish(source: Path, uri: str) -> None:
    store_for(uri).publish(source, uri)


def fetch(uri: str, into: Path) -> Path:
    return store_for(uri).fetch(uri, into)


def keys(client: Minio, uri: str) -> list[str]:
    bucket, _, key = uri.partition("://")[2].partition("/")
    return sorted(str(found.object_name) for found in client.list_objects(bucket, key, recursive=True))


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.name)
def test_artifacts_come_back_as_they_were(prefix: str, tmp_path: Path, kind: Kind) -> None:
    kind.write(tmp_path / "made")
    publish(tmp_path / "made", prefix)
    assert store_for(prefix).exists(prefix)
    found = fetch(prefix, tmp_path / "into")
    kind.module.open(found)
    assert digest(found) == digest(tmp_path / "made")
