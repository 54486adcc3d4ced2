"""Servers with other manners than ours, and other ways to say where the server is."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from dropping_proxy import DroppingProxy
from made_trees import make_tree, verified_digest
from minio import Minio
from seaweed_like import seaweed_like
from swift_server import SwiftServer

from components.contracts.artifact import digest
from components.contracts.errors import InputError
from components.runtime.store import documents_at, is_within, store_for
from components.runtime.store.connection import AMAZON, Settings

KEYS = {"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_ACCESS_KEY": "geheim"}


class TestSeaweedFS:
    @pytest.fixture(autouse=True)
    def server(self, swift: SwiftServer, client: Minio, environment: pytest.MonkeyPatch) -> Iterator[None]:
        with seaweed_like(swift.port, client) as endpoint:
            environment.setenv("S3_ENDPOINT", endpoint)
            yield

    def test_an_artifact_that_was_removed_is_not_called_unfinished(self, prefix: str, tmp_path: Path) -> None:
        store = store_for(prefix)
        made = make_tree(tmp_path / "made", {"a": b"a", "b/c": b"c"})
        for _ in range(2):
            store.publish(made, prefix)
        assert verified_digest(store.fetch(prefix, tmp_path / "into")) == digest(made)
        store.remove(prefix)
        assert not store.exists(prefix)
        with pytest.raises(InputError, match=r": no such file or artifact$"):
            store.fetch(prefix, tmp_path / "into")

    def test_a_missing_bucket_is_noticed_before_the_first_write_makes_it(self, client: Minio, tmp_path: Path) -> None:
        uri = "s3://mistyped-bucket/x"
        made = make_tree(tmp_path / "made", {"a": b"a"})
        for action in (
            lambda: store_for(uri).check(uri),
            lambda: store_for(uri).publish(made, uri),
            lambda: store_for(uri).publish(made / "a", uri),
            lambda: documents_at(uri).prepare(),
            lambda: documents_at(uri).check(),
        ):
            with pytest.raises(InputError, match=f"^{uri}: no bucket 'mistyped-bucket' at "):
                action()
        assert not client.bucket_exists("mistyped-bucket")


@pytest.mark.parametrize(
    ("variables", "expected"),
    [
        ({}, AMAZON),
        ({"AWS_ENDPOINT_URL": "http://general:1"}, "http://general:1"),
        ({"AWS_ENDPOINT_URL": "http://general:1", "AWS_ENDPOINT_URL_S3": "http://s3:2/"}, "http://s3:2"),
        ({"AWS_ENDPOINT_URL_S3": "http://s3:2", "S3_ENDPOINT": "http://ours:3"}, "http://ours:3"),
        ({"S3_ENDPOINT": "", "AWS_ENDPOINT_URL": "http://general:1"}, "http://general:1"),
    ],
)
def test_the_first_variable_that_is_set_says_where_the_server_is(variables: dict[str, str], expected: str) -> None:
    assert Settings.read({**KEYS, **variables}).endpoint == expected


def test_a_wrong_endpoint_is_told_by_the_variable_that_has_it() -> None:
    with pytest.raises(InputError, match=r"^AWS_ENDPOINT_URL_S3: found 's3:2', expected http://host:port"):
        Settings.read({**KEYS, "AWS_ENDPOINT_URL_S3": "s3:2"})


def test_a_misspelt_variable_is_named_beside_the_one_that_is_missing() -> None:
    with pytest.raises(InputError, match=r"not set: AWS_SECRET_ACCESS_KEY \(but AWS_SECRET_KEY is\)$") as caught:
        Settings.read({"AWS_ACCESS_KEY_ID": "me", "AWS_SECRET_KEY": "geheim"})
    assert "geheim" not in str(caught.value)


class TestProxies:
    """A proxy of HTTP gets the whole URL of a request: to the server behind it that is a path like any other."""

    def test_requests_go_through_the_proxy(
        self, prefix: str, proxy: DroppingProxy, environment: pytest.MonkeyPatch, tmp_path: Path
    ) -> None:
        environment.setenv("S3_ENDPOINT", "http://no-such-host.invalid:9000")  # the proxy knows it
        environment.setenv("HTTP_PROXY", proxy.endpoint)
        environment.delenv("NO_PROXY", raising=False)
        environment.delenv("no_proxy", raising=False)
        made = make_tree(tmp_path / "made", {"a": b"a"})
        store_for(prefix).publish(made, prefix)
        assert verified_digest(store_for(prefix).fetch(prefix, tmp_path / "into")) == digest(made)

    @pytest.mark.parametrize("name", ["127.0.0.1", "*", "localhost,127.0.0.1"])
    def test_but_not_to_hosts_that_are_excepted(self, prefix: str, environment: pytest.MonkeyPatch, name: str) -> None:
        environment.setenv("HTTP_PROXY", "http://127.0.0.1:9")
        environment.setenv("NO_PROXY", name)
        environment.delenv("no_proxy", raising=False)
        store_for(prefix).check(prefix)


@pytest.mark.parametrize(
    ("uri", "expected"),
    [
        ("s3://lab/exp/c0", True),
        ("minio://lab/exp", True),
        ("s3://lab/experiments", False),
        ("s3://lab/exp/../other", False),
        ("s3://lab2/exp/c0", False),
        ("s3://open/anything", True),
        ("/lab/exp/c0", False),
        ("lab/exp/c0", False),
        ("file://lab/exp/c0", False),
    ],
)
def test_a_uri_lies_within_a_place_or_not(uri: str, expected: bool) -> None:
    assert is_within(uri, ("s3://lab/exp/", "s3://open")) is expected
