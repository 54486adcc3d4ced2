"""The openai provider against a server that does everything a server does. A constraint is never lost."""

from __future__ import annotations

import json
import logging
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from threading import Barrier, Event
from typing import Any

import pytest
from agent_helpers import NW_UCLA, QUESTION, Behaviour, Endpoint, Response, Scene, ask, completion, failure, good, raw

from components.agent.core import run_round
from components.agent.llm.chat import ChatProvider
from components.agent.llm.endpoint import ATTEMPTS
from components.agent.llm.prompts import load_prompts
from components.agent.providers import Reply
from components.agent.round import Round
from components.contracts import constraints
from components.contracts.artifact import digest_of
from components.contracts.config import AgentConfig
from components.contracts.errors import InputError
from components.contracts.skeleton import load_layout

KEY = "sk-secret-0123456789"


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def scripted(endpoint: Endpoint, *behaviours: Behaviour) -> Reply:
    endpoint.script["throw"] = list(behaviours)
    return ask(endpoint)[0]


class TestRequest:
    def test_schema_has_joint_names_as_an_enum_and_nothing_optional(self, endpoint: Endpoint) -> None:
        reply = scripted(endpoint, good())
        (request,) = endpoint.asked("throw")
        form = request["response_format"]["json_schema"]
        schema = form["schema"]
        assert form["strict"] is True
        assert schema["type"] == "object"
        assert schema["required"] == list(schema["properties"]) == ["description", "joints"]
        assert schema["additionalProperties"] is False
        assert schema["properties"]["joints"]["items"]["enum"] == list(load_layout("kinect20").joints)
        assert reply.request_hash == digest_of(request)
        assert reply.answer is not None
        assert (reply.model, reply.prompt_tokens, reply.completion_tokens) == ("model-2024", 100, 20)

    def test_a_model_called_by_its_path_is_named_without(self, endpoint: Endpoint) -> None:
        def served(request: dict[str, Any]) -> Response:
            status, headers, body = good()(request)
            return status, headers, body.replace(b"model-2024", b"/home/me/model.gguf")

        assert scripted(endpoint, served).model == "model.gguf"

    def test_prompt_tells_what_the_question_holds(self) -> None:
        system, user = load_prompts().first_turn(replace(QUESTION, dimensions="2d+score", max_persons=2))
        assert system["role"] == "system"
        for part in (
            "throw",
            "An arm swings.",
            "right_wrist",
            '"drop trash": A hand opens.',
            "2D",
            "up to 2 people",
            "at most 12",
        ):
            assert part in user["content"]
        assert "confuses" not in load_prompts().first_turn(replace(QUESTION, rivals=()))[1]["content"]

    def test_prompt_tells_where_the_network_looks_and_what_separates(self) -> None:
        rival = replace(QUESTION.rivals[0], looked_at=("head", "spine"), separated_by=("left_hand", "left_wrist"))
        question = replace(QUESTION, looked_at=("right_hand",), rivals=(rival, QUESTION.rivals[0]))
        text = load_prompts().first_turn(question)[1]["content"]
        assert 'The network recognises "throw" mostly by: right_hand.\n' in text
        assert (
            '- "drop trash": A hand opens. Critical joints: left_hand. '
            "The network recognises it mostly by: head, spine. "
            "In the data the two differ most in: left_hand, left_wrist.\n"
            '- "drop trash": A hand opens. Critical joints: left_hand.\n'
            "Give:\n"
        ) in text

    def test_where_nothing_was_measured_remembered_answers_stay_good(self) -> None:
        """The prompt is that of guidance-1, byte for byte: the memory knows a question by these."""
        asked = load_prompts().first_turn(QUESTION)
        assert digest_of({"m": asked}) == "e69e8ed3e1a405c3950e25293f4f24082e9296f8f1ffe22b1a6c88397724cc80"

    def test_key_goes_into_the_header_only(self, endpoint: Endpoint) -> None:
        scripted(endpoint, good())
        _, request, headers = endpoint.requests[0]
        assert headers["authorization"] == f"Bearer {KEY}"
        assert KEY not in json.dumps(request)

    def test_custom_endpoint_needs_no_key(self, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OPENAI_API_KEY")
        assert scripted(endpoint, good()).answer is not None

    def test_replies_come_in_the_order_of_the_questions(self, endpoint: Endpoint) -> None:
        names = [f"class {k}" for k in range(20)]
        for name in names:
            endpoint.script[name] = [good(description=f"{name} moves")]
        replies = ask(endpoint, *(replace(QUESTION, name=name) for name in names), concurrency=4)
        assert [reply.answer.description for reply in replies if reply.answer] == [f"{name} moves" for name in names]

    def test_as_many_at_once_as_configured_and_no_more(self, endpoint: Endpoint) -> None:
        together, active, most = Barrier(3), 0, 0

        def counted(request: dict[str, Any]) -> Response:
            nonlocal active, most
            with endpoint.lock:
                active += 1
                most = max(most, active)
            together.wait(timeout=10)  # passes only when three requests are in flight
            with endpoint.lock:
                active -= 1
            return good()(request)

        endpoint.default = counted
        replies = ask(endpoint, *(replace(QUESTION, name=f"class {k}") for k in range(9)), concurrency=3)
        assert all(reply.answer for reply in replies)
        assert most == 3


class TestConfiguration:
    def test_hosted_endpoint_without_key_is_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.delenv("OPENAI_API_KEY")
        with pytest.raises(InputError, match="OPENAI_API_KEY: not set in the environment"):
            ChatProvider(AgentConfig(provider="openai"))

    @pytest.mark.parametrize(
        ("url", "message"),
        [
            ("localhost:80", "expected an http"),
            ("ftp://x/", "expected an http"),
            ("http://[x/", "expected an http"),
            ("http://x:99999/v1", "expected an http"),
            ("http://u:p@x/v1", "carries a user, password or query"),
            ("http://x/v1?api-key=p", "carries a user, password or query"),
        ],
    )
    def test_wrong_base_url_is_one_line(self, url: str, message: str) -> None:
        with pytest.raises(InputError, match=message):
            ChatProvider(AgentConfig(provider="openai", base_url=url))

    def test_a_key_with_a_line_break_inside_is_one_line(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", "sk-1\nsk-2")
        with pytest.raises(InputError, match="OPENAI_API_KEY: holds characters that no key has") as error:
            ChatProvider(AgentConfig(provider="openai"))
        assert "sk-1" not in str(error.value)

    def test_a_line_break_after_the_key_is_forgiven(self, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setenv("OPENAI_API_KEY", f"{KEY}\n")
        assert scripted(endpoint, good()).answer is not None
        assert endpoint.requests[0][2]["authorization"] == f"Bearer {KEY}"


class TestFaultsThatPass:
    @pytest.mark.parametrize(
        "fault",
        [
            failure(429, headers={"Retry-After": "0"}),
            failure(429, headers={"Retry-After": format_datetime(datetime.now(UTC) - timedelta(hours=1))}),
            failure(500),
            failure(503),
            failure(408),
            raw(200, "<html>busy</html>", kind="text/html"),
            raw(200, '{"choices": [', kind="application/json"),
        ],
        ids=["429", "429-date", "500", "503", "408", "html", "broken-body"],
    )
    def test_is_tried_again(self, endpoint: Endpoint, fault: Behaviour) -> None:
        reply = scripted(endpoint, fault, fault, good())
        assert reply.answer is not None
        assert len(endpoint.asked("throw")) == 3


REFUSAL = completion(None, refusal="I will not.")


class TestRepair:
    @pytest.mark.parametrize(
        ("fault", "problem"),
        [
            (
                raw(200, '{"id": "c", "object": "chat.completion", "choices": "x", "usage": 3}'),
                "the server returned no choice",
            ),
            (
                raw(200, '{"id": "c", "object": "chat.completion", "choices": [{"message": "x"}]}'),
                "the answer is empty",
            ),
            (REFUSAL, "the model refused"),
            (completion(None, finish="content_filter"), "the content filter stopped the answer"),
            (completion('{"description": "An ar', finish="length"), "the answer was cut off"),
            (completion("I think the hand."), "it is not a JSON object"),
            (completion('{"description": 5}'), 'the field "description" is missing'),
            (good(joints=("tail",)), "none of the joints is one of the skeleton's: 'tail'"),
            (good(joints=load_layout("kinect20").joints), "all joints of the skeleton"),
            (completion(None), "the answer is empty"),
            (raw(200, '{"id": "c", "object": "chat.completion", "choices": []}'), "the server returned no choice"),
            (raw(200, '{"id": "c", "object": "chat.completion", "choices": [{}]}'), "the server returned no choice"),
        ],
        ids=[
            "no-list",
            "no-object",
            "refusal",
            "filter",
            "length",
            "text",
            "schema",
            "joints",
            "all-joints",
            "empty",
            "no-choice",
            "no-message",
        ],
    )
    def test_two_turns_then_a_note(self, endpoint: Endpoint, fault: Behaviour, problem: str) -> None:
        repaired = scripted(endpoint, fault, fault, good())
        assert repaired.answer is not None
        last = endpoint.asked("throw")[-1]["messages"]
        assert [message["role"] for message in last] == ["system", "user", "assistant", "user", "assistant", "user"]
        assert problem in last[-1]["content"]
        lost = scripted(endpoint, fault)
        assert lost.answer is None
        assert lost.note.startswith("no usable answer after 2 repair turns: ")
        assert problem in lost.note
        assert len(endpoint.asked("throw")) == 6

    def test_an_object_that_ends_where_the_limit_is_is_whole(self, endpoint: Endpoint) -> None:
        whole = json.dumps({"description": "It whips.", "joints": ["head"]})
        assert scripted(endpoint, completion(f"{whole}\n", finish="length")).answer is not None
        assert len(endpoint.asked("throw")) == 1

    def test_every_turn_is_paid_for(self, endpoint: Endpoint) -> None:
        reply = scripted(endpoint, REFUSAL, REFUSAL, good())
        assert (reply.prompt_tokens, reply.completion_tokens) == (300, 60)


class TestNoSchemaSupport:
    def test_falls_back_to_plain_text_and_stays_there(self, endpoint: Endpoint) -> None:
        def server(request: dict[str, Any]) -> Response:
            if "response_format" in request:
                return failure(400, "response_format is not supported")(request)
            return completion("Description: The arm whips.\nJoints: right hand, R elbow")(request)

        endpoint.default = server
        first, second = ask(endpoint, QUESTION, replace(QUESTION, name="carry"), concurrency=1)
        assert first.answer is not None
        assert first.answer.description == "The arm whips."
        assert second.answer is not None
        assert ["response_format" in request for _, request, _ in endpoint.requests] == [True, False, False]
        assert first.request_hash == digest_of(endpoint.requests[1][1])


class TestForms:
    def test_text_never_demands_a_schema(self, endpoint: Endpoint) -> None:
        endpoint.default = completion("Description: The arm whips.\nJoints: right hand, R elbow")
        reply = ask(endpoint, structured_output="text")[0]
        assert reply.answer is not None
        assert "response_format" not in endpoint.requests[0][1]

    def test_schema_never_does_without(self, endpoint: Endpoint) -> None:
        endpoint.default = failure(400, "response_format is not supported")
        reply = ask(endpoint, structured_output="schema")[0]
        assert reply.note == f"HTTP 400: response_format is not supported ({endpoint.url})"
        assert ["response_format" in request for _, request, _ in endpoint.requests] == [True]


class TestParameters:
    def test_are_sent_as_they_are(self, endpoint: Endpoint) -> None:
        ask(endpoint, parameters={"temperature": 0.5, "seed": 3, "reasoning_effort": "low", "cache_prompt": True})
        _, request, _ = endpoint.requests[0]
        sent = {name: request[name] for name in ("temperature", "seed", "reasoning_effort", "cache_prompt")}
        assert sent == {"temperature": 0.5, "seed": 3, "reasoning_effort": "low", "cache_prompt": True}
        assert ask(endpoint, replace(QUESTION, name="carry"))[0].answer is not None
        assert set(endpoint.requests[1][1]) == {"model", "messages", "response_format"}

    @pytest.mark.parametrize("named", [{"param": "temperature"}, {"message": "Unsupported: 'temperature' is fixed."}])
    def test_one_that_the_server_rejects_by_name_is_left_out_for_good(
        self, endpoint: Endpoint, named: dict[str, str], log_lines: list[logging.LogRecord]
    ) -> None:
        def server(request: dict[str, Any]) -> Response:
            if "temperature" in request:
                return raw(400, json.dumps({"error": {"message": "no", **named}}))(request)
            return good()(request)

        endpoint.default = server
        first, second = ask(
            endpoint,
            QUESTION,
            replace(QUESTION, name="carry"),
            concurrency=1,
            parameters={"temperature": 0, "seed": 1},
        )
        assert first.answer is not None and second.answer is not None
        assert ["temperature" in request for _, request, _ in endpoint.requests] == [True, False, False]
        assert all("seed" in request and "response_format" in request for _, request, _ in endpoint.requests)
        warnings = [record.getMessage() for record in log_lines if record.levelno == logging.WARNING]
        assert warnings == ["the endpoint rejects the parameter temperature; asking without it"]


class TestFaultsThatStay:
    @pytest.mark.parametrize(
        ("fault", "requests", "note"),
        [
            (failure(401, f"Incorrect API key provided: {KEY}"), 1, "HTTP 401: OPENAI_API_KEY is not accepted"),
            (failure(403, f"odd prompt {KEY}"), 1, "HTTP 403: access denied"),
            (failure(404, "no such model"), 1, "HTTP 404: no such model"),
            (failure(429, "pay", code="insufficient_quota"), 1, "HTTP 429: the quota is used up"),
            (failure(429, "later", headers={"Retry-After": "3600"}), 1, "HTTP 429: later"),
            (failure(400, f"bad {KEY}"), 2, "HTTP 400: bad ***"),
            (failure(500, "oops"), ATTEMPTS + 1, "HTTP 500: oops"),
            (raw(200, "<html>", kind="text/html"), ATTEMPTS, f"the body is not JSON, {ATTEMPTS} tries (http"),
        ],
        ids=["key", "denied", "model", "quota", "far-retry-after", "rejected", "500", "html"],
    )
    def test_becomes_a_note(self, endpoint: Endpoint, fault: Behaviour, requests: int, note: str) -> None:
        reply = scripted(endpoint, fault)
        assert reply.answer is None
        assert note in reply.note
        assert KEY not in reply.note
        assert len(endpoint.asked("throw")) == requests

    def test_what_cannot_succeed_is_not_asked_for_every_class(self, endpoint: Endpoint) -> None:
        endpoint.default = failure(429, "pay", code="insufficient_quota")
        replies = ask(endpoint, *(replace(QUESTION, name=name) for name in NW_UCLA), concurrency=1)
        assert len(endpoint.requests) == 1
        assert replies[-1].note == f"not sent: HTTP 429: the quota is used up: pay ({endpoint.url})"

    def test_an_outage_ends_the_asking(self, endpoint: Endpoint) -> None:
        endpoint.default = failure(502)
        ask(endpoint, *(replace(QUESTION, name=name) for name in NW_UCLA), concurrency=1)
        assert len(endpoint.requests) == 3 * ATTEMPTS + 1  # one of them in words

    def test_a_stalling_server_runs_into_the_time_out(self, endpoint: Endpoint) -> None:
        release = Event()

        def stall(request: dict[str, Any]) -> Response:
            release.wait(5)
            return good()(request)

        endpoint.default = stall
        (reply,) = ask(endpoint, timeout_s=0.05)
        release.set()
        assert reply.note == f"no answer in time, {ATTEMPTS} tries"


class TestRounds:
    def run(self, scene: Scene, endpoint: Endpoint, **agent: Any) -> constraints.Constraints:
        """Round 0 offline, then round 1 with the endpoint."""
        run_round(Round(scene.stage()), scene.root / "c0")
        mistakes = {("throw", "drop trash"): 5, ("sit down", "stand up"): 4, ("donning", "doffing"): 3}
        stage = scene.stage(provider="openai", base_url=endpoint.url, timeout_s=5, **agent)
        confusion = scene.confusion(stage, mistakes)
        run_round(Round(stage, "j", 1, confusion, scene.root / "c0"), scene.root / "c1")
        return constraints.open(scene.root / "c1")

    def test_no_fault_loses_a_constraint(
        self,
        scene: Scene,
        endpoint: Endpoint,
        caplog: pytest.LogCaptureFixture,
        log_lines: list[logging.LogRecord],
    ) -> None:
        endpoint.script = {
            "throw": [failure(429, headers={"Retry-After": "0"}), good("It whips.")],
            "drop trash": [REFUSAL],
            "sit down": [completion("{", finish="length"), good("It sinks.", ("pelvis", "left_knee"))],
            "stand up": [completion("nonsense")],
            "donning": [failure(400, f"key {KEY} is odd")],
            "doffing": [completion(json.dumps({"description": f"{KEY} moves", "joints": ["head"]}))],
        }
        with caplog.at_level(logging.DEBUG):
            found = self.run(scene, endpoint)
        before = constraints.open(scene.root / "c0")
        status = {c.name: c.provenance.status for c in found.classes}
        answered = {"throw", "sit down", "doffing"}
        assert {name for name, s in status.items() if s == "answered"} == answered
        for now, then in zip(found.classes, before.classes, strict=True):
            if now.name not in answered:
                assert (now.description, now.joints) == (then.description, then.joints)
                assert now.provenance.note
        assert found.classes[NW_UCLA.index("drop trash")].provenance.prompt_tokens == 300
        written = b"".join(p.read_bytes() for p in sorted(scene.root.rglob("*")) if p.is_file())
        assert KEY.encode() not in written
        logged = [record.getMessage() for record in log_lines]
        assert any("round 1, stream j: 6 classes asked; 3 answered, 7 kept" in line for line in logged)
        assert KEY not in "".join(logged) + caplog.text

    def test_server_down_keeps_everything_and_says_so(
        self, scene: Scene, endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("components.agent.core.ChatProvider", partial(ChatProvider, backoff_s=0.01))
        endpoint.url = "http://127.0.0.1:9/v1"
        found = self.run(scene, endpoint)
        before = constraints.open(scene.root / "c0")
        assert {c.provenance.status for c in found.classes} == {"kept"}
        assert (found.text == before.text).all()
        notes = {c.name: c.provenance.note for c in found.classes}
        assert "no connection to the endpoint" in notes["throw"]
        assert notes["carry"] == "not asked: no confusion above the thresholds"

    def test_round_zero_asks_every_class_and_falls_back_to_the_prior(self, scene: Scene, endpoint: Endpoint) -> None:
        endpoint.script["carry"] = [REFUSAL]
        stage = scene.stage(provider="openai", base_url=endpoint.url, max_requests=10)
        run_round(Round(stage), scene.root / "c0")
        found = constraints.open(scene.root / "c0")
        assert {name for name, _, _ in endpoint.requests} == set(NW_UCLA)
        assert [c.provenance.status for c in found.classes] == ["answered"] * 9 + ["prior"]
        assert "the model refused" in found.classes[9].provenance.note

    def test_round_zero_keeps_to_the_budget(self, scene: Scene, endpoint: Endpoint) -> None:
        run_round(Round(scene.stage(provider="openai", base_url=endpoint.url, max_requests=4)), scene.root / "c0")
        found = constraints.open(scene.root / "c0")
        assert [c.provenance.status for c in found.classes] == ["answered"] * 4 + ["prior"] * 6
        assert found.classes[9].provenance.note == "not asked: beyond this round's max_requests (4)"
