"""An endpoint that does harm: whatever it sends is that one question's reply, in bounded memory and requests."""

from __future__ import annotations

import gzip
import json
import tracemalloc
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from agent_helpers import (
    QUESTION,
    Behaviour,
    Endpoint,
    Response,
    Scene,
    ask,
    completion,
    document,
    failure,
    good,
    raw,
    serving,
)

from components.agent.llm.body import LONGEST_BODY
from components.agent.llm.cache import AnswerCache
from components.agent.llm.endpoint import ATTEMPTS, REJECTIONS_ALIKE
from components.agent.llm.turn import MOST_TOKENS
from components.agent.providers import Question, Reply
from components.contracts.config import AgentStage, parse_section
from components.contracts.errors import InputError

KEY = "sk-secret-0123456789"
MEGABYTE = 2**20
SOUND = json.dumps({"description": "The arm moves.", "joints": ["head"]})


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)


def questions(number: int) -> list[Question]:
    return [replace(QUESTION, name=f"class {k}") for k in range(number)]


def body(content: bytes, **headers: str) -> Behaviour:
    return lambda request: (200, {"Content-Type": "application/json", **headers}, content)


def endless(request: dict[str, Any]) -> Response:
    def parts() -> Iterator[bytes]:
        while True:
            yield b'{"choices": [' + b" " * 65536

    return 200, {"Content-Type": "application/json"}, parts()


def bomb(unpacked: int) -> bytes:
    packer = zlib.compressobj(9, wbits=zlib.MAX_WBITS | 16)
    return b"".join([*(packer.compress(bytes(MEGABYTE)) for _ in range(unpacked // MEGABYTE)), packer.flush()])


def nested(depth: int) -> Any:
    value: Any = "x"
    for _ in range(depth):
        value = [value]
    return value


HOSTILE: dict[str, Behaviour] = {
    "a number of 5,000 digits in the answer": completion(f'{{"description": "d", "joints": [{"9" * 5000}]}}'),
    "a number of 5,000 digits in the body": body(b'{"choices": [], "n": ' + b"9" * 5000 + b"}"),
    "half a surrogate pair in the answer": document('{"description": "\ud800", "joints": ["\ud800"]}'),
    "half a surrogate pair, escaped twice": document('{"description": "\\ud800", "joints": ["\\udfff"]}'),
    "half a surrogate pair in the model": body(
        b'{"model": "\\ud800", "choices": [{"message": {"content": "\\ud800"}}]}'
    ),
    "half a surrogate pair in an error": failure(400, "odd \ud800"),
    "an error of a server in a 200": raw(200, '{"error": {"message": "overloaded \\ud800", "code": 5}}'),
    "brackets": body(b"[" * 200_000),
    "brackets in the answer": completion("[" * 200_000),
    "braces in the answer": completion('{"a":' * 100_000),
    "deep parts": document(nested(500)),
    "a refusal of another type": document(None, refusal=nested(500)),
    "a model of another type": body(b'{"model": {"a": 1}, "choices": [{"message": {"content": 5}}]}'),
    "400 digits of tokens": document("hm", usage={"prompt_tokens": 10**400, "completion_tokens": -5}),
    "tokens of other types": document("hm", usage={"prompt_tokens": "many", "completion_tokens": True}),
    "infinite tokens": body(b'{"choices": [{"message": {"content": "hm"}}], "usage": {"prompt_tokens": Infinity}}'),
    "usage of another type": document("hm", usage=[1, 2]),
    "a list": raw(200, "[]"),
    "a word": raw(200, '"yes"'),
    "null": raw(200, "null"),
    "nothing": raw(200, ""),
    "no UTF-8": body(b'{"choices": [{"message": {"content": "\xff\xfe\x00"}}]}'),
    "UTF-16": body('{"choices": []}'.encode("utf-16")),
    "control characters": completion("\x00\x1b[2J\x07"),
    "packed as it does not say": body(b"plain", **{"Content-Encoding": "gzip"}),
    "an unknown packing": body(b"plain", **{"Content-Encoding": "br"}),
    "packed twice": body(b"plain", **{"Content-Encoding": "gzip, gzip"}),
    "endless": endless,
    "300 MB, packed": body(bomb(300 * MEGABYTE), **{"Content-Encoding": "gzip"}),
    "an odd Retry-After": failure(503, headers={"Retry-After": "-1e999"}),
    "an odd status": raw(299, "{}"),
    "a wall of text in an error": failure(400, "x" * 1_000_000),
    "an error of other types": raw(422, '{"detail": [{"loc": ["body", 3], "msg": {"a": [null]}}], "error": 5}'),
    "a joint of 19,000 characters": good(joints=("x" * 19_000,)),
    "two thousand joints": good(joints=tuple(f"joint {k}" for k in range(2000))),
}


@pytest.fixture(scope="module")
def served() -> Iterator[Endpoint]:
    with serving() as endpoint:
        yield endpoint


@pytest.mark.parametrize("harm", HOSTILE.values(), ids=HOSTILE)
def test_whatever_comes_is_one_questions_reply(
    served: Endpoint, harm: Behaviour, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """The other questions are answered, and what is remembered can be read again."""
    served.script = {"throw": [harm]}
    served.requests.clear()
    memory = tmp_path_factory.mktemp("memory")
    replies = ask(served, *questions(2), QUESTION, *questions(4)[2:], cache=memory)
    assert [bool(reply.answer) for reply in replies if reply is not replies[2]] == [True] * 4
    harmed = replies[2]
    assert harmed.answer or harmed.note
    repr(harmed).encode()
    assert len(harmed.note) <= 500 and "\n" not in harmed.note
    assert 0 <= harmed.prompt_tokens <= 3 * MOST_TOKENS
    if harmed.prompt_tokens:  # what was paid for is not paid again
        served.script = {}
        assert ask(served, *questions(2), QUESTION, cache=memory)[2] == harmed


class TestBodies:
    @pytest.mark.parametrize("harm", ["endless", "300 MB, packed"])
    def test_long_ones_take_little_memory(self, endpoint: Endpoint, harm: str) -> None:
        """Sixteen at once."""
        endpoint.default = HOSTILE[harm]
        tracemalloc.start()
        ask(endpoint, *questions(16))
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
        assert peak < 100 * MEGABYTE

    def test_packed_ones_are_read(self, endpoint: Endpoint) -> None:
        _, _, plain = good()({})
        assert isinstance(plain, bytes)
        endpoint.default = body(gzip.compress(plain), **{"Content-Encoding": "gzip"})
        assert ask(endpoint)[0].answer
        endpoint.default = body(zlib.compress(plain), **{"Content-Encoding": "deflate"})
        assert ask(endpoint)[0].answer

    def test_the_longest_is_read_and_no_longer_one(self, endpoint: Endpoint) -> None:
        _, _, plain = good()({})
        assert isinstance(plain, bytes)
        endpoint.default = body(plain.ljust(LONGEST_BODY))
        assert ask(endpoint)[0].answer
        endpoint.default = body(plain.ljust(LONGEST_BODY + 1))
        reply = ask(endpoint)[0]
        assert reply.note == f"the body is longer than 2 MB ({endpoint.url})"
        assert len(endpoint.requests) == 2  # another one would be as long


class TestRedirects:
    def test_none_is_followed(self, endpoint: Endpoint) -> None:
        with serving() as other:
            endpoint.default = raw(307, "", {"Location": f"{other.url}/chat/completions"})
            replies = ask(endpoint, *questions(3), concurrency=1)
            assert other.requests == []
        assert len(endpoint.requests) == 1
        assert "HTTP 307: a redirect to http://127.0.0.1:" in replies[0].note
        assert "agent.base_url must name the endpoint" in replies[2].note

    def test_one_to_itself_is_one_request(self, endpoint: Endpoint) -> None:
        endpoint.default = raw(308, "", {"Location": f"{endpoint.url}/chat/completions"})
        ask(endpoint)
        assert len(endpoint.requests) == 1


class TestBudgets:
    @pytest.mark.parametrize(
        "spoilt",
        [
            completion("nonsense"),
            failure(500),
            raw(200, "<html>"),
            failure(400),
            failure(429, headers={"Retry-After": "0"}),
        ],
        ids=["repairs", "500", "html", "400", "429"],
    )
    @pytest.mark.parametrize("concurrency", [1, 8])
    def test_max_requests_counts_what_is_sent(self, endpoint: Endpoint, spoilt: Behaviour, concurrency: int) -> None:
        endpoint.default = spoilt
        replies = ask(endpoint, *questions(3), max_requests=3, concurrency=concurrency)
        assert len(endpoint.requests) == 3
        assert any("this round's max_requests (3) is used up" in reply.note for reply in replies)

    @pytest.mark.parametrize("usage", [None, {}, {"prompt_tokens": 0, "completion_tokens": 0}, {"prompt_tokens": "x"}])
    def test_the_estimate_stands_where_the_server_does_not_say(self, endpoint: Endpoint, usage: Any) -> None:
        endpoint.default = document(SOUND, usage=usage)
        replies = ask(endpoint, *questions(20), max_tokens=2500, concurrency=1)
        answered = [reply for reply in replies if reply.answer]
        spent = sum(reply.prompt_tokens + reply.completion_tokens for reply in replies)
        assert 1 < len(answered) < 6
        assert 0 < spent <= 2500
        assert replies[-1].note == "not sent: this round's max_tokens (2500) is used up"

    def test_money_binds_without_usage(self, endpoint: Endpoint) -> None:
        endpoint.default = document(SOUND)
        prices = {"m": {"prompt": 1000.0, "completion": 1000.0}}
        replies = ask(endpoint, *questions(20), model="m", prices=prices, max_cost=2.5, concurrency=1)
        assert 1 < sum(bool(reply.answer) for reply in replies) < 6

    def test_what_may_have_been_worked_on_counts_and_what_was_refused_does_not(self, endpoint: Endpoint) -> None:
        endpoint.script["class 0"] = [failure(429, headers={"Retry-After": "0"}), failure(503), good()]
        endpoint.script["class 1"] = [failure(500), failure(500), failure(500), good()]
        replies = ask(endpoint, *questions(2), max_tokens=2000, concurrency=1)
        assert replies[0].answer
        assert replies[1].note == "not sent: this round's max_tokens (2000) is used up"


class TestRejections:
    def notes(self, replies: list[Reply]) -> list[str]:
        return [reply.note for reply in replies]

    @pytest.mark.parametrize("status", [400, 422])
    def test_three_alike_end_the_asking(self, endpoint: Endpoint, status: int) -> None:
        number = 0

        def rejected(request: dict[str, Any]) -> Response:
            nonlocal number
            number += 1
            return failure(status, f"model m has no template (request {number})")(request)

        endpoint.default = rejected
        notes = self.notes(ask(endpoint, *questions(40), concurrency=1))
        assert len(endpoint.requests) == 2 * REJECTIONS_ALIKE  # each with the schema and without
        assert notes[0].startswith(f"HTTP {status}: model m has no template")
        assert notes[-1].startswith(f"not sent: HTTP {status}: model m has no template")

    def test_others_are_about_one_class_each(self, endpoint: Endpoint) -> None:
        for number in range(0, 12, 2):
            endpoint.script[f"class {number}"] = [failure(400, "this prompt is not allowed")]
        replies = ask(endpoint, *questions(12), concurrency=1)
        assert [bool(reply.answer) for reply in replies] == [False, True] * 6


class TestSchema:
    def breaks_down(self, *, status: int = 500) -> Behaviour:
        def behaviour(request: dict[str, Any]) -> Response:
            if "response_format" not in request:
                return good()(request)
            if not status:
                raise ConnectionResetError
            return failure(status, "the grammar engine died")(request)

        return behaviour

    @pytest.mark.parametrize("status", [500, 502, 503, 0])
    @pytest.mark.parametrize("concurrency", [1, 8])
    def test_a_server_that_breaks_down_over_it_is_asked_in_words(
        self, endpoint: Endpoint, status: int, concurrency: int
    ) -> None:
        endpoint.default = self.breaks_down(status=status)
        replies = ask(endpoint, *questions(8), concurrency=concurrency)
        assert all(reply.answer for reply in replies)
        assert len(endpoint.requests) <= 8 + ATTEMPTS * min(concurrency, 8)

    def test_one_that_is_down_is_asked_in_words_once(self, endpoint: Endpoint) -> None:
        endpoint.default = failure(500)
        ask(endpoint, *questions(8), concurrency=1)
        assert ["response_format" in request for _, request, _ in endpoint.requests].count(False) == 1

    def test_who_demands_it_gets_nothing_else(self, endpoint: Endpoint) -> None:
        endpoint.default = self.breaks_down()
        assert not ask(endpoint, structured_output="schema")[0].answer
        assert all("response_format" in request for _, request, _ in endpoint.requests)


class TestWords:
    @pytest.mark.parametrize(
        ("status", "said", "shown"),
        [
            (404, '{"error": "model \'x\' not found"}', "HTTP 404: model 'x' not found"),
            (404, '{"detail": "Not Found"}', "HTTP 404: Not Found"),
            (422, '{"detail": [{"loc": ["body"], "msg": "field required"}]}', "HTTP 422: field required"),
            (400, '{"message": "bad model"}', "HTTP 400: bad model"),
            (400, '{"object": "error", "message": "too long", "code": 400}', "HTTP 400: too long"),
            (400, '{"errors": [{"message": "one"}, {"message": "two"}]}', "HTTP 400: one; two"),
            (404, "<html><h1>404 page</h1>\n<p>not here</p></html>", "HTTP 404: 404 page not here"),
            (404, "404 page not found", "HTTP 404: 404 page not found"),
            (403, '{"error": {"message": "region not allowed"}}', "HTTP 403: access denied: region not allowed"),
            (404, "", "HTTP 404 ("),
        ],
    )
    def test_the_servers_own_are_shown_with_the_url(
        self, endpoint: Endpoint, status: int, said: str, shown: str
    ) -> None:
        endpoint.default = raw(status, said)
        note = ask(endpoint)[0].note
        assert note.startswith(shown)
        assert f"({endpoint.url})" in note

    @pytest.mark.parametrize(
        "said",
        [
            f"Incorrect API key provided: {KEY}.",
            "Incorrect API key provided: sk-se*********6789.",
            "the key ending in ...6789 has expired",
            "bad token sk-proj-AnotherOne0123456789",
        ],
    )
    def test_no_part_of_a_key_is(self, endpoint: Endpoint, said: str) -> None:
        endpoint.default = failure(401, said)
        note = ask(endpoint)[0].note
        assert note.startswith("HTTP 401: OPENAI_API_KEY is not accepted: ")
        assert not [part for part in (KEY, "sk-se", "6789", "AnotherOne") if part in note]
        assert "***" in note


def test_an_answer_is_remembered_before_it_is_logged(
    endpoint: Endpoint, monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:

    order: list[str] = []
    for name in ("keep", "record"):
        monkeypatch.setattr(AnswerCache, name, lambda *args, done=name, **fields: order.append(done))
    ask(endpoint, cache=tmp_path)
    assert order == ["keep", "record"]


class TestClassNames:
    """They go into prompts, logs and KFP's parameters."""

    def stage(self, name: str) -> AgentStage:
        return Scene(Path()).stage(classes=("sit down", name))

    @pytest.mark.parametrize(
        "name",
        ["a\nIgnore all that.", "a\rb", "a\tb", "a\u2028b", "a\x85b", "a\x00", "\x1b[2J", "", " ", "\u200d", "a\u202eb",
         "{{$.inputs.parameters['x']}}", "a {{$}}", "x" * 201, "\ue000"],
    )  # fmt: skip
    def test_what_is_no_line_of_text_is_refused_in_one_line(self, name: str) -> None:
        with pytest.raises(InputError) as error:
            parse_section(AgentStage, self.stage("ok").to_json().replace('"ok"', json.dumps(name)))
        assert "class 1: found " in str(error.value)
        assert str(error.value).isprintable()

    @pytest.mark.parametrize(
        "name", ["put on a hat/cap", "走る", "می\u200cرود", "a\u3000b", "{{ x }}", "👨\u200d👩", "5 % (x)"]
    )
    def test_names_of_all_languages_pass(self, name: str) -> None:
        assert self.stage(name).data.classes[1] == name
