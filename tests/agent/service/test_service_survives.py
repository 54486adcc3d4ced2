"""The service survives: killed, told to end, or beside another one, it loses no round and asks nothing twice."""

from __future__ import annotations

from collections import Counter
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import pytest
from agent_helpers import NW_UCLA, Endpoint, Scene, completion, failure, good
from service_process import KEY, TOKEN, Gate, Service, request_of, until

from components.agent.core import run_round
from components.agent.round import Round
from components.agent.rounds import make_round
from components.agent.service.client import ServiceClient, _GoneError
from components.agent.service.messages import ROUNDS, RoundStatus
from components.contracts import constraints
from components.contracts.artifact import digest
from components.contracts.config import AgentStage
from components.contracts.errors import UnavailableError

pytestmark = pytest.mark.xdist_group("agent service")


def stage_of(scene: Scene, llm: Endpoint, seed: int, **agent: object) -> AgentStage:
    """Return a stage whose questions no other test asks."""
    return scene.stage(provider="openai", base_url=llm.url, parameters={"seed": seed}, **agent)


def times_asked(endpoint: Endpoint) -> dict[str, int]:
    return dict(Counter(name for name, _, _ in endpoint.requests))


def test_with_an_llm_the_bytes_are_the_same_too_and_no_secret_is_written(
    fresh: Endpoint, shared: Service, scene: Scene
) -> None:
    prices = {"gpt-4o": {"prompt": 2.5, "completion": 10}}
    stage = stage_of(scene, fresh, 1, prices=prices, concurrency=2)
    before = {name: shared.metric(f"skeletonagent_llm_{name}") for name in ("tokens_total", "cost_total")}
    for where, url in (("here", ""), ("there", shared.url)):
        fresh.script["carry"] = [completion(None, refusal=f"{KEY}? No."), good()]
        fresh.script["throw"] = [completion(f"the key is {KEY}")]
        make_round(Round(stage), scene.root / where, agent_url=url)
    assert digest(scene.root / "here") == digest(scene.root / "there")
    assert len(fresh.requests) == 2 * (len(NW_UCLA) + 3)
    about = constraints.verify(scene.root / "there").about
    status = shared.submit(request_of(stage))
    assert (status.state, status.done, status.total) == ("done", 10, 10)
    assert (status.tokens, status.cost) == (about["tokens"], about["cost"])
    assert shared.metric("skeletonagent_llm_tokens_total") - before["tokens_total"] == about["tokens"]
    assert shared.metric("skeletonagent_llm_cost_total") - before["cost_total"] == pytest.approx(about["cost"])
    written = [file.read_bytes() for file in shared.folder.rglob("*") if file.is_file()]
    assert not [content for content in written if KEY.encode() in content or TOKEN.encode() in content]


def test_without_its_llm_a_round_still_ends_with_the_constraints_there_are(
    fresh: Endpoint, shared: Service, scene: Scene
) -> None:
    fresh.default = failure(401)
    health = shared.call("GET", "/readyz")
    assert (health.status, health.json()["store"], health.headers["Retry-After"]) == (503, "ok", "5")
    assert health.json()["llm"].startswith("http://127.0.0.1:9/v1: no connection")
    assert shared.call("GET", "/readyz?part=store").status == 200
    assert shared.call("GET", "/readyz?part=llm").status == 503
    make_round(Round(stage_of(scene, fresh, 2, concurrency=1)), scene.root / "c0", agent_url=shared.url)
    found = constraints.open(scene.root / "c0")
    assert {constraint.provenance.status for constraint in found.classes} == {"prior"}
    assert found.classes[0].provenance.note.startswith("HTTP 401")


def test_a_cancelled_job_breaks_off_what_it_has_sent_and_may_be_asked_for_again(
    fresh: Endpoint, shared: Service, scene: Scene, gate: Gate
) -> None:
    fresh.script["donning"] = [gate.behaviour, good()]  # the seventh class: as good as a server that stalls for ever
    stage = stage_of(scene, fresh, 3, concurrency=1, timeout_s=600)
    job = shared.submit(request_of(stage)).id
    gate.arrived()
    assert shared.call("POST", f"{ROUNDS}/{job}/cancel").status == 202
    assert shared.ended(job).state == "cancelled"
    assert not gate.opened.is_set()
    assert shared.call("GET", f"{ROUNDS}/{job}/result").status == 409
    shared.submit(request_of(stage))
    assert shared.ended(job).state == "done"
    assert times_asked(fresh) == {name: 2 if name == "donning" else 1 for name in NW_UCLA}


def test_jobs_are_made_oldest_first_and_one_that_waits_is_cancelled_at_once(
    fresh: Endpoint, tmp_path: Path, scene: Scene, gate: Gate
) -> None:
    fresh.default = gate.behaviour
    with Service(str(tmp_path / "s"), tmp_path, ("--base-url", fresh.url, "--jobs", "1")) as service:
        jobs = [service.submit(request_of(stage_of(scene, fresh, seed))).id for seed in range(10, 15)]
        gate.arrived(4)
        assert service.metric("skeletonagent_agent_jobs_queued") == 4
        assert service.call("POST", f"{ROUNDS}/{jobs[2]}/cancel").json()["state"] == "cancelled"
        gate.opened.set()
        assert service.ended(jobs[-1]).state == "done"
        began = [line["message"].split()[1].strip(":") for line in service.lines() if line["message"].endswith("done ")]
        assert began == [job[:12] for job in (*jobs[:2], *jobs[3:])]


def test_killed_in_the_middle_the_job_is_posted_again_and_asks_nothing_twice(
    fresh: Endpoint, tmp_path: Path, scene: Scene, gate: Gate
) -> None:
    """By a client that waits all the time, and finds the service gone, then back without its job."""
    fresh.script["donning"] = [gate.behaviour, good()]
    stage = stage_of(scene, fresh, 4, concurrency=1)
    options = ("--base-url", fresh.url)
    with ThreadPoolExecutor(1) as pool, Service(str(tmp_path / "s"), tmp_path, options) as first:
        client = pool.submit(ServiceClient(first.url, poll_s=0.05).run_round, Round(stage), scene.root / "c0")
        gate.arrived()
        first.kill()
        port = first.url.rpartition(":")[2]
        with Service(first.store, tmp_path, (*options, "--port", port)) as second:
            client.result(60)
            assert second.metric("skeletonagent_llm_cache_hits_total") == 6
            assert second.stop() == 0
    # The question that was open when it died has never been answered; every other one was asked once.
    assert times_asked(fresh) == {name: 2 if name == "donning" else 1 for name in NW_UCLA}
    gate.opened.set()
    run_round(Round(stage), scene.root / "calm")
    assert digest(scene.root / "c0") == digest(scene.root / "calm")


@pytest.mark.slow
def test_two_processes_over_one_folder_ask_nothing_twice_and_end_in_time(
    fresh: Endpoint, tmp_path: Path, scene: Scene, gate: Gate
) -> None:
    """Told to end, each takes the answers to what it has sent; then nothing waits for an LLM that stalls."""
    fresh.default = gate.behaviour
    options = ("--base-url", fresh.url)
    services = [Service(str(tmp_path / "s"), tmp_path, options) for _ in range(2)]
    with services[0] as one, services[1] as other:
        stages = [stage_of(scene, fresh, 5, min_count=count) for count in (1, 2)]  # other jobs, the same questions
        jobs = [service.submit(request_of(stage)).id for service, stage in zip((one, other), stages, strict=True)]
        gate.arrived(4)
        gate.opened.set()
        assert [service.ended(job).state for service, job in zip((one, other), jobs, strict=True)] == ["done", "done"]
        assert times_asked(fresh) == dict.fromkeys(NW_UCLA, 1)

        late = Gate()
        fresh.default = late.behaviour
        one.submit(request_of(stage_of(scene, fresh, 6)))
        other.submit(request_of(stage_of(scene, fresh, 7)))
        late.arrived(8)  # four of each round's first questions
        one.process.terminate()
        until(lambda: any("hutting down" in line["message"] for line in one.lines()))
        late.opened.set()
        never = Gate()
        fresh.default = never.behaviour  # an LLM that never answers again
        assert one.process.wait(30) == 0
        never.opened.set()
        remembered = [*Path(tmp_path / "s" / "llm" / "answers").glob("*/*.json")]
        assert len(remembered) >= len(NW_UCLA) + 4
        never.opened.set()


def test_a_job_that_is_forgotten_again_and_again_has_a_deadline(scene: Scene, monkeypatch: pytest.MonkeyPatch) -> None:
    posted = 0

    def forgetful(self: ServiceClient, method: str, path: str, body: bytes | None) -> bytes:
        nonlocal posted
        if method == "GET":
            raise _GoneError
        posted += 1
        return RoundStatus(id="0" * 64, state="queued").model_dump_json().encode()

    now = [0.0]
    clock = SimpleNamespace(monotonic=lambda: now[0], sleep=lambda seconds: now.append(now.pop() + seconds))
    monkeypatch.setattr("components.agent.service.client.time", clock)
    monkeypatch.setattr(ServiceClient, "_send", forgetful)
    client = ServiceClient("http://service", poll_s=1.0, deadline_s=10.0)
    with pytest.raises(UnavailableError, match=r"job 000000000000 was not done within 0\.0 hours"):
        client.run_round(Round(scene.stage()), scene.root / "c")
    assert posted > 1
