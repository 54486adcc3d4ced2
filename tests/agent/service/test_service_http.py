"""The service over HTTP: who gets in, what gets in, and what comes out."""

from __future__ import annotations

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from agent_helpers import Endpoint, Scene
from service_process import TOKEN, Service, request_of

from components.agent.core import run_round
from components.agent.round import Round
from components.agent.rounds import make_round
from components.agent.service.client import ServiceClient
from components.agent.service.messages import ROUNDS
from components.contracts.artifact import digest
from components.contracts.errors import InputError, UnavailableError

pytestmark = pytest.mark.xdist_group("agent service")
MEGABYTE = 10**6


@pytest.fixture(scope="module")
def service(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Service]:
    folder = tmp_path_factory.mktemp("service")
    environment = {"OPENAI_API_KEY": ""}
    running = Service(str(folder / "store"), folder, ("--max-megabytes", "1"), environment).start()
    yield running
    assert running.stop() == 0
    assert "traceback" not in running.log.read_text().casefold()


@pytest.fixture(autouse=True)
def token(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("SKELETONAGENT_AGENT_TOKEN", TOKEN)


class TestRounds:
    def test_the_service_gives_the_same_bytes_as_this_process(self, service: Service, scene: Scene) -> None:
        stage = scene.stage()
        confusion = scene.confusion(stage, {("throw", "carry"): 4, ("sit down", "stand up"): 3})
        for where, url in (("here", ""), ("there", service.url)):
            make_round(Round(stage), scene.root / where / "c0", agent_url=url)
            make_round(
                Round(stage, stream="j", number=1, confusion=confusion, previous=scene.root / "here" / "c0"),
                scene.root / where / "c1",
                agent_url=url,
            )
        for name in ("c0", "c1"):
            here, there = (scene.root / where / name for where in ("here", "there"))
            assert digest(here) == digest(there)
            assert {file.name: file.read_bytes() for file in here.iterdir()} == {
                file.name: file.read_bytes() for file in there.iterdir()
            }

    def test_the_same_request_is_the_same_job(self, service: Service, scene: Scene) -> None:
        body = request_of(scene.stage(min_count=7))
        first = service.submit(body)
        done = service.ended(first.id)
        assert (done.state, done.id, done.error) == ("done", first.id, "")
        assert Path(service.store, done.result, "manifest.json").is_file()
        spaced = json.dumps(json.loads(body), indent=3).encode()
        assert service.submit(spaced) == done
        assert service.submit(request_of(scene.stage(min_count=8))).id != first.id

    @pytest.mark.slow
    def test_fifty_jobs_at_once_and_none_is_lost(self, service: Service, scene: Scene) -> None:
        stage = scene.stage()
        run_round(Round(stage), scene.root / "c0")
        previous = scene.root / "c0"
        confusions = [scene.confusion(stage, {("throw", "carry"): 1 + number}) for number in range(50)]
        bodies = [
            request_of(stage, stream="j", round_number=1, confusion=confusion, previous=previous)
            for confusion in confusions
        ]
        with ThreadPoolExecutor(50) as pool:
            jobs = list(pool.map(service.submit, [*bodies, *bodies]))
            states = list(pool.map(service.ended, [job.id for job in jobs[:50]]))
        assert [job.id for job in jobs[:50]] == [job.id for job in jobs[50:]]
        assert len({job.id for job in jobs}) == 50
        assert {state.state for state in states} == {"done"}
        for state, confusion in list(zip(states, confusions, strict=True))[::10]:
            files = json.loads(service.call("GET", f"{ROUNDS}/{state.id}/result").data)["files"]
            assert set(files) == {"constraints.json", "manifest.json", "plan.json", "text.npy"}
            manifest = json.loads((Path(service.store, state.result) / "manifest.json").read_text())
            assert manifest["made_from"]["confusion"] == digest(confusion)


class TestWhoGetsIn:
    @pytest.mark.parametrize("token", [None, "", "wrong", TOKEN[:-1], f"{TOKEN}x", "é"])
    def test_without_the_token_nobody(self, service: Service, token: str | None) -> None:
        for method, path in (("POST", ROUNDS), ("GET", f"{ROUNDS}/{'0' * 64}"), ("GET", "/v1/anything")):
            headers = {"Authorization": f"Bearer {token}".encode().decode("latin-1")} if token else {}
            response = service.call(method, path, b"{}", token=None, headers=headers)
            assert (response.status, response.headers["WWW-Authenticate"]) == (401, "Bearer")

    def test_another_scheme_is_no_bearer(self, service: Service) -> None:
        assert service.call("GET", ROUNDS, token=None, headers={"Authorization": f"Basic {TOKEN}"}).status == 401

    def test_probes_and_the_document_are_open(self, service: Service) -> None:
        for path in ("/healthz", "/readyz", "/metrics", "/openapi.json", "/docs"):
            assert service.call("GET", path, token=None).status == 200
        page = service.call("GET", "/docs", token=None).data.decode()
        sources = re.findall(r'(?:src|href)="([^"]+)"', page)
        assert sources and all(service.call("GET", source, token=None).status == 200 for source in sources)

    def test_a_client_without_a_token_or_with_a_wrong_one_is_told(
        self, service: Service, scene: Scene, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setenv("SKELETONAGENT_AGENT_TOKEN", "wrong")
        with pytest.raises(InputError, match="HTTP 401: the bearer token is missing or wrong"):
            make_round(Round(scene.stage()), scene.root / "c", agent_url=service.url)
        monkeypatch.delenv("SKELETONAGENT_AGENT_TOKEN")
        with pytest.raises(InputError, match="SKELETONAGENT_AGENT_TOKEN: not set in the environment"):
            make_round(Round(scene.stage()), scene.root / "c", agent_url=service.url)


class TestWhatGetsIn:
    def test_a_body_that_is_too_long_is_refused(self, service: Service) -> None:
        at_limit = b" " * MEGABYTE
        assert service.call("POST", ROUNDS, at_limit).status == 422
        response = service.call("POST", ROUNDS, at_limit + b" ")
        assert (response.status, response.json()["detail"]) == (413, f"the body is longer than {MEGABYTE} bytes")
        unannounced = service.call("POST", ROUNDS, (b" " * 10_000 for _ in range(101)))  # type: ignore[arg-type]
        assert unannounced.status == 413
        assert service.call("GET", "/healthz").status == 200

    @pytest.mark.parametrize(
        ("change", "problem"),
        [
            ({"stage": 5}, "body.stage: "),
            ({"stream": "x"}, "body.stream"),
            ({"round": False}, "body.round: Input should be a valid integer"),
            ({"surprise": 1}, "body.surprise: Extra inputs are not permitted"),
            ({"round": 1}, "round 1 needs the confusion artifact"),
            ({"previous": {"uri": "/etc"}}, "body.previous"),
            ({"previous": {"files": {"../x": ""}}}, "body.previous"),
            ({"round": 1, "stream": "j", "confusion": {"files": {"manifest.json": "e30="}}}, "needs the previous"),
        ],
    )
    def test_what_is_wrong_is_one_line(
        self, service: Service, scene: Scene, change: dict[str, Any], problem: str
    ) -> None:
        body = json.dumps({**json.loads(request_of(scene.stage())), **change}).encode()
        response = service.call("POST", ROUNDS, body)
        assert response.status == 422
        assert problem in response.json()["detail"]
        assert "\n" not in response.json()["detail"]

    def test_a_contradiction_names_the_role_and_no_path_of_the_server(self, service: Service, scene: Scene) -> None:
        stage, fewer = scene.stage(), scene.stage(classes=("throw", "carry"))
        run_round(Round(stage), scene.root / "c0")
        confusion = scene.confusion(fewer, {})
        inputs = {"confusion": confusion, "previous": scene.root / "c0"}
        response = service.call("POST", ROUNDS, request_of(stage, stream="j", round_number=1, **inputs))
        assert (response.status, response.json()["detail"]) == (422, "confusion: classes: found 2, expected 10")

    def test_no_endpoint_but_the_operators_ever_sees_the_key(self, service: Service, scene: Scene) -> None:
        stage = scene.stage(provider="openai", base_url="http://elsewhere.example/v1")
        response = service.call("POST", ROUNDS, request_of(stage))
        assert response.status == 422
        assert "agent.base_url: found 'http://elsewhere.example/v1'" in response.json()["detail"]

    def test_unknown_jobs_and_missing_results(self, service: Service) -> None:
        for method, path in (("GET", ""), ("GET", "/result"), ("POST", "/cancel")):
            assert service.call(method, f"{ROUNDS}/{'0' * 64}{path}").status == 404
        assert service.call("GET", f"{ROUNDS}/..%2f..%2fetc").status in (404, 422)


class TestClient:
    @pytest.mark.parametrize("url", ["localhost:80", "http://", "http://me:secret@host", "http://host/?token=secret"])
    def test_a_url_that_is_none_or_may_carry_a_secret_is_refused(self, scene: Scene, url: str) -> None:
        with pytest.raises(InputError, match=r"agent_url: (found|carries)") as error:
            make_round(Round(scene.stage()), scene.root / "c", agent_url=url)
        assert "secret" not in str(error.value)

    def test_a_service_that_does_not_answer_is_one_line(self, scene: Scene) -> None:
        with pytest.raises(UnavailableError, match=r"^http://127.0.0.1:9: the agent service does not answer: "):
            ServiceClient("http://127.0.0.1:9", patience_s=0.5).run_round(Round(scene.stage()), scene.root / "c")
        assert not (scene.root / "c").exists()

    def test_a_server_that_is_no_agent_service_is_named(self, scene: Scene, endpoint: Endpoint) -> None:
        endpoint.respond = lambda request, headers: (200, {}, b"{}")  # type: ignore[method-assign]
        with pytest.raises(InputError, match="does not answer like an agent service; check agent_url"):
            make_round(Round(scene.stage()), scene.root / "c", agent_url=endpoint.url)

    def test_a_wrong_request_is_one_line(self, service: Service, scene: Scene) -> None:
        with pytest.raises(InputError, match="HTTP 422: round 1 needs the confusion artifact"):
            make_round(Round(scene.stage(), number=1), scene.root / "c", agent_url=service.url)


@pytest.mark.slow
def test_it_does_what_its_openapi_document_says(service: Service, tmp_path: Path) -> None:
    """schemathesis, with every check but one: a request in form may still contradict itself, and is then refused."""
    command = [
        *(str(Path(sys.executable).with_name("schemathesis")), "run", f"{service.url}/openapi.json"),
        *("--header", f"Authorization: Bearer {TOKEN}", "--exclude-checks", "positive_data_acceptance"),
        *("--max-examples", "10", "--seed", "1", "--generation-database", "none", "--no-color"),
    ]
    ran = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, check=False)
    print(ran.stdout[-1000:])
    assert ran.returncode == 0, ran.stdout + ran.stderr
    assert "Selected: 7/7" in ran.stdout
