"""Small documents in a real S3 server, and claims on a server whose conditional writes are not atomic."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from threading import Barrier
from typing import Any

import pytest
from agent_helpers import NW_UCLA, Response, Scene, good, serving
from document_checks import check_reading_listing_removing
from service_process import TOKEN, Service, request_of, until

from components.agent.core import run_round
from components.agent.round import Round
from components.agent.rounds import make_round
from components.contracts import constraints
from components.contracts.artifact import digest
from components.contracts.errors import InputError
from components.runtime.store import documents_at
from components.runtime.store.documents_s3 import S3Documents


def test_documents_are_read_listed_and_removed(prefix: str) -> None:
    documents = documents_at(f"{prefix}/d")
    assert isinstance(documents, S3Documents)
    documents.check()
    check_reading_listing_removing(documents)
    (day,) = documents.names("log")
    assert len(documents.names(f"log/{day}")) == 2


def test_a_bucket_that_is_not_there_is_one_line(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="s3://absent-bucket/d: no bucket 'absent-bucket'"):
        documents_at("s3://absent-bucket/d").check()


def test_of_many_who_claim_at_once_one_has_it(prefix: str) -> None:
    replicas = [S3Documents(f"{prefix}/d", settle_s=1.5) for _ in range(6)]
    for number in range(2):
        together = Barrier(len(replicas))

        def contend(replica: S3Documents, name: str = f"q{number}", together: Barrier = together) -> bool:
            together.wait()
            return replica.claim(name) is not None

        with ThreadPoolExecutor(len(replicas)) as pool:
            won = list(pool.map(contend, replicas))
        assert sum(won) <= 1, "two have the same claim"
        assert sum(won) == 1, "a server too slow for its claims to be trusted: raise settle_s"
        assert not any(replica.claim(f"q{number}") for replica in replicas)


def test_a_claim_is_free_when_released_or_when_its_owner_is_dead(prefix: str) -> None:
    one = S3Documents(f"{prefix}/d", settle_s=1.0, beat_s=0.2, dead_s=3.0)
    other = S3Documents(f"{prefix}/d", settle_s=1.0, beat_s=0.2, dead_s=3.0)
    claim = one.claim("q")
    assert claim is not None and claim.held()
    assert other.claim("q") is None
    claim.release()
    taken = other.claim("q")
    assert taken is not None
    taken.release()
    # An owner that died leaves its token, and no heart beats.
    other.write("claims/q", b"0123/4567")
    assert one.claim("q") is None
    time.sleep(3.5)
    inherited = one.claim("q")
    assert inherited is not None and inherited.held()


def test_two_who_share_a_memory_ask_each_question_once(prefix: str, tmp_path: Path) -> None:
    """Each has documents of its own, as two machines would."""

    def slow(request: dict[str, Any]) -> Response:
        time.sleep(1)
        return good()(request)

    with serving() as endpoint:
        endpoint.default = slow
        stage = Scene(tmp_path).stage(provider="openai", base_url=endpoint.url)

        def make(name: str) -> None:
            run_round(Round(stage), tmp_path / name, cache=S3Documents(f"{prefix}/llm", settle_s=1.5))

        with ThreadPoolExecutor(2) as pool:
            list(pool.map(make, "ab"))
        assert sorted(name for name, _, _ in endpoint.requests) == sorted(NW_UCLA)
        make("c")
        assert len(endpoint.requests) == len(NW_UCLA)
    assert len({digest(tmp_path / name) for name in "abc"}) == 1
    assert {c.provenance.status for c in constraints.open(tmp_path / "c").classes} == {"answered"}


def test_the_service_works_on_an_object_store(prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKELETONAGENT_AGENT_TOKEN", TOKEN)
    scene = Scene(tmp_path)
    stage = scene.stage()
    run_round(Round(stage), tmp_path / "here")
    service = Service(f"{prefix}/agent", tmp_path, (), {"OPENAI_API_KEY": ""}).start()
    try:
        make_round(Round(stage), tmp_path / "there", agent_url=service.url)
        assert digest(tmp_path / "there") == digest(tmp_path / "here")
        status = service.submit(request_of(stage))
        assert (status.state, status.result) == ("done", f"{prefix}/agent/rounds/{status.id}/constraints")
        confusion = scene.confusion(stage, {("throw", "carry"): 4})
        body = request_of(stage, stream="j", round_number=1, confusion=confusion, previous=tmp_path / "here")
        by_uri = body.replace(body[body.index(b'"previous":') :], b'"previous":{"uri":"%s"}}' % status.result.encode())
        assert service.submit(by_uri).id == service.submit(body).id
        assert service.stop() == 0
    finally:
        if service.process.poll() is None:
            service.kill()


@pytest.mark.slow  # a dead owner is known by its silence, for twenty seconds
def test_a_service_killed_in_the_middle_is_succeeded_by_another(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKELETONAGENT_AGENT_TOKEN", TOKEN)

    def slow(request: dict[str, Any]) -> Response:
        time.sleep(1)
        return good()(request)

    with serving() as endpoint:
        endpoint.default = slow
        stage = Scene(tmp_path).stage(provider="openai", base_url=endpoint.url, concurrency=1)
        replicas = [Service(f"{prefix}/agent", tmp_path, ("--base-url", endpoint.url)).start() for _ in range(2)]
        try:
            job = replicas[0].submit(request_of(stage)).id
            working = [service for service in replicas if owner_of(service, job)]
            (other,) = [service for service in replicas if service not in working]
            until(lambda: working[0].status(job).done >= 3)
            working[0].kill()
            answered = len(endpoint.requests) - 1  # the last question was open, most likely
            assert other.ended(job).state == "done"
            assert len(NW_UCLA) <= len(endpoint.requests) <= len(NW_UCLA) + 1
            assert len({name for name, _, _ in endpoint.requests[:answered]}) == answered
            assert other.metric("skeletonagent_llm_cache_hits_total") >= answered
            assert other.stop() == 0
        finally:
            for service in replicas:
                if service.process.poll() is None:
                    service.kill()


def owner_of(service: Service, job: str) -> bool:
    """Tell whether it is this replica that works on the only job."""
    until(lambda: service.status(job).state == "running")
    return service.metric("skeletonagent_agent_jobs_running") == 1
