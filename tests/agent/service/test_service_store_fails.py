"""The service while its store fails: nothing is asked that could not be remembered, nothing is paid for twice."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import urllib3
from agent_helpers import NW_UCLA, Endpoint, Scene
from service_process import TOKEN, Gate, Service, in_this_process, request_of, until

from components.agent.service.intake import Policy
from components.agent.service.memory import Memory
from components.agent.service.messages import ROUNDS, RoundStatus
from components.agent.service.results import Results
from components.contracts.errors import InputError, ResourceError, UnavailableError
from components.runtime.store import LocalDocuments

pytestmark = pytest.mark.xdist_group("agent service")


@dataclass
class Parts:
    """A service in this process, and the parts whose failing is tried."""

    url: str
    results: Results
    documents: LocalDocuments

    def submit(self, body: bytes) -> RoundStatus:
        return self._call("POST", ROUNDS, body)

    def ended(self, job: str) -> RoundStatus:
        until(lambda: self._call("GET", f"{ROUNDS}/{job}").state in ("done", "failed"))
        return self._call("GET", f"{ROUNDS}/{job}")

    def _call(self, method: str, path: str, body: bytes | None = None) -> RoundStatus:
        answer = urllib3.request(method, self.url + path, body=body, headers={"Authorization": f"Bearer {TOKEN}"})
        assert answer.status < 300, answer.data
        return RoundStatus.model_validate_json(answer.data)


@pytest.fixture
def parts(fresh: Endpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Parts]:
    monkeypatch.setattr("components.agent.service.jobs.RETRY_S", 0.01)
    results, documents = Results(str(tmp_path / "store")), LocalDocuments(tmp_path / "store" / "llm")
    results.prepare()
    documents.prepare()
    with in_this_process(results, Memory(documents), Policy((fresh.url,))) as url:
        yield Parts(url, results, documents)


def failing(times: int, action: Callable[..., Any], error: Exception) -> Callable[..., Any]:
    """Fail so many times before acting."""
    left = iter(range(times))

    def act(*arguments: Any) -> Any:
        if next(left, None) is not None:
            raise error
        return action(*arguments)

    return act


FULL = ResourceError("No space left on device", at="/store")
GONE = UnavailableError("cannot be reached", at="s3://bucket/agent")


@pytest.mark.parametrize("error", [FULL, GONE, InputError("denies access", at="s3://bucket/agent")])
@pytest.mark.parametrize("part", ["publish", "check", "write", "read", "claim"])
def test_whatever_fails_for_a_while_costs_time_only(
    parts: Parts, fresh: Endpoint, scene: Scene, monkeypatch: pytest.MonkeyPatch, part: str, error: Exception
) -> None:
    of = parts.results if part in ("publish", "check") else parts.documents
    monkeypatch.setattr(of, part, failing(3, getattr(of, part), error))
    job = parts.submit(request_of(scene.stage(provider="openai", base_url=fresh.url))).id
    assert parts.ended(job).state == "done"
    assert Counter(name for name, _, _ in fresh.requests) == dict.fromkeys(NW_UCLA, 1)


def test_nothing_is_asked_while_nothing_can_be_written(
    parts: Parts, fresh: Endpoint, scene: Scene, monkeypatch: pytest.MonkeyPatch
) -> None:
    tried = 0
    check = parts.results.check

    def full() -> None:
        nonlocal tried
        tried += 1
        if tried <= 3:
            assert not fresh.requests
            raise FULL
        check()

    monkeypatch.setattr(parts.results, "check", full)
    job = parts.submit(request_of(scene.stage(provider="openai", base_url=fresh.url))).id
    assert parts.ended(job).state == "done"
    assert len(fresh.requests) == len(NW_UCLA)


def test_a_damaged_result_is_made_again(parts: Parts, fresh: Endpoint, scene: Scene) -> None:
    body = request_of(scene.stage(provider="openai", base_url=fresh.url))
    job = parts.submit(body).id
    made = Path(parts.results.place, parts.ended(job).result)
    (made / "constraints.json").write_text("{")
    assert parts.results.find(job) is None


def test_a_disk_that_fills_in_mid_round_stops_the_asking_until_there_is_room(
    fresh: Endpoint, small_disk: Path, tmp_path: Path, scene: Scene, gate: Gate
) -> None:
    stage = scene.stage(classes=NW_UCLA[:4], provider="openai", base_url=fresh.url, concurrency=1)
    fresh.script[NW_UCLA[1]] = [gate.behaviour]
    with Service(str(small_disk / "s"), tmp_path, ("--base-url", fresh.url)) as service:
        job = service.submit(request_of(stage)).id
        gate.arrived()
        with (small_disk / "filler").open("wb", buffering=0) as filler, pytest.raises(OSError, match="No space left"):
            while True:
                filler.write(bytes(4096))
        gate.opened.set()
        until(lambda: any("nothing is asked" in line["message"] for line in service.lines()))
        ready = service.call("GET", "/readyz?part=store")
        assert (ready.status, ready.json()["store"]) == (503, "No space left on device")
        assert ready.headers["Retry-After"]
        refused = service.call("POST", ROUNDS, request_of(scene.stage(min_count=3)))
        assert refused.status in (202, 503, 507) and str(small_disk) not in refused.data.decode()
        if refused.status == 202:  # the disk has no room for the results of both
            service.call("POST", f"{ROUNDS}/{refused.json()['id']}/cancel")
        assert [name for name, _, _ in fresh.requests] == list(NW_UCLA[:2])
        # The service looks now and then whether there is room, with such a file of its own, which goes away.
        until(lambda: not [*small_disk.rglob("*.part")])
        (small_disk / "filler").unlink()
        assert service.ended(job).state == "done"
    assert Counter(name for name, _, _ in fresh.requests) == dict.fromkeys(NW_UCLA[:4], 1)


def test_a_folder_that_is_unmounted_is_not_made_anew(fresh: Endpoint, tmp_path: Path, scene: Scene, gate: Gate) -> None:
    stage = scene.stage(provider="openai", base_url=fresh.url, concurrency=1)
    fresh.script[NW_UCLA[2]] = [gate.behaviour]
    folder, elsewhere = tmp_path / "s", tmp_path / "elsewhere"
    with Service(str(folder), tmp_path, ("--base-url", fresh.url)) as service:
        job = service.submit(request_of(stage)).id
        gate.arrived()
        folder.rename(elsewhere)
        gate.opened.set()
        until(lambda: any("nothing is asked" in line["message"] for line in service.lines()))
        assert service.call("GET", "/readyz?part=store").status == 503
        assert not folder.exists()
        assert len(fresh.requests) == 3
        elsewhere.rename(folder)
        assert service.ended(job).state == "done"
    assert Counter(name for name, _, _ in fresh.requests) == dict.fromkeys(NW_UCLA, 1)
