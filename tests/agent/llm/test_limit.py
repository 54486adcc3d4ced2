"""How many requests are under way at once: many where the endpoint bears them, few where it does not."""

from __future__ import annotations

import asyncio
import time
from contextlib import AsyncExitStack
from dataclasses import replace
from threading import Event, Lock
from typing import Any

import pytest
from agent_helpers import QUESTION, Endpoint, Response, ask, failure, good
from prometheus_client import REGISTRY, Gauge

from components.agent.llm.chat import ChatProvider
from components.agent.llm.limit import FIRST, Limit
from components.agent.metrics import OTHER
from components.agent.providers import Question, Reply, StoppedError, Unobserved
from components.contracts.config import AgentConfig

MOST = AgentConfig().concurrency
GAUGE = Gauge("limit_under_test", "", registry=None)


def questions(number: int) -> list[Question]:
    return [replace(QUESTION, name=f"class {k}") for k in range(number)]


@pytest.fixture(autouse=True)
def key(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("OPENAI_API_KEY", raising=False)


class TestLimit:
    def test_it_grows_with_every_answer_until_the_first_overload_and_slowly_after_it(self) -> None:
        with Limit(MOST, GAUGE) as limit:
            sizes = [GAUGE._value.get()]
            for _ in range(2 * MOST):
                limit.answered()
                sizes.append(GAUGE._value.get())
            assert sizes == [min(FIRST + k, MOST) for k in range(2 * MOST + 1)]
            assert limit.overloaded(0)
            assert GAUGE._value.get() == MOST // 2
            for _ in range(2 * (MOST // 2)):  # two rounds of as many answers as there are requests at once
                limit.answered()
            assert GAUGE._value.get() == pytest.approx(MOST // 2 + 1, abs=0.1)
        assert GAUGE._value.get() == pytest.approx(0)

    def test_what_was_sent_together_halves_it_once_and_one_always_gets_through(self) -> None:
        async def scenario() -> list[float]:
            sizes = []
            with Limit(MOST, GAUGE) as limit:
                for _ in range(4):
                    async with AsyncExitStack() as stack:
                        held = int(GAUGE._value.get())
                        slots = [await stack.enter_async_context(limit.slot()) for _ in range(held)]
                        news = [limit.overloaded(slot) for slot in slots]
                    assert news == [True] + [False] * (held - 1)
                    sizes.append(GAUGE._value.get())
            return sizes

        assert asyncio.run(scenario()) == [FIRST // 2, 1, 1, 1]

    def test_who_comes_first_is_served_first(self) -> None:
        async def scenario() -> list[int]:
            order: list[int] = []
            with Limit(1, GAUGE) as limit:

                async def one(number: int) -> None:
                    async with limit.slot():
                        order.append(number)
                        await asyncio.sleep(0)

                await asyncio.gather(*(one(number) for number in range(10)))
            return order

        assert asyncio.run(scenario()) == list(range(10))


class TestEndpoints:
    def test_one_that_answers_one_at_a_time_loses_no_question_and_is_sent_few_in_vain(self, endpoint: Endpoint) -> None:
        """Eight would be answered in time, sixteen would not; whom the client gave up on is answered all the same."""
        counter, sizes = Lock(), []

        def one_at_a_time(request: dict[str, Any]) -> Response:
            with counter:
                time.sleep(0.1)
                sizes.append(REGISTRY.get_sample_value("skeletonagent_llm_limit", {"model": OTHER}))
            return good()(request)

        endpoint.default = one_at_a_time
        asked = questions(40)
        replies = ask(endpoint, *asked, timeout_s=0.8, model="slow")
        assert all(reply.answer for reply in replies)
        print(f"{len(endpoint.requests) - len(asked)} of {len(endpoint.requests)} requests in vain, limits {sizes}")
        assert len(endpoint.requests) < 2 * len(asked)
        assert max(sizes) <= MOST
        assert REGISTRY.get_sample_value("skeletonagent_llm_limit", {"model": OTHER}) == pytest.approx(0)

    @pytest.mark.parametrize("status", [429, 503])
    def test_one_that_refuses_more_than_it_bears_is_sent_fewer(self, endpoint: Endpoint, status: int) -> None:
        under_way, refused = 0, 0

        def bears_three(request: dict[str, Any]) -> Response:
            nonlocal under_way, refused
            with endpoint.lock:
                under_way += 1
                busy = under_way > 3
                refused += busy
            time.sleep(0 if busy else 0.05)
            with endpoint.lock:
                under_way -= 1
            return (failure(status, headers={"Retry-After": "0.1"}) if busy else good())(request)

        endpoint.default = bears_three
        asked = questions(40)
        assert all(reply.answer for reply in ask(endpoint, *asked))
        assert refused < len(asked) / 2

    def test_one_that_says_nothing_at_all_is_left_alone_soon(self, endpoint: Endpoint) -> None:
        over = Event()

        def silent(request: dict[str, Any]) -> Response:
            over.wait(10)
            return good()(request)

        endpoint.default = silent
        replies = ask(endpoint, *questions(40), timeout_s=0.2)
        over.set()
        assert not any(reply.answer for reply in replies)
        assert replies[-1].note == "not sent: no answer in time, 6 times in a row"
        assert len(endpoint.requests) <= 4 + 2 + 1 + 1 + 1 + 1

    def test_what_waits_for_its_turn_is_not_sent_once_the_round_is_stopped(self, endpoint: Endpoint) -> None:
        class Stopping(Unobserved):
            stopped = False

            def replied(self, reply: Reply) -> None:
                self.stopped = True

            def stopping(self) -> bool:
                return self.stopped

        def answer(request: dict[str, Any]) -> Response:
            time.sleep(0.1)
            return good()(request)

        endpoint.default = answer
        provider = ChatProvider(AgentConfig(provider="openai", base_url=endpoint.url))
        with pytest.raises(StoppedError):
            provider.ask(questions(MOST), lambda done, note="": None, Stopping())
        assert len(endpoint.requests) < MOST
