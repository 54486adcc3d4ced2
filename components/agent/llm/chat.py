"""The ``openai`` provider: one structured call per class to any OpenAI-compatible chat endpoint.

Nothing that an endpoint does may cost a class its constraint or end the round: what cannot be answered
becomes a reply without an answer, with the reason.
"""

from __future__ import annotations

import asyncio
import os
import time
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import openai
from openai.types.chat import ChatCompletion

from components.agent.llm.answers import parse_answer
from components.agent.llm.budget import Purse, cost, estimate_request
from components.agent.llm.cache import AnswerCache
from components.agent.llm.endpoint import (
    HOSTED_URL,
    KEY_VARIABLE,
    Endpoint,
    RejectedError,
    Request,
    UnavailableError,
    check_url,
)
from components.agent.llm.limit import Limit
from components.agent.llm.prompts import Message, Prompts, answer_schema, load_prompts
from components.agent.llm.stop import until_dropped
from components.agent.llm.turn import FILTERED, REFUSED, Turn, read_turn
from components.agent.metrics import LLM_CACHE_HITS, LLM_COST, LLM_LIMIT, LLM_REFUSALS, LLM_TOKENS, name_models
from components.agent.providers import LOGGER, UNOBSERVED, Answer, Observer, Question, Reply, StoppedError
from components.agent.selector import complaint
from components.contracts.artifact import digest_of
from components.contracts.config import AgentConfig
from components.contracts.errors import InputError
from components.runtime.progress import Reporter
from components.runtime.store import Documents

OPENAI = "openai"
REPAIR_TURNS = 2
REPAIRED = "usable after repair turn"
"""How the note of an answer begins that was not usable at once; the number of the turn follows."""
LONGEST_QUOTE = 2000
"""Characters of an unusable answer that are quoted back: a runaway answer must not fill the context."""


@dataclass
class _Bill:
    """What a dialogue has cost, its first request, and the model that the server says it ran."""

    model: str
    request_hash: str
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, turn: Turn) -> None:
        self.prompt_tokens += turn.prompt_tokens
        self.completion_tokens += turn.completion_tokens
        self.model = turn.model or self.model


class ChatProvider:
    """Asks an OpenAI-compatible endpoint; the key is read from ``OPENAI_API_KEY`` and kept in memory only.

    Args:
        config: model, ``base_url``, form of the answers, limits, time-out and concurrency.
        cache: where answers are remembered and requests logged (see ``cache``); ``None`` keeps neither.
        backoff_s: the first wait between tries where the server names none; it doubles each time.

    Raises:
        InputError: no key for the hosted endpoint, a key that cannot be one, a ``base_url`` that is no URL or
            may carry a secret (the configuration is written into every artifact), or a cache that cannot be
            written.
    """

    def __init__(self, config: AgentConfig, *, cache: Documents | Path | None = None, backoff_s: float = 1.0) -> None:
        self._url = config.base_url or HOSTED_URL
        check_url(self._url)
        key = os.environ.get(KEY_VARIABLE, "").strip()
        if not key and config.base_url is None:
            raise InputError(
                "not set in the environment; agent.provider 'openai' needs it or an agent.base_url", at=KEY_VARIABLE
            )
        if not (key.isascii() and key.isprintable()):
            raise InputError("holds characters that no key has, such as line breaks", at=KEY_VARIABLE)
        self._config = config
        self._key = key
        self._cache = AnswerCache(cache, self._url)
        name_models(config.prices)
        self._backoff_s = backoff_s

    def ask(self, questions: Sequence[Question], report: Reporter, observer: Observer = UNOBSERVED) -> list[Reply]:
        return asyncio.run(until_dropped(self._ask(questions, report, observer), observer))

    async def _ask(self, questions: Sequence[Question], report: Reporter, observer: Observer) -> list[Reply]:
        # The memory of answers is read and written in threads: as many as questions may need it at once.
        threads = ThreadPoolExecutor(self._config.concurrency, thread_name_prefix="memory")
        asyncio.get_running_loop().set_default_executor(threads)
        limit = Limit(self._config.concurrency, LLM_LIMIT.labels(self._config.model))
        client = openai.AsyncOpenAI(
            base_url=self._url, api_key=self._key or "none", timeout=self._config.timeout_s, max_retries=0
        )
        with limit:
            async with client:
                return await self._ask_through(self._endpoint(client, limit, observer), questions, report, observer)

    async def _ask_through(
        self, endpoint: Endpoint, questions: Sequence[Question], report: Reporter, observer: Observer
    ) -> list[Reply]:
        session = _Session(self._config, self._cache, endpoint, observer)
        done = 0

        async def answered(question: Question) -> Reply | None:
            nonlocal done
            try:
                reply = await session.reply(question)
            except StoppedError:
                return None  # the others still end what they have sent
            done += 1
            observer.replied(reply)
            report(done, question.name)
            return reply

        replies = await asyncio.gather(*(answered(question) for question in questions))
        LOGGER.info("%d answers from the endpoint, %d from the cache", session.bought, session.found)
        if any(reply is None for reply in replies):
            raise StoppedError
        return [reply for reply in replies if reply]

    def _endpoint(self, client: openai.AsyncOpenAI, limit: Limit, observer: Observer) -> Endpoint:
        async def record(request: Request, latency_s: float, outcome: ChatCompletion | str) -> None:
            turn = outcome if isinstance(outcome, str) else read_turn(outcome, endpoint.redact)
            if isinstance(turn, Turn):  # before anything else: it is paid for
                await asyncio.to_thread(self._cache.keep, request, turn)
            fields = {"source": "endpoint", "latency_s": round(latency_s, 3)}
            await _record(self._cache, self._config, request, turn, **fields)

        async def pause(seconds: float) -> None:
            await _pause(seconds, observer)

        endpoint = Endpoint(client, self._key, self._config.timeout_s, self._backoff_s, limit, record, pause)
        return endpoint


@dataclass
class _Session:
    """One round's dialogues with one endpoint, and what was learnt about the endpoint on the way."""

    config: AgentConfig
    cache: AnswerCache
    endpoint: Endpoint
    observer: Observer
    prompts: Prompts = field(default_factory=load_prompts)
    bought: int = 0
    found: int = 0

    def __post_init__(self) -> None:
        self.gate = asyncio.Semaphore(self.config.concurrency)
        self.purse = Purse(self.config)
        self.structured = self.config.structured_output != "text"
        self.parameters = dict(self.config.parameters)

    async def reply(self, question: Question) -> Reply:
        """Hold the dialogue about one class; never raises for what the endpoint does.

        Raises:
            StoppedError: the observer stopped the round before its end.
        """
        async with self.gate:
            opening = self.prompts.opening(question)
            bill = _Bill(self.config.model, digest_of(self._request(opening, question, structured=self.structured)))
            answer, note = None, ""
            try:
                answer, note = await self._dialogue(question, opening, bill)
            except UnavailableError as error:
                note = self.endpoint.note(error)
            return Reply(
                answer=answer,
                provider=OPENAI,
                note=note,
                model=self.endpoint.redact(bill.model),
                prompt_version=self.prompts.version,
                request_hash=bill.request_hash,
                prompt_tokens=bill.prompt_tokens,
                completion_tokens=bill.completion_tokens,
            )

    async def _dialogue(self, question: Question, opening: list[Message], bill: _Bill) -> tuple[Answer | None, str]:
        messages, problem = opening, ""
        for number in range(1 + REPAIR_TURNS):
            request, turn = await self._turn(messages, question)
            bill.add(turn)
            if number == 0:
                bill.request_hash = digest_of(request)
            problem = turn.problem
            if not problem:
                answer = parse_answer(turn.said)
                problem = answer if isinstance(answer, str) else complaint(answer, question)
                if isinstance(answer, Answer) and not problem:
                    return answer, f"{REPAIRED} {number}" if number else ""
            messages = messages + self.prompts.repair_turn(question, turn.said[:LONGEST_QUOTE], problem)
        return None, f"no usable answer after {REPAIR_TURNS} repair turns: {self.endpoint.note(problem)}"

    async def _turn(self, messages: list[Message], question: Question) -> tuple[Request, Turn]:
        """Return a turn and the request that it answers: from the cache if it is there, else from the endpoint."""
        for structured in self._forms():
            request = self._request(messages, question, structured=structured)
            if turn := await self._remembered(request):
                return request, turn
        self.endpoint.check()
        return await self._adapted(messages, question)

    def _forms(self) -> tuple[bool, ...]:
        """Return the forms, structured or not, in which a question may have been asked before."""
        return (True, False) if self.config.structured_output == "auto" else (self.structured,)

    async def _adapted(self, messages: list[Message], question: Question) -> tuple[Request, Turn]:
        """Send one turn, without what the server rejects: parameters that it names, then the schema (``auto``)."""
        structured = self.structured
        while True:
            request = self._request(messages, question, structured=structured)
            try:
                turn = await self._answered(request)
            except RejectedError as error:
                if named := [name for name in self.config.parameters if name in request and error.names(name)]:
                    self._leave_out(named)
                elif structured and self.config.structured_output == "auto":
                    structured = False
                else:
                    raise UnavailableError(str(error)) from None
                continue
            if self.structured and not structured:
                LOGGER.info("the endpoint rejects response_format; asking in plain text")
                self.structured = False
            return request, turn

    async def _answered(self, request: Request) -> Turn:
        """Return the turn that answers a request, without asking what another process asks at the same time."""
        while True:
            _check(self.observer)
            claim = await asyncio.to_thread(self.cache.claim, request)
            if claim is None:
                await _pause(self.cache.poll_s, self.observer)
            try:
                if turn := await self._remembered(request):
                    return turn
                if claim:
                    return await self._paid(request)
            finally:
                if claim:
                    await asyncio.to_thread(claim.release)

    async def _remembered(self, request: Request) -> Turn | None:
        turn = await asyncio.to_thread(self.cache.find, request)
        if turn:
            self.found += 1
            LLM_CACHE_HITS.labels(self.config.model).inc()
            self.purse.pay(turn.prompt_tokens, turn.completion_tokens)
            await _record(self.cache, self.config, request, turn, source="cache")
        return turn

    async def _paid(self, request: Request) -> Turn:
        if self.cache.failure:
            raise UnavailableError(f"not sent: {self.cache.failure}")
        estimated = estimate_request(request, self.config)
        if limit := self.purse.reserve(estimated):
            raise UnavailableError(f"not sent: this round's {limit} is used up")
        try:
            turn = read_turn(await self.endpoint.send(request), self.endpoint.redact)
        finally:
            self.purse.release(estimated)
        self.purse.pay(turn.prompt_tokens, turn.completion_tokens)
        self.bought += 1
        _count(turn, self.config)
        return turn

    def _request(self, messages: list[Message], question: Question, *, structured: bool) -> Request:
        request: Request = {"model": self.config.model, "messages": messages, **self.parameters}
        if structured:
            request["response_format"] = answer_schema(question)
        return request

    def _leave_out(self, parameters: Sequence[str]) -> None:
        for name in parameters:
            if self.parameters.pop(name, None) is not None:
                LOGGER.warning("the endpoint rejects the parameter %s; asking without it", name)


async def _record(
    cache: AnswerCache, config: AgentConfig, request: Request, outcome: Turn | str, **fields: Any
) -> None:
    if isinstance(outcome, str):
        await asyncio.to_thread(cache.record, request, **fields, problem=outcome)
        return
    tokens = {"prompt_tokens": outcome.prompt_tokens, "completion_tokens": outcome.completion_tokens}
    fields |= tokens
    fields |= {"cost": cost(config, **tokens), "served_by": outcome.model, "fingerprint": outcome.fingerprint}
    await asyncio.to_thread(cache.record, request, **fields, problem=outcome.problem)


def _count(turn: Turn, config: AgentConfig) -> None:
    LLM_TOKENS.labels(config.model, "prompt").inc(turn.prompt_tokens)
    LLM_TOKENS.labels(config.model, "completion").inc(turn.completion_tokens)
    LLM_COST.labels(config.model).inc(cost(config, turn.prompt_tokens, turn.completion_tokens) or 0.0)
    LLM_REFUSALS.labels(config.model).inc(turn.problem in (REFUSED, FILTERED))


def _check(observer: Observer) -> None:
    if observer.stopping():
        raise StoppedError


async def _pause(seconds: float, observer: Observer) -> None:
    """Wait, however long a server asks for, but not beyond the end of the round."""
    until = time.monotonic() + seconds
    _check(observer)
    while (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(left, 0.2))
        _check(observer)
