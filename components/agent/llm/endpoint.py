"""One OpenAI-compatible chat endpoint: sends a request, again if its failure may pass, and learns what it bears.

What cannot succeed (a wrong key, no quota, a request that the server rejects) is not tried again. ``failures`` tells
which is which.
"""

from __future__ import annotations

import asyncio
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import openai
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from components.agent.llm.body import ACCEPTED, bound, read_body
from components.agent.llm.budget import estimate_request
from components.agent.llm.failures import (
    FAILURES,
    KEY_VARIABLE,
    Failure,
    RejectedError,
    UnavailableError,
    describe,
    is_busy,
    is_final,
    is_server_fault,
    is_time_out,
    may_pass,
    outcome_of,
    retry_after,
    was_refused,
)
from components.agent.llm.ledger import BudgetLedger
from components.agent.llm.limit import Limit
from components.agent.llm.text import masked, one_line, without_key
from components.agent.llm.turn import Turn, read_turn
from components.agent.metrics import LLM_LATENCY, LLM_REQUESTS, LLM_RETRIES
from components.agent.providers import LOGGER
from components.contracts.config import AgentConfig
from components.contracts.errors import InputError

HOSTED_URL = "https://api.openai.com/v1"
ATTEMPTS = 4
LONGEST_NOTE = 400
FAILURES_OF_AN_OUTAGE = 3
"""After so many requests in a row that failed for good, the endpoint counts as down and is left alone."""
SILENCES_OF_AN_OUTAGE = 6
"""Likewise after so many time-outs, one after another, without any sign of life in between."""
REJECTIONS_ALIKE = 3
"""Likewise after so many requests that it rejected for the same reason, none answered in between."""

Request = dict[str, Any]


@dataclass(frozen=True)
class Received:
    """A turn, and the seconds that it took from when it was sent."""

    turn: Turn
    latency_s: float


def client_of(url: str, key: str, timeout_s: float) -> openai.AsyncOpenAI:
    """Return a client that follows no redirect (the key and the answers are the configured server's) and reads no
    more than an answer can have.
    """
    accepted = {"Accept-Encoding": ACCEPTED}
    http = openai.DefaultAsyncHttpxClient(
        follow_redirects=False, timeout=timeout_s, event_hooks={"response": [bound]}, headers=accepted
    )
    return openai.AsyncOpenAI(
        base_url=url,
        api_key=key or "none",
        timeout=timeout_s,
        max_retries=0,
        http_client=http,
        default_headers=accepted,
    )


@dataclass
class Endpoint:
    """Sends requests through ``client``; ``key`` is what must never be quoted.

    ``config.timeout_s`` is that of each try, from when it is sent; until ``limit`` has room for it, it waits as long
    as it takes. ``keep`` is awaited with each answer before anything else is done with it; ``failed`` after each try
    that failed, with the request, its latency in seconds and what went wrong; ``pause`` waits between two tries, and
    for no time before each: it may end them all. ``down`` says why the endpoint is left alone, if it is.
    """

    client: openai.AsyncOpenAI
    key: str
    config: AgentConfig
    backoff_s: float
    limit: Limit
    ledger: BudgetLedger
    keep: Callable[[Request, Turn], Awaitable[None]]
    failed: Callable[[Request, float, str], Awaitable[None]]
    pause: Callable[[float], Awaitable[None]]
    down: str = ""
    _failures: int = 0
    _silences: int = 0
    _rejections: Counter[str] = field(default_factory=Counter)

    async def send(self, request: Request, *, attempts: int = ATTEMPTS, on_trial: bool = False) -> Received:
        """Send a request, again if the failure may pass.

        Args:
            request: the body.
            attempts: how often it is sent at most.
            on_trial: the server's breaking down over it does not count against the endpoint yet; see ``count``.

        Raises:
            RejectedError: status 400 or 422, for the caller to judge.
            UnavailableError: any other failure that stays, the budget is used up, or the endpoint is down.
        """
        try:
            received = await self._send_until_answered(request, attempts)
        except UnavailableError as error:
            if not (on_trial and error.server_fault):
                self.count(error)
            raise
        self._failures = 0
        self._rejections.clear()
        return received

    def check(self) -> None:
        """Raise ``UnavailableError`` if the endpoint is down."""
        if self.down:
            raise UnavailableError(f"not sent: {self.down}")

    def count(self, error: UnavailableError) -> None:
        """Take a failure into account, once: too many in a row are an outage."""
        if error.counted:
            return
        error.counted = True
        self._failures += error.outage
        if error.final or self._failures >= FAILURES_OF_AN_OUTAGE:
            self._give_up(error)

    def rejected(self, error: RejectedError) -> UnavailableError:
        """Take into account that a request was rejected in every form; return what to tell about it."""
        self._rejections[error.kind()] += 1
        reason = UnavailableError(f"{error} ({self.config.base_url or HOSTED_URL})")
        if self._rejections[error.kind()] >= REJECTIONS_ALIKE:
            self._give_up(reason)
        return reason

    def _give_up(self, reason: UnavailableError) -> None:
        if not self.down:
            self.down = self.note(reason)
            LOGGER.warning("the endpoint is left alone for the rest of this round: %s", self.down)

    async def _send_until_answered(self, request: Request, attempts: int) -> Received:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(attempts),
            retry=retry_if_exception(may_pass),
            wait=self._wait,
            sleep=self.pause,
            before_sleep=lambda state: LLM_RETRIES.labels(request["model"]).inc(),
            reraise=True,
        )
        try:
            return await retrying(self._try, request)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            raise RejectedError(error) from None
        except FAILURES as error:
            raise self._unavailable(error, attempts) from None

    def _unavailable(self, error: Failure, attempts: int) -> UnavailableError:
        where = "" if is_time_out(error) else f" ({self.config.base_url or HOSTED_URL})"
        tries = f", {attempts} tries" if may_pass(error) and not isinstance(error, openai.APIStatusError) else ""
        return UnavailableError(
            f"{describe(error)}{tries}{where}",
            final=is_final(error),
            outage=True,
            server_fault=is_server_fault(error),
        )

    async def _try(self, request: Request) -> Received:
        estimated = estimate_request(request, self.config)
        async with self.limit.slot() as slot:
            await self.pause(0.0)
            self.check()
            if limit := self.ledger.reserve(estimated):
                raise UnavailableError(f"not sent: this round's {limit} is used up")
            started = time.monotonic()
            try:
                turn = await self._send_once(request)
            except FAILURES as error:
                latency_s = time.monotonic() - started
                if was_refused(error):
                    self.ledger.settle(estimated)
                await self._observe(request, latency_s, outcome_of(error))
                await self.failed(request, latency_s, self.note(describe(error)))
                self._take_in(error, slot)
                raise
            latency_s = time.monotonic() - started
            await self.keep(request, turn)  # first of all: a process that is killed before this has paid for nothing
            self.ledger.settle(estimated, turn.prompt_tokens, turn.completion_tokens)
            self.limit.answered()
            self._silences = 0
        await self._observe(request, latency_s, "answered")
        return Received(turn, latency_s)

    def _take_in(self, error: Failure, slot: int) -> None:
        """Learn from a failure how much the endpoint bears, and whether it lives."""
        timed_out = is_time_out(error)
        news = (timed_out or is_busy(error)) and self.limit.overloaded(slot)
        if not timed_out:
            self._silences = 0
        elif news:
            self._silences += 1
            if self._silences >= SILENCES_OF_AN_OUTAGE:
                raise UnavailableError(f"no answer in time, {self._silences} times in a row", final=True)

    async def _observe(self, request: Request, latency_s: float, outcome: str) -> None:
        LLM_REQUESTS.labels(request["model"], outcome).inc()
        LLM_LATENCY.labels(request["model"]).observe(latency_s)

    async def _send_once(self, request: Request) -> Turn:
        form = {name: request[name] for name in ("model", "messages")}
        rest = {name: value for name, value in request.items() if name not in form}
        # The client's own time-out restarts with every byte received; this one does not.
        async with asyncio.timeout(self.config.timeout_s):
            # Raw: the client would build its types of whatever came, and cannot of everything.
            response = await self.client.chat.completions.with_raw_response.create(**form, extra_body=rest)
        document = read_body(response.http_response.content)
        return read_turn(document, self.redact, estimate_request(request, self.config))

    def _wait(self, state: RetryCallState) -> float:
        named = retry_after(state.outcome.exception() if state.outcome else None)
        return wait_random_exponential(self.backoff_s, max=30.0)(state) if named is None else named

    def redact(self, text: str) -> str:
        """Remove the key, should a server quote it."""
        return without_key(text, self.key)

    def note(self, reason: object) -> str:
        """Return a reason as one short line without secrets."""
        return one_line(masked(str(reason), self.key), LONGEST_NOTE)


def check_url(text: str) -> None:
    """Raise ``InputError`` for a ``base_url`` that is no URL or may carry a secret: artifacts quote it."""
    try:
        url = urlsplit(text)
        valid = url.scheme in ("http", "https") and url.hostname and url.port != 0
    except ValueError:
        valid = False
    if not valid:
        raise InputError(f"config: agent.base_url: found {text!r}, expected an http(s) URL")
    if url.username or url.password or url.query:
        raise InputError(
            f"config: agent.base_url: carries a user, password or query; the key belongs into {KEY_VARIABLE}"
        )
