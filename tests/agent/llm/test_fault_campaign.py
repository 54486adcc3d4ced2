"""Whole rounds with an endpoint that does everything wrong that endpoints do, counted."""

from __future__ import annotations

import json
import logging
import random
import time
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime
from functools import partial
from typing import Any, TypeVar

import pytest
from agent_helpers import Behaviour, Endpoint, Response, Scene, completion, document, failure, good, raw

from components.agent.core import run_round
from components.agent.llm.chat import ChatProvider
from components.agent.round import Round
from components.contracts import constraints
from components.contracts.artifact import canonical_json, digest

T = TypeVar("T")
KEY = "sk-secret-0123456789"
CLASSES = tuple(f"motion {number}" for number in range(48))
TIMEOUT_S = 1.0  # long for a loopback, since a busy machine must not add faults of its own
MAX_REQUESTS = 1000


def stall(request: dict[str, Any]) -> Response:
    time.sleep(2 * TIMEOUT_S)
    return good()(request)


def reset(request: dict[str, Any]) -> Response:
    raise ConnectionResetError


def cut(request: dict[str, Any]) -> Response:
    """End the connection in the middle of a body whose length was announced."""
    status, headers, body = good()(request)
    return status, {**headers, "Content-Length": str(len(body)), "Connection": "close"}, body[: len(body) // 2]


def until_a_date(request: dict[str, Any]) -> Response:
    date = format_datetime(datetime.now(UTC) + timedelta(seconds=1), usegmt=True)
    return failure(429, f"slower, {KEY}", headers={"Retry-After": date})(request)


PASSING: dict[str, Behaviour] = {
    "429, Retry-After in seconds": failure(429, headers={"Retry-After": "0.1"}),
    "429, Retry-After as a date": until_a_date,
    "500": failure(500, f"oops {KEY}"),
    "503": failure(503),
    "stall": stall,
    "reset": reset,
    "cut body": cut,
    "truncated JSON": raw(200, '{"id": "c", "object": "chat.completion", "choices": ['),
    "200 with HTML": raw(200, "<html>busy</html>", kind="text/html"),
    "200 with an error": raw(200, json.dumps({"error": {"message": f"busy {KEY}", "code": 503}})),
    "brackets": raw(200, "[" * 200_000),
    "an empty body": raw(200, ""),
    "a list": raw(200, "[1, 2]"),
    "wrong packing": raw(200, "plain", {"Content-Encoding": "gzip"}),
    "an odd Retry-After": failure(503, headers={"Retry-After": "a while"}),
}
"""What the same request survives, and nobody is charged for."""

SPOILT: dict[str, Behaviour] = {
    "refusal": completion(None, refusal=f"No, {KEY}."),
    "content filter": completion(None, finish="content_filter"),
    "cut answer": completion('{"description": "An ar', finish="length"),
    "wrong schema": completion('{"text": 5}'),
    "unknown joints": good(joints=("tail", "wing")),
    "no JSON": completion("Well, it depends."),
    "a draft in thinking": completion('<think>{"description": "draft", "joints": ["head"]}</think> Hm.'),
    "thinking without end": completion('<think>{"description": "draft", "joints": ["head"]}'),
    "half a surrogate pair": completion('{"description": "\\ud800", "joints": "\ud800"}'),
    "5,000 digits": completion(f'{{"description": {"9" * 5000}}}'),
    "braces": completion('{"a":' * 3000),
    "odd counts": document("hm", usage={"prompt_tokens": 10**400, "completion_tokens": True}),
    "no usage": document("hm"),
    "text elsewhere": document(None, reasoning_content="It depends."),
    "parts of nothing": document([{"type": "thinking", "thinking": "x"}, None, 5]),
}
"""Answers that were charged, and cannot be used."""

SOUND: dict[str, Callable[[str], Behaviour]] = {
    "plain": lambda text: good(text),
    "thought about": lambda text: completion(
        f'<think>{{"description": "draft", "joints": ["head"]}}</think>{_said(text)}'
    ),
    "nearly JSON": lambda text: completion(f"{{'description': '{text}', 'joints': ['head', 'left_hand',],}}"),
    "wrapped": lambda text: completion(f'{{"answer": {_said(text)}}}'),
    "parts": lambda text: document([{"type": "text", "text": _said(text)}]),
    "a tool's call": lambda text: document(None, tool_calls=[{"function": {"name": "f", "arguments": _said(text)}}]),
    "reasoning_content": lambda text: document(None, reasoning_content=_said(text)),
}
"""The forms in which a good answer comes."""


def _said(text: str) -> str:
    return json.dumps({"description": text, "joints": ["head", "left_hand"]})


@dataclass
class Campaign:
    """Draws each class's faults, from a seed, and counts those that were met."""

    rng: random.Random
    met: Counter[str] = field(default_factory=Counter)
    by_class: Counter[str] = field(default_factory=Counter)
    forms: Counter[str] = field(default_factory=Counter)
    packs: dict[int, list[str]] = field(default_factory=dict)

    def script(self, name: str) -> list[Behaviour]:
        """Return up to two passing faults before each of up to two spoilt answers and a good one."""
        turns = [self._spoilt(name) for _ in range(self.rng.randrange(3))] + [self._good(name)]
        if self.rng.random() < 0.2:  # a class that nothing good ever comes of
            turns[-1] = self._spoilt(name)
            turns = [turns[-1]] * 3
        script: list[Behaviour] = []
        for turn in turns:
            script += [self._passing(name) for _ in range(self.rng.choice((0, 1, 1, 2)))] + [turn]
        return script

    def _drawn(self, kinds: dict[str, T]) -> tuple[str, T]:
        """Draw a kind from a pack that is shuffled anew when it is used up, so that each is met."""
        pack = self.packs.setdefault(id(kinds), [])
        if not pack:
            pack += self.rng.sample(list(kinds), len(kinds))
        name = pack.pop()
        return name, kinds[name]

    def _good(self, name: str) -> Behaviour:
        form, make = self._drawn(SOUND)
        self.forms[form] += 1
        return make(f"{name} is quick.")

    def _passing(self, name: str) -> Behaviour:
        return self._counted(name, *self._drawn(PASSING))

    def _spoilt(self, name: str) -> Behaviour:
        return self._counted(name, *self._drawn(SPOILT))

    def _counted(self, name: str, fault: str, behaviour: Behaviour) -> Behaviour:
        def counted(request: dict[str, Any]) -> Response:
            self.met[fault] += 1
            self.by_class[name] += 1
            return behaviour(request)

        return counted


@pytest.fixture(autouse=True)
def quick(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("OPENAI_API_KEY", KEY)
    monkeypatch.setattr("components.agent.core.ChatProvider", partial(ChatProvider, backoff_s=0.01))


@pytest.mark.slow
def test_a_round_with_everything_going_wrong_loses_nothing(
    endpoint: Endpoint, scene: Scene, log_lines: list[logging.LogRecord]
) -> None:
    campaign = Campaign(random.Random(1))
    endpoint.script = {name: campaign.script(name) for name in CLASSES}
    run_round(Round(scene.stage(classes=CLASSES, priors=None)), scene.root / "before")
    stage = scene.stage(
        classes=CLASSES,
        priors=None,
        provider="openai",
        base_url=endpoint.url,
        timeout_s=TIMEOUT_S,
        concurrency=16,
        max_requests=MAX_REQUESTS,
    )
    run_round(Round(stage), scene.root / "c0", cache=scene.root / "memory")
    found, before = constraints.open(scene.root / "c0"), constraints.open(scene.root / "before")
    injected = sum(campaign.met.values())
    answered = {c.name for c in found.classes if c.provenance.status == "answered"}
    lost = [
        now.name
        for now, then in zip(found.classes, before.classes, strict=True)
        if now.name not in answered and (now.description, now.joints) != (then.description, then.joints)
    ]
    survived = sum(count for name, count in campaign.by_class.items() if name in answered)
    files = list(scene.root.glob("memory/answers/*/*.json"))
    entries = [json.loads(file.read_text()) for file in files]
    charged = sum(entry["turn"]["prompt_tokens"] + entry["turn"]["completion_tokens"] for entry in entries)
    sent = len(endpoint.requests)
    endpoint.requests.clear()
    run_round(Round(stage), scene.root / "again", cache=scene.root / "memory")
    paid = {canonical_json(entry["request"]) for entry in entries}
    double = sum(canonical_json(request) in paid for _, request, _ in endpoint.requests)
    print(
        f"\n{injected} faults of {len(campaign.met)} kinds injected into {len(CLASSES)} classes: {survived} overcome "
        f"in {len(answered)} classes that were answered, {injected - survived} in {len(CLASSES) - len(answered)} "
        f"that kept their constraint; {len(lost)} constraints lost; {double} double charges; {sent} requests "
        f"sent of {MAX_REQUESTS} allowed; good answers in {len(campaign.forms)} forms"
    )
    print("; ".join(f"{fault}: {count}" for fault, count in sorted(campaign.met.items())))
    assert set(campaign.met) == {*PASSING, *SPOILT}
    assert set(campaign.forms) == set(SOUND)
    assert injected > 100 and survived > 60
    assert {name for name in CLASSES if "is quick" in found.classes[CLASSES.index(name)].description} == answered
    assert answered == {name for name, script in endpoint.script.items() if _ends_well(script)}
    assert (lost, double) == ([], 0)
    assert sent <= MAX_REQUESTS
    # What the artifact accounts for is what was answered, once.
    assert found.classes and constraints.verify(scene.root / "c0").about["tokens"] == charged
    assert digest(scene.root / "again") == digest(scene.root / "c0")
    written = b"".join(file.read_bytes() for file in scene.root.rglob("*") if file.is_file())
    assert KEY.encode() not in written
    assert KEY not in "".join(record.getMessage() for record in log_lines)


def _ends_well(script: list[Behaviour]) -> bool:
    """Tell whether what a script repeats in the end is a good answer, which no campaign counts."""
    return "counted" not in script[-1].__qualname__


def test_an_exhausted_quota_ends_the_asking_and_keeps_what_was_answered(endpoint: Endpoint, scene: Scene) -> None:
    """The quota is used up after twenty answers; topped up, the next attempt asks the rest and no other."""
    left = 20

    def metered(request: dict[str, Any]) -> Response:
        nonlocal left
        with endpoint.lock:
            left -= 1
            paid = left >= 0
        return (good() if paid else failure(429, "pay", code="insufficient_quota"))(request)

    endpoint.default = metered
    stage = scene.stage(classes=CLASSES, priors=None, provider="openai", base_url=endpoint.url, concurrency=4)
    run_round(Round(stage), scene.root / "poor", cache=scene.root / "memory")
    poor = constraints.open(scene.root / "poor")
    statuses = Counter(constraint.provenance.status for constraint in poor.classes)
    assert statuses == {"answered": 20, "no-prior": 28}
    assert len(endpoint.requests) <= 20 + 4  # those under way when it was used up
    assert any("the quota is used up" in constraint.provenance.note for constraint in poor.classes)
    left, before = 1000, len(endpoint.requests)
    run_round(Round(stage), scene.root / "rich", cache=scene.root / "memory")
    assert {c.provenance.status for c in constraints.open(scene.root / "rich").classes} == {"answered"}
    assert len(endpoint.requests) - before == 28
