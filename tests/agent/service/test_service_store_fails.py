"""The service while its store fails or holds what cannot be made out: nothing is paid for twice, nothing is stuck."""

from __future__ import annotations

import asyncio
import socket
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from agent_helpers import NW_UCLA, Endpoint, Scene
from service_process import TOKEN, Service, until

from components.agent.round import Round
from components.agent.service.app import make_app
from components.agent.service.book import Book
from components.agent.service.client import TIMES_LOST, ServiceClient, _GoneError
from components.agent.service.intake import accept
from components.agent.service.messages import RoundRequest, RoundStatus
from components.agent.service.worker import Workers
from components.contracts.errors import InputError
from components.runtime.store.documents_s3 import S3Documents

pytestmark = pytest.mark.xdist_group("agent service")


@pytest.fixture(autouse=True)
def environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKELETONAGENT_AGENT_TOKEN", TOKEN)
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


@pytest.fixture
def book(tmp_path: Path) -> Book:
    made = Book(str(tmp_path / "store"))
    made.check()
    return made


def request_for(scene: Scene, endpoint: Endpoint) -> RoundRequest:
    return RoundRequest(stage=scene.stage(provider="openai", base_url=endpoint.url))


def submitted(book: Book, request: RoundRequest, endpoint: Endpoint) -> str:
    return book.submit(*accept(request, (endpoint.url,))).id


def state_of(book: Book, job: str) -> str:
    status = book.status(job)
    return status.state if status else "unknown"


@contextmanager
def working(book: Book, endpoint: Endpoint) -> Iterator[Workers]:
    workers = Workers(book, 2, (endpoint.url,))
    workers.start()
    yield workers
    workers.stop(5)


def failing(times: int, action: Callable[..., Any]) -> Callable[..., Any]:
    """Fail so many times before acting."""
    left = iter(range(times))

    def act(*arguments: Any) -> Any:
        if next(left, None) is not None:
            raise InputError("store: No space left on device")
        return action(*arguments)

    return act


class TestAStoreThatFails:
    def test_a_result_that_cannot_be_stored_is_kept_and_not_paid_for_again(
        self, book: Book, scene: Scene, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = submitted(book, request_for(scene, endpoint), endpoint)
        monkeypatch.setattr(book, "publish", failing(3, book.publish))
        monkeypatch.setattr(book.memory, "write", failing(1000, book.memory.write))  # answers are lost too
        with working(book, endpoint):
            until(lambda: state_of(book, job) == "done")
        assert len(endpoint.requests) == len(NW_UCLA)

    def test_nothing_is_asked_while_nothing_can_be_written(
        self, book: Book, scene: Scene, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = submitted(book, request_for(scene, endpoint), endpoint)
        write, tried = book.write, 0

        def full(status: RoundStatus) -> None:
            nonlocal tried
            tried += 1
            if tried <= 3:
                assert not endpoint.requests
                raise InputError("store: No space left on device")
            write(status)

        monkeypatch.setattr(book, "write", full)
        with working(book, endpoint):
            until(lambda: state_of(book, job) == "done")
        assert len(endpoint.requests) == len(NW_UCLA)

    def test_a_job_whose_end_could_not_be_written_is_not_held_for_ever(
        self, book: Book, scene: Scene, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = submitted(book, request_for(scene, endpoint), endpoint)
        write = book.write
        done = failing(1, write)
        monkeypatch.setattr(book, "write", lambda status: (done if status.state == "done" else write)(status))
        with working(book, endpoint):
            until(lambda: state_of(book, job) == "done")
        assert not book.open_jobs()
        assert len(endpoint.requests) == len(NW_UCLA)

    def test_an_outage_is_not_held_against_the_request(
        self, book: Book, scene: Scene, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        job = submitted(book, request_for(scene, endpoint), endpoint)
        monkeypatch.setattr(book.memory, "check", failing(1, book.memory.check))
        monkeypatch.setattr(book, "check", failing(1, book.check))
        with working(book, endpoint):
            until(lambda: state_of(book, job) in ("done", "failed"))
        assert state_of(book, job) == "done"


class TestWhatCannotBeMadeOut:
    def test_a_damaged_status_blocks_no_other_job_and_is_made_good(
        self, book: Book, scene: Scene, endpoint: Endpoint, tmp_path: Path
    ) -> None:
        request = request_for(scene, endpoint)
        damaged = submitted(book, request, endpoint)
        (tmp_path / "store" / "rounds" / damaged / "status.json").write_text("{")
        assert book.status(damaged) is None
        with working(book, endpoint):
            until(lambda: state_of(book, damaged) == "done")

    def test_a_damaged_request_fails_until_it_is_made_again(
        self, book: Book, scene: Scene, endpoint: Endpoint, tmp_path: Path
    ) -> None:
        request = request_for(scene, endpoint)
        job = submitted(book, request, endpoint)
        (tmp_path / "store" / "rounds" / job / "request.json").write_text("{")
        with working(book, endpoint):
            until(lambda: state_of(book, job) == "failed")
            found = book.status(job)
            assert found and "request.json: damaged" in found.error
            submitted(book, request, endpoint)
            until(lambda: state_of(book, job) == "done")


def test_a_job_that_is_asked_for_again_while_it_ends_is_open(
    book: Book, scene: Scene, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    request = request_for(scene, endpoint)
    job = submitted(book, request, endpoint)
    status = book.status(job)
    assert status
    remove = book._documents.remove

    def after_another_replica(name: str) -> None:
        if name.startswith("open/"):
            assert submitted(Book(book._store), request, endpoint) == job
        remove(name)

    monkeypatch.setattr(book._documents, "remove", after_another_replica)
    book.write(status.model_copy(update={"state": "cancelled"}))
    assert (state_of(book, job), book.open_jobs()) == ("queued", [job])


def test_a_job_that_is_taken_while_the_service_ends_asks_nothing(book: Book, scene: Scene, endpoint: Endpoint) -> None:
    job = submitted(book, request_for(scene, endpoint), endpoint)
    workers = Workers(book, 2, (endpoint.url,))
    workers.stop(0)
    claim = book.claim(job)
    assert claim
    workers._take(job, claim)
    until(lambda: (free := book.claim(job)) and (free.release() or True))
    assert state_of(book, job) == "queued"
    assert not endpoint.requests


def test_a_service_that_looks_for_no_jobs_any_more_says_so(book: Book, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever stops that thread is a defect; a probe then has the process replaced."""
    app = make_app(book, (), token=TOKEN, slots=1, max_bytes=1000)

    async def status() -> int:
        sent: list[MutableMapping[str, Any]] = []

        async def receive() -> MutableMapping[str, Any]:
            return {"type": "http.request", "body": b"", "more_body": False}

        async def send(message: MutableMapping[str, Any]) -> None:
            sent.append(message)

        scope = {"type": "http", "method": "GET", "path": "/healthz", "headers": [], "query_string": b""}
        await app({**scope, "http_version": "1.1", "scheme": "http"}, receive, send)
        return int(sent[0]["status"])

    assert asyncio.run(status()) == 503  # nothing has started to look

    workers = Workers(book, 1, ())
    monkeypatch.setattr(book, "open_jobs", lambda: 1 / 0)
    monkeypatch.setattr("threading.excepthook", lambda arguments: None)
    workers.start()
    until(lambda: not workers.lives())


def test_replicas_that_share_no_store_are_found_out(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    posted = 0

    def forgetful(self: ServiceClient, method: str, path: str, body: bytes | None) -> bytes:
        nonlocal posted
        if method == "GET":
            raise _GoneError
        posted += 1
        return RoundStatus(id="0" * 64, state="queued").model_dump_json().encode()

    monkeypatch.setattr(ServiceClient, "_send", forgetful)
    with pytest.raises(InputError, match="did not know it: do replicas share a store"):
        ServiceClient("http://service", poll_s=0.01).run_round(Round(scene.stage()), scene.root / "c")
    assert posted == TIMES_LOST


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    running = Service(str(folder / "store"), folder, (), {"OPENAI_API_KEY": ""}).start()
    yield running
    assert running.stop() == 0


class TestStrangers:
    def test_a_stranger_cannot_fill_the_metrics_with_methods(self, service: Service) -> None:
        for number in range(3):
            assert service.call(f"FOO{number}", "/healthz", token=None).status == 405
        metrics = service.call("GET", "/metrics").data.decode()
        assert "FOO" not in metrics
        assert 'method="other"' in metrics

    def test_a_stranger_has_no_body_read(self, service: Service) -> None:
        host, port = service.url.removeprefix("http://").split(":")
        for path, status in (("/healthz", b"405"), ("/v1/rounds", b"401")):
            with socket.create_connection((host, int(port)), timeout=30) as stranger:
                head = f"POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 10000000\r\n\r\n"
                stranger.sendall(head.encode())
                assert stranger.recv(100).split()[1] == status


def test_a_claim_whose_release_failed_is_given_back_later(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    objects: dict[str, bytes] = {}
    documents = S3Documents("s3://bucket/d", settle_s=0.01, beat_s=0.05, dead_s=60)
    monkeypatch.setattr(documents, "read", objects.get)
    monkeypatch.setattr(documents, "write", objects.__setitem__)
    monkeypatch.setattr(documents, "remove", failing(2, lambda name: objects.pop(name, None)))
    claim = documents.claim("job")
    assert claim and documents.claim("job") is None
    with pytest.raises(InputError):
        claim.release()
    until(lambda: documents.claim("job"))
