"""The service survives: killed, told to end, or beside another replica, it loses no job and asks nothing twice."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from unittest import mock

import pytest
from agent_helpers import NW_UCLA, Endpoint, Response, Scene, completion, failure, good, stalling
from service_process import KEY, TOKEN, Service, request_of, until

from components.agent.core import run_round
from components.agent.round import Round
from components.agent.rounds import make_round
from components.agent.service.messages import ROUNDS
from components.contracts import constraints
from components.contracts.artifact import digest

pytestmark = pytest.mark.xdist_group("agent service")
Start = Callable[[], Service]


@pytest.fixture
def start(endpoint: Endpoint, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Start]:
    """Start replicas over one store."""
    folder = tmp_path_factory.mktemp("service")
    running: list[Service] = []

    def replica() -> Service:
        running.append(Service(str(folder / "store"), folder, ("--base-url", endpoint.url)).start())
        return running[-1]

    yield replica
    for service in running:
        if service.process.poll() is None:
            service.kill()
        assert "Traceback" not in service.log.read_text()


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKELETONAGENT_AGENT_TOKEN", TOKEN)
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def slow(seconds: float) -> Callable[[dict[str, Any]], Response]:
    def answer(request: dict[str, Any]) -> Response:
        time.sleep(seconds)
        return good()(request)

    return answer


def times_asked(endpoint: Endpoint) -> dict[str, int]:
    return dict(Counter(name for name, _, _ in endpoint.requests))


def test_with_an_llm_the_bytes_are_the_same_too_and_no_secret_is_written(
    endpoint: Endpoint, start: Start, scene: Scene
) -> None:
    endpoint.script["carry"] = [completion(None, refusal=f"{KEY}? No."), good()]
    endpoint.script["throw"] = [completion(f"the key is {KEY}")]
    prices = {"gpt-4o": {"prompt": 2.5, "completion": 10}}
    stage = scene.stage(provider="openai", base_url=endpoint.url, prices=prices, concurrency=2)
    run_round(Round(stage), scene.root / "here")
    asked_here = len(endpoint.requests)
    service = start()
    endpoint.script["carry"] = [completion(None, refusal=f"{KEY}? No."), good()]
    make_round(Round(stage), scene.root / "there", agent_url=service.url)
    assert digest(scene.root / "here") == digest(scene.root / "there")
    assert len(endpoint.requests) == 2 * asked_here
    about = constraints.verify(scene.root / "there").about
    status = service.submit(request_of(stage))
    assert (status.state, status.done, status.total) == ("done", 10, 10)
    assert (status.tokens, status.cost) == (about["tokens"], about["cost"])
    assert service.metric("skeletonagent_llm_tokens_total") == about["tokens"]
    assert service.metric("skeletonagent_llm_cost_total") == pytest.approx(about["cost"])
    assert service.metric("skeletonagent_llm_refusals_total") == 1
    assert service.metric("skeletonagent_llm_requests_total") == asked_here
    assert service.metric("skeletonagent_llm_latency_seconds_count") == asked_here
    assert service.call("GET", "/readyz").json() == {"store": "ok", "llm": "ok"}
    assert service.stop() == 0
    written = [file.read_bytes() for file in service.folder.rglob("*") if file.is_file()]
    assert not [content for content in written if KEY.encode() in content or TOKEN.encode() in content]


def test_without_its_llm_a_round_still_ends_with_the_constraints_there_are(
    endpoint: Endpoint, start: Start, scene: Scene
) -> None:
    endpoint.default = failure(502)
    service = start()
    stage = scene.stage(provider="openai", base_url=f"{endpoint.url}", concurrency=1)
    with mock.patch.object(endpoint, "url", "http://127.0.0.1:9/v1"):
        lonely = start()  # its only endpoint is one where nobody listens
    health = lonely.call("GET", "/readyz")
    assert (health.status, health.json()["store"]) == (503, "ok")
    assert health.json()["llm"].startswith("http://127.0.0.1:9/v1: no connection")
    assert lonely.call("GET", "/readyz?part=store").status == 200
    assert lonely.call("GET", "/readyz?part=llm").status == 503
    make_round(Round(stage), scene.root / "c0", agent_url=service.url)
    found = constraints.open(scene.root / "c0")
    assert {constraint.provenance.status for constraint in found.classes} == {"prior"}
    assert found.classes[0].provenance.note == "HTTP 502: no"


def test_killed_in_the_middle_another_replica_ends_the_job_without_asking_again(
    endpoint: Endpoint, start: Start, scene: Scene
) -> None:
    stage = scene.stage(provider="openai", base_url=endpoint.url, concurrency=1)
    stuck = stalling(endpoint, "donning")  # the seventh class
    first = start()
    job = first.submit(request_of(stage))
    assert stuck.wait(30)
    until(lambda: first.status(job.id).done == 6)
    first.kill()
    second = start()
    ended = second.ended(job.id)
    assert (ended.state, ended.done) == ("done", 10)
    # The question that was open when it died has never been answered; every other one was asked once.
    assert times_asked(endpoint) == {name: 2 if name == "donning" else 1 for name in NW_UCLA}
    found = constraints.open(Path(ended.result))
    assert {constraint.provenance.status for constraint in found.classes} == {"answered"}
    assert second.metric("skeletonagent_llm_cache_hits_total") == 6


def test_two_replicas_share_the_work_and_ask_nothing_twice(endpoint: Endpoint, start: Start, scene: Scene) -> None:
    endpoint.default = slow(0.2)
    with ThreadPoolExecutor(2) as pool:
        one, other = pool.map(lambda _: start(), range(2))
    # Different jobs with the same questions, each handed to both replicas.
    stages = [scene.stage(provider="openai", base_url=endpoint.url, min_count=k) for k in (1, 2, 3)]
    jobs = [service.submit(request_of(stage)).id for stage in stages for service in (one, other)]
    assert len(set(jobs)) == 3
    assert {other.ended(job).state for job in jobs} == {one.ended(job).state for job in jobs} == {"done"}
    assert times_asked(endpoint) == dict.fromkeys(NW_UCLA, 1)
    made = one.metric("skeletonagent_agent_jobs_total") + other.metric("skeletonagent_agent_jobs_total")
    assert made == 3


def test_told_to_end_it_takes_the_answers_under_way_and_parks_the_job(
    endpoint: Endpoint, start: Start, scene: Scene
) -> None:
    endpoint.default = slow(0.5)
    stage = scene.stage(provider="openai", base_url=endpoint.url, concurrency=2)
    first = start()
    job = first.submit(request_of(stage))
    until(lambda: first.status(job.id).done >= 2)
    began = time.monotonic()
    assert first.stop() == 0
    assert time.monotonic() - began < 10
    asked = len(endpoint.requests)
    assert 2 < asked < 10
    second = start()
    assert second.ended(job.id).state == "done"
    assert times_asked(endpoint) == dict.fromkeys(NW_UCLA, 1)


def test_told_to_end_it_waits_for_no_llm_that_stalls(endpoint: Endpoint, start: Start, scene: Scene) -> None:
    endpoint.default = slow(30)
    service = start()
    service.submit(request_of(scene.stage(provider="openai", base_url=endpoint.url)))
    until(lambda: endpoint.requests)
    began = time.monotonic()
    assert service.stop() == 0
    assert time.monotonic() - began < 10


def test_a_cancelled_job_sends_nothing_more_and_may_be_asked_for_again(
    endpoint: Endpoint, start: Start, scene: Scene
) -> None:
    endpoint.default = slow(0.4)
    stage = scene.stage(provider="openai", base_url=endpoint.url, concurrency=1)
    service = start()
    job = service.submit(request_of(stage)).id
    until(lambda: service.status(job).done >= 1)
    assert service.call("POST", f"{ROUNDS}/{job}/cancel").status == 202
    assert service.ended(job).state == "cancelled"
    asked = len(endpoint.requests)
    assert asked < 10
    assert service.call("GET", f"{ROUNDS}/{job}/result").status == 409
    assert service.submit(request_of(stage)).state == "queued"
    assert service.ended(job).state == "done"
    assert times_asked(endpoint) == dict.fromkeys(NW_UCLA, 1)


def test_a_client_outlives_a_restart_of_the_service(endpoint: Endpoint, start: Start, scene: Scene) -> None:
    endpoint.default = slow(0.3)
    stage = scene.stage(provider="openai", base_url=endpoint.url, concurrency=1)
    first = start()
    port = first.url.rpartition(":")[2]
    with ThreadPoolExecutor(1) as pool:
        client = pool.submit(make_round, stage, scene.root / "c0", agent_url=first.url)
        until(lambda: len(endpoint.requests) > 2)
        first.kill()
        again = Service(first.store, first.folder, (*first.options, "--port", port)).start()
        client.result(60)
    assert again.stop() == 0
    assert len(constraints.open(scene.root / "c0").classes) == 10
    assert len(endpoint.requests) <= 11  # one was open when it was killed
