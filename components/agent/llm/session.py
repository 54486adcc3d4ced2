"""One round's dialogues with one endpoint, and what is learnt about the endpoint on the way."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from components.agent.llm.answers import parse_answer
from components.agent.llm.budget import cost
from components.agent.llm.cache import AnswerCache
from components.agent.llm.endpoint import ATTEMPTS, Endpoint, Request
from components.agent.llm.failures import RejectedError, UnavailableError
from components.agent.llm.ledger import BudgetLedger
from components.agent.llm.prompts import Message, Prompts, answer_schema, load_prompts
from components.agent.llm.turn import FILTERED, REFUSED, Turn
from components.agent.metrics import LLM_CACHE_HITS, LLM_COST, LLM_REFUSALS, LLM_TOKENS
from components.agent.providers import LOGGER, Answer, Observer, Question, Reply, StoppedError
from components.agent.selector import complaint
from components.contracts.artifact import digest_of
from components.contracts.config import AgentConfig
from components.runtime.store.interface import Claim

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


@dataclass
class Session:
    """Asks about classes, as many at once as configured. Whatever comes of one question is that question's reply."""

    config: AgentConfig
    cache: AnswerCache
    endpoint: Endpoint
    ledger: BudgetLedger
    observer: Observer
    prompts: Prompts = field(default_factory=load_prompts)
    bought: int = 0
    found: int = 0

    def __post_init__(self) -> None:
        self._gate = asyncio.Semaphore(self.config.concurrency)
        self._structured = self.config.structured_output != "text"
        self._parameters = dict(self.config.parameters)
        self._schema_works = False
        self._words_tried = False
        self._trying_words = asyncio.Lock()  # one question finds out for all that wait here

    async def reply(self, question: Question) -> Reply:
        """Hold the dialogue about one class; never raises for what the endpoint does.

        Raises:
            StoppedError: the observer stopped the round before its end.
        """
        async with self._gate:
            first = self.prompts.first_turn(question)
            bill = _Bill(self.config.model, digest_of(self._request(first, question, structured=self._structured)))
            answer, note = None, ""
            try:
                answer, note = await self._dialogue(question, first, bill)
            except UnavailableError as error:
                note = self.endpoint.note(error)
            except StoppedError:
                raise
            except Exception as error:  # a defect of ours must not cost the other classes what they have paid for
                LOGGER.exception("what the endpoint sent about one class cannot be read")
                note = f"what the endpoint sent cannot be read ({type(error).__name__})"
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

    async def _dialogue(self, question: Question, first: list[Message], bill: _Bill) -> tuple[Answer | None, str]:
        messages, problem = first, ""
        for number in range(1 + REPAIR_TURNS):
            try:
                request, turn = await self._turn(messages, question)
            except UnavailableError as error:
                raise UnavailableError(f"{problem}; {error}" if problem else str(error)) from None
            bill.add(turn)
            if number == 0:
                bill.request_hash = digest_of(request)
            problem = turn.problem
            if not problem:
                # In a thread: what is nearly JSON may take a third of a second, in which the loop would send nothing.
                answer = await asyncio.to_thread(parse_answer, turn.said, lambda found: complaint(found, question))
                if isinstance(answer, Answer):
                    return answer, f"{REPAIRED} {number}" if number else ""
                problem = answer
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
        return (True, False) if self.config.structured_output == "auto" else (self._structured,)

    async def _adapted(self, messages: list[Message], question: Question) -> tuple[Request, Turn]:
        """Send one turn, without what the server rejects: parameters that it names, then the schema (``auto``)."""
        structured = self._structured
        while True:
            request = self._request(messages, question, structured=structured)
            may_do_without = structured and self.config.structured_output == "auto"
            on_trial = may_do_without and not self._schema_works and not self._words_tried
            try:
                turn = await self._answered(request, on_trial=on_trial)
            except RejectedError as error:
                if named := [name for name in self.config.parameters if name in request and error.names(name)]:
                    self._leave_out(named)
                elif may_do_without:
                    structured = False
                else:
                    raise self.endpoint.rejected(error) from None
            except UnavailableError as error:
                if not (may_do_without and error.server_fault and not self._schema_works):
                    raise
                if found := await self._in_words(messages, question):
                    return found
                if self._structured:  # words were tried, by this question or another, and failed as well
                    self.endpoint.count(error)
                    raise
                structured = False
            else:
                self._learn_form(structured)
                return request, turn

    def _learn_form(self, structured: bool) -> None:
        if structured:
            self._schema_works = True
        elif self._structured:
            LOGGER.info("the endpoint does not take response_format; asking in plain text")
            self._structured = False

    async def _in_words(self, messages: list[Message], question: Question) -> tuple[Request, Turn] | None:
        """Ask once without the schema, over which some servers break down; None if that was done already, or fails."""
        async with self._trying_words:
            if self._words_tried:
                return None
            self._words_tried = True
            request = self._request(messages, question, structured=False)
            try:
                turn = await self._answered(request, attempts=1, on_trial=True)
            except (UnavailableError, RejectedError):
                return None
            self._learn_form(False)
            return request, turn

    async def _answered(self, request: Request, *, attempts: int = ATTEMPTS, on_trial: bool = False) -> Turn:
        """Return the turn that answers a request, without asking what another process asks at the same time."""
        while True:
            check(self.observer)
            claim = await self._claim(request)
            if claim is None:
                await pause(self.cache.poll_s, self.observer)
            try:
                if turn := await self._remembered(request):
                    return turn
                if claim:
                    return await self._bought(request, attempts, on_trial)
            finally:
                if claim:
                    claim.release()  # not in a thread: a cancelled task might never get to wait for one

    async def _claim(self, request: Request) -> Claim | None:
        taking = asyncio.ensure_future(asyncio.to_thread(self.cache.claim, request))
        try:
            return await asyncio.shield(taking)
        except asyncio.CancelledError:
            # The thread goes on all the same. What it claims would be claimed for as long as this process lives.
            if claim := await taking:
                claim.release()
            raise

    async def _remembered(self, request: Request) -> Turn | None:
        turn = await asyncio.to_thread(self.cache.find, request)
        if turn:
            self.found += 1
            LLM_CACHE_HITS.labels(self.config.model).inc()
            self.ledger.remembered(turn.prompt_tokens, turn.completion_tokens)
            await self._record(request, turn, source="cache")
        return turn

    async def _bought(self, request: Request, attempts: int, on_trial: bool) -> Turn:
        if self.cache.failure:
            raise UnavailableError(f"not sent: {self.cache.failure}")
        received = await self.endpoint.send(request, attempts=attempts, on_trial=on_trial)
        turn = received.turn
        self.bought += 1
        _count(turn, self.config)
        await self._record(request, turn, source="endpoint", latency_s=round(received.latency_s, 3))
        return turn

    async def _record(self, request: Request, turn: Turn, **fields: Any) -> None:
        tokens = {"prompt_tokens": turn.prompt_tokens, "completion_tokens": turn.completion_tokens}
        fields |= tokens
        fields |= {"cost": cost(self.config, **tokens), "served_by": turn.model, "fingerprint": turn.fingerprint}
        fields |= {"estimated": True} if turn.estimated else {}
        await asyncio.to_thread(self.cache.record, request, **fields, problem=turn.problem)

    def _request(self, messages: list[Message], question: Question, *, structured: bool) -> Request:
        request: Request = {"model": self.config.model, "messages": messages, **self._parameters}
        if structured:
            request["response_format"] = answer_schema(question)
        return request

    def _leave_out(self, parameters: Sequence[str]) -> None:
        for name in parameters:
            if self._parameters.pop(name, None) is not None:
                LOGGER.warning("the endpoint rejects the parameter %s; asking without it", name)


def _count(turn: Turn, config: AgentConfig) -> None:
    LLM_TOKENS.labels(config.model, "prompt").inc(turn.prompt_tokens)
    LLM_TOKENS.labels(config.model, "completion").inc(turn.completion_tokens)
    LLM_COST.labels(config.model).inc(cost(config, turn.prompt_tokens, turn.completion_tokens) or 0.0)
    LLM_REFUSALS.labels(config.model).inc(turn.problem in (REFUSED, FILTERED))


def check(observer: Observer) -> None:
    """Raise ``StoppedError`` if nothing more may be sent."""
    if observer.stopping():
        raise StoppedError


async def pause(seconds: float, observer: Observer) -> None:
    """Wait, however long a server asks for, but not beyond the end of the round."""
    until = time.monotonic() + seconds
    check(observer)
    while (left := until - time.monotonic()) > 0:
        await asyncio.sleep(min(left, 0.2))
        check(observer)
