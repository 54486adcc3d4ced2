"""Small documents in a real S3 server, and the service on it."""

from __future__ import annotations

from pathlib import Path

import pytest
from agent_helpers import NW_UCLA, Scene, serving, stalling
from document_checks import check_claims, check_reading_and_replacing
from made_trees import keys
from minio import Minio
from service_process import TOKEN, Service, request_of

from components.agent.core import run_round
from components.agent.round import Round
from components.agent.rounds import make_round
from components.contracts.artifact import digest
from components.contracts.errors import InputError
from components.runtime.store import documents_at
from components.runtime.store.documents_s3 import S3Documents


def test_documents_are_read_and_replaced(prefix: str, client: Minio) -> None:
    documents = documents_at(f"{prefix}/d")
    assert isinstance(documents, S3Documents)
    documents.prepare()
    check_reading_and_replacing(documents)
    check_claims(documents)
    assert len([name for name in keys(client, f"{prefix}/d") if name.startswith("log/")]) == 2


def test_a_bucket_that_is_not_there_is_one_line(environment: pytest.MonkeyPatch) -> None:
    with pytest.raises(InputError, match="s3://absent-bucket/d: no bucket 'absent-bucket'"):
        documents_at("s3://absent-bucket/d").check()


def test_the_service_works_on_an_object_store(prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKELETONAGENT_AGENT_TOKEN", TOKEN)
    scene = Scene(tmp_path)
    stage = scene.stage()
    run_round(Round(stage), tmp_path / "here")
    service = Service(f"{prefix}/agent", tmp_path, (), {"OPENAI_API_KEY": ""}).start()
    try:
        make_round(Round(stage), tmp_path / "there", agent_url=service.url)
        assert digest(tmp_path / "there") == digest(tmp_path / "here")
        status = service.submit(request_of(stage))  # it is known, and done
        assert (status.state, status.result) == ("done", f"{prefix}/agent/rounds/{status.id}/constraints")
        confusion = scene.confusion(stage, {("throw", "carry"): 4})
        body = request_of(stage, stream="j", round_number=1, confusion=confusion, previous=tmp_path / "here")
        by_uri = body.replace(body[body.index(b'"previous":') :], b'"previous":{"uri":"%s"}}' % status.result.encode())
        assert service.submit(by_uri).id == service.submit(body).id
        assert service.stop() == 0
    finally:
        if service.process.poll() is None:
            service.kill()


@pytest.mark.slow
def test_a_service_killed_in_the_middle_asks_nothing_twice(
    prefix: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("SKELETONAGENT_AGENT_TOKEN", TOKEN)
    with serving() as endpoint:
        stage = Scene(tmp_path).stage(provider="openai", base_url=endpoint.url, concurrency=1)
        stuck = stalling(endpoint, "donning")  # the seventh class
        first = Service(f"{prefix}/agent", tmp_path, ("--base-url", endpoint.url)).start()
        job = first.submit(request_of(stage)).id
        assert stuck.wait(60)
        first.kill()
        second = Service(f"{prefix}/agent", tmp_path, ("--base-url", endpoint.url)).start()
        try:
            assert second.call("GET", f"/v1/rounds/{job}").status == 404
            assert second.submit(request_of(stage)).id == job
            assert second.ended(job).state == "done"
            asked = {name: len(endpoint.asked(name)) for name in NW_UCLA}
            assert asked == {name: 2 if name == "donning" else 1 for name in NW_UCLA}
            assert second.metric("skeletonagent_llm_cache_hits_total") == 6
        finally:
            second.kill()
