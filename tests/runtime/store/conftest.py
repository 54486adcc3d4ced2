"""A real S3 server for the tests of the store, started once for each test process."""

from __future__ import annotations

import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from dropping_proxy import DroppingProxy
from made_trees import BUCKET
from minio import Minio
from swift_server import ServerUnavailableError, SwiftServer, install

ROOT = Path(__file__).resolve().parents[3]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests of the store on one of pytest's processes: one server serves them all."""
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.xdist_group("s3"))


def started(programs: Path, root: Path) -> SwiftServer:
    server = SwiftServer(programs, root)
    server.prepare()
    server.start()
    return server


@pytest.fixture(scope="session")
def swift(tmp_path_factory: pytest.TempPathFactory) -> Iterator[SwiftServer]:
    """The running server."""
    try:
        programs = install(ROOT / "build" / "s3-server")
        try:
            server = started(programs, tmp_path_factory.mktemp("swift"))
        except ServerUnavailableError:  # its ports are in its configuration: somebody may have taken one since
            server = started(programs, tmp_path_factory.mktemp("swift"))
    except ServerUnavailableError as error:
        pytest.skip(f"no S3 server: {error}")
    yield server
    server.kill()


@pytest.fixture(scope="session")
def client(swift: SwiftServer) -> Minio:
    """A client that looks at the server past the store, with the bucket made."""
    client = Minio(f"127.0.0.1:{swift.port}", swift.access_key, swift.secret_key, secure=False, region="us-east-1")
    client.make_bucket(BUCKET)
    return client


@pytest.fixture
def environment(swift: SwiftServer, client: Minio, monkeypatch: pytest.MonkeyPatch) -> pytest.MonkeyPatch:
    """The environment a user sets; returned to change it."""
    for name in ("AWS_SESSION_TOKEN", "AWS_CA_BUNDLE", "AWS_REGION", "AWS_DEFAULT_REGION", "S3_PATH_STYLE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", swift.access_key)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", swift.secret_key)
    monkeypatch.setenv("S3_ENDPOINT", swift.endpoint)
    return monkeypatch


@pytest.fixture
def prefix(environment: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A place in the bucket that is this test's own."""
    return f"s3://{BUCKET}/{request.node.name}"


@pytest.fixture
def nobody() -> Iterator[str]:
    """The URL of a port at which nobody listens, and which nobody else gets meanwhile."""
    with socket.socket() as bound:
        bound.bind(("127.0.0.1", 0))
        yield f"http://127.0.0.1:{bound.getsockname()[1]}"


@pytest.fixture
def proxy(swift: SwiftServer, environment: pytest.MonkeyPatch) -> Iterator[DroppingProxy]:
    """A proxy in front of the server; the environment leads through it."""
    proxy = DroppingProxy(swift.port)
    environment.setenv("S3_ENDPOINT", proxy.endpoint)
    yield proxy
    proxy.close()
