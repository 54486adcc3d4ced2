"""The artifacts of an earlier run, found in a bucket as KFP leaves them there."""

from __future__ import annotations

from pathlib import Path

import pytest
from minio import Minio

from components.contracts.artifact import Schema, seal
from components.contracts.errors import InputError
from pipelines.cluster.artifacts import locate
from pipelines.cluster.replay import Need

DATASET = Need("dataset", "dataset")


def test_artifacts_are_found_by_their_manifests(prefix: str, client: Minio, tmp_path: Path) -> None:
    (tmp_path / "content").write_text("x")
    seal(tmp_path, Schema("dataset", 1, 0), made_from={}, config={"layout": "x"}, about={"samples": 1})
    bucket, _, root = prefix.removeprefix("s3://").partition("/")
    for file in tmp_path.iterdir():
        client.fput_object(bucket, f"{root}/skeletonagent/run-1/preprocess/0b6f/dataset/{file.name}", str(file))
    client.fput_object(bucket, f"{root}/skeletonagent/run-1/other/manifest.json", str(tmp_path / "content"))
    for scheme in ("s3", "minio"):
        at = f"{scheme}://{bucket}/{root}"
        expected = {DATASET: f"{at}/skeletonagent/run-1/preprocess/0b6f/dataset"}
        assert locate([DATASET], at, "run-1", lambda need: {}) == expected
        assert locate([DATASET], at, "run-2", lambda need: {"layout": "x"}) == expected
    with pytest.raises(InputError, match="dataset: not found below"):
        locate([DATASET], prefix, "run-2", lambda need: {"layout": "y"})


def test_a_bucket_that_is_not_there(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="no bucket 'no-such-bucket-here'"):
        locate([DATASET], "s3://no-such-bucket-here", "run-1", lambda need: {})
