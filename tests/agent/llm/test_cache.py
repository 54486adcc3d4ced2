"""The memory of answers: no question is paid for twice, whatever happens in between."""

from __future__ import annotations

import json
import logging
import os
import signal
import subprocess
import sys
import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from agent_helpers import NW_UCLA, QUESTION, Endpoint, Response, Scene, ask, completion, failure, good, stalling

from components.agent.core import run_round
from components.agent.llm.cache import VARIABLE, AnswerCache
from components.agent.llm.chat import ChatProvider
from components.agent.llm.turn import Turn
from components.agent.providers import StoppedError, Unobserved
from components.agent.round import Round
from components.contracts import constraints
from components.contracts.artifact import digest
from components.contracts.config import AgentConfig
from components.contracts.errors import InputError
from components.runtime.store import LocalDocuments
from components.runtime.store.interface import Claim

KEY = "sk-secret-0123456789"
ROUND = """
import sys
from pathlib import Path
from components.agent.core import run_round
from components.agent.round import Round
from components.contracts.config import AgentStage, parse_section
stage = parse_section(AgentStage, Path('stage.json').read_text())
run_round(Round(stage), Path(sys.argv[1]), cache=Path('memory'))
"""


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return tmp_path / "memory"


def log_of(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]


class TestQuestions:
    def test_the_same_question_is_asked_once(self, endpoint: Endpoint, folder: Path) -> None:
        first, again = ask(endpoint, cache=folder), ask(endpoint, cache=folder)
        assert first == again
        assert len(endpoint.requests) == 1

    def test_without_a_folder_nothing_is_remembered(self, endpoint: Endpoint) -> None:
        ask(endpoint)
        ask(endpoint)
        assert len(endpoint.requests) == 2

    @pytest.mark.parametrize("other", [{"model": "b"}, {"parameters": {"seed": 2}}, {"structured_output": "text"}])
    def test_another_request_is_another_question(self, endpoint: Endpoint, folder: Path, other: dict[str, Any]) -> None:
        ask(endpoint, cache=folder)
        ask(endpoint, cache=folder, **other)
        assert len(endpoint.requests) == 2

    def test_another_endpoint_is_another_question(self, endpoint: Endpoint, folder: Path) -> None:
        ask(endpoint, cache=folder)
        endpoint.url = endpoint.url.replace("127.0.0.1", "localhost")
        ask(endpoint, cache=folder)
        assert len(endpoint.requests) == 2

    def test_every_turn_of_a_dialogue_is_remembered(self, endpoint: Endpoint, folder: Path) -> None:
        endpoint.script["throw"] = [completion(None, refusal="No."), completion("hm"), good("It whips.")]
        first = ask(endpoint, cache=folder)
        endpoint.script["throw"] = [failure(500)]
        assert ask(endpoint, cache=folder) == first
        assert len(endpoint.requests) == 3

    def test_a_plain_answer_is_found_without_probing_for_the_schema(self, endpoint: Endpoint, folder: Path) -> None:
        def server(request: dict[str, Any]) -> Response:
            return failure(400)(request) if "response_format" in request else good()(request)

        endpoint.default = server
        first = ask(endpoint, cache=folder)
        assert ask(endpoint, cache=folder) == first
        assert len(endpoint.requests) == 2

    def test_a_question_without_a_rejected_parameter_is_not_paid_for_twice(
        self, endpoint: Endpoint, folder: Path
    ) -> None:
        def server(request: dict[str, Any]) -> Response:
            return failure(400, "no temperature")(request) if "temperature" in request else good()(request)

        endpoint.default = server
        for _ in range(2):
            ask(endpoint, cache=folder, parameters={"temperature": 0})
        assert ["temperature" in request for _, request, _ in endpoint.requests] == [True, False, True]

    def test_failures_are_not_remembered(self, endpoint: Endpoint, folder: Path) -> None:
        endpoint.script["throw"] = [failure(403), good()]
        assert ask(endpoint, cache=folder)[0].answer is None
        assert ask(endpoint, cache=folder)[0].answer is not None

    @pytest.mark.parametrize("damage", ["", "{", '{"url": "x"}'])
    def test_a_damaged_entry_is_asked_again(
        self, endpoint: Endpoint, folder: Path, damage: str, log_lines: list[logging.LogRecord]
    ) -> None:
        first = ask(endpoint, cache=folder)
        (entry,) = folder.glob("answers/*/*.json")
        entry.write_text(damage)
        assert ask(endpoint, cache=folder) == first
        assert len(endpoint.requests) == 2
        assert any("damaged; the question is asked again" in record.getMessage() for record in log_lines)
        assert ask(endpoint, cache=folder) == first
        assert len(endpoint.requests) == 2

    def test_a_folder_that_cannot_be_written_is_one_line(self, tmp_path: Path) -> None:
        (tmp_path / "file").touch()
        with pytest.raises(InputError, match=r"file/memory: the LLM cache cannot be written: Not a directory"):
            AnswerCache(tmp_path / "file" / "memory", "http://x")

    def test_a_folder_that_vanishes_costs_no_answer(self, folder: Path, log_lines: list[logging.LogRecord]) -> None:
        cache = AnswerCache(folder, "http://x")
        folder.rmdir()
        cache.keep({"model": "m"}, Turn(said="x"))
        cache.record({"model": "m"})
        assert len(log_lines) == 2


class TestLog:
    def test_every_request_and_answer_has_its_line(self, endpoint: Endpoint, folder: Path) -> None:
        endpoint.script["throw"] = [failure(429, f"{KEY}?", headers={"Retry-After": "0"}), completion("hm"), good()]
        reply = ask(endpoint, cache=folder)[0]
        ask(endpoint, cache=folder)
        lines = log_of(folder)
        assert [line["source"] for line in lines] == ["endpoint"] * 3 + ["cache"] * 2
        assert [line["problem"] for line in lines] == ["HTTP 429: ***?", "", "", "", ""]
        assert lines[1]["request_hash"] == reply.request_hash
        assert lines[1]["prompt_tokens"] == 100
        assert lines[1]["served_by"] == "model-2024"
        assert lines[1]["fingerprint"] == "fp_1"
        assert all(line["latency_s"] >= 0 for line in lines[:3])
        entry = json.loads((folder / "answers" / lines[1]["answer"][:2] / f"{lines[1]['answer']}.json").read_text())
        assert entry["turn"]["said"] == "hm"
        assert entry["request"]["messages"][1]["content"].startswith("Action class: throw")

    def test_no_key_is_written(self, endpoint: Endpoint, folder: Path) -> None:
        endpoint.script["throw"] = [failure(400, f"odd {KEY}"), completion(f"{KEY} moves")]
        ask(endpoint, cache=folder)
        files = [file.read_bytes() for file in folder.rglob("*") if file.is_file()]
        assert files
        assert KEY.encode() not in b"".join(files)


class TestRounds:
    def test_the_artifact_is_the_same_from_the_cache_and_holds_none_of_it(
        self, scene: Scene, endpoint: Endpoint, folder: Path
    ) -> None:
        stage = scene.stage(provider="openai", base_url=endpoint.url)
        run_round(Round(stage), scene.root / "a", cache=folder)
        endpoint.default = failure(500)
        run_round(Round(stage), scene.root / "b", cache=folder)
        assert digest(scene.root / "a") == digest(scene.root / "b")
        assert {file.name for file in (scene.root / "a").iterdir()} == {
            "constraints.json",
            "manifest.json",
            "plan.json",
            "text.npy",
        }

    def test_a_killed_round_goes_on_without_asking_twice(
        self, scene: Scene, endpoint: Endpoint, folder: Path, repository: Path
    ) -> None:
        stage = scene.stage(provider="openai", base_url=endpoint.url, concurrency=1)
        stuck = stalling(endpoint, "donning")  # the seventh class
        (scene.root / "stage.json").write_text(stage.to_json())
        environment = {**os.environ, "PYTHONPATH": str(repository)}
        process = subprocess.Popen([sys.executable, "-c", ROUND, "c0"], cwd=scene.root, env=environment)
        assert stuck.wait(30)
        process.send_signal(signal.SIGKILL)
        process.wait()
        assert not (scene.root / "c0").exists()
        run_round(Round(stage), scene.root / "c0", cache=folder)
        times = {name: len(endpoint.asked(name)) for name in NW_UCLA}
        assert times == {name: 2 if name == "donning" else 1 for name in NW_UCLA}
        assert {c.provenance.status for c in constraints.open(scene.root / "c0").classes} == {"answered"}

    @pytest.mark.slow
    def test_processes_at_the_same_time_ask_each_question_once(
        self, scene: Scene, endpoint: Endpoint, folder: Path, repository: Path
    ) -> None:
        stage = scene.stage(provider="openai", base_url=endpoint.url, concurrency=4)

        def slow(request: dict[str, Any]) -> Response:
            time.sleep(0.3)
            return good()(request)

        endpoint.default = slow
        (scene.root / "stage.json").write_text(stage.to_json())
        environment = {**os.environ, "PYTHONPATH": str(repository)}
        rounds = [
            subprocess.Popen([sys.executable, "-c", ROUND, name], cwd=scene.root, env=environment)
            for name in ("a", "b", "c")
        ]
        assert [process.wait(60) for process in rounds] == [0, 0, 0]
        assert sorted(name for name, _, _ in endpoint.requests) == sorted(NW_UCLA)
        assert len({digest(scene.root / name) for name in ("a", "b", "c")}) == 1
        assert not [file for file in folder.glob("claims/*") if file.is_file()]

    def test_the_pipeline_component_takes_the_folder_from_the_environment(
        self, scene: Scene, endpoint: Endpoint, folder: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        from types import SimpleNamespace

        from components.agent.component import agent_prior

        monkeypatch.setenv(VARIABLE, str(folder))
        stage = scene.stage(provider="openai", base_url=endpoint.url).to_json()
        for name in ("a", "b"):
            artifact = SimpleNamespace(path=str(scene.root / name), metadata={})
            agent_prior.python_func(stage=stage, code="", constraints=artifact)
        assert len(endpoint.requests) == 10
        assert len(log_of(folder)) == 20


def test_cached_answers_count_towards_the_budget(endpoint: Endpoint, folder: Path) -> None:
    """So that a killed round ends where an uninterrupted one would have ended."""
    questions = [replace(QUESTION, name=name) for name in NW_UCLA[:4]]
    limit = AgentConfig().model_copy(update={"max_tokens": 2000}).max_tokens
    whole = ask(endpoint, *questions, concurrency=1, max_tokens=limit)
    ask(endpoint, questions[0], concurrency=1, max_tokens=limit, cache=folder)
    resumed = ask(endpoint, *questions, concurrency=1, max_tokens=limit, cache=folder)
    assert resumed == whole


def test_a_round_that_is_dropped_while_it_claims_a_question_leaves_it_to_others(
    endpoint: Endpoint, folder: Path
) -> None:
    """The thread that claims it cannot be stopped; what it claims must not stay claimed while this process lives."""
    claiming, dropped = threading.Event(), threading.Event()

    class Slow(LocalDocuments):
        def claim(self, name: str) -> Claim | None:
            claiming.set()
            dropped.wait(20)
            time.sleep(0.05)  # the round is broken off within this
            return super().claim(name)

    class Dropped(Unobserved):
        def stopping(self) -> bool:
            return self.dropped()

        def dropped(self) -> bool:
            if claiming.is_set():
                dropped.set()
            return claiming.is_set()

    settings = AgentConfig(provider="openai", base_url=endpoint.url)
    with pytest.raises(StoppedError):
        ChatProvider(settings, cache=Slow(folder)).ask([QUESTION], lambda done, note="": None, Dropped())
    assert not [file for file in folder.glob("claims/*") if file.is_file()]
    (reply,) = ask(endpoint, cache=folder)
    assert reply.answer and len(endpoint.requests) == 1
