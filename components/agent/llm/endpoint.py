"""One OpenAI-compatible chat endpoint: sends a request, and judges what happens to it.

What may pass is tried again, honouring ``Retry-After``; what cannot succeed (a wrong key, no quota, a request
that the server rejects) is not.
"""

from __future__ import annotations

import asyncio
import json
import re
import time
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletion
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from components.agent.llm.limit import Limit
from components.agent.metrics import LLM_LATENCY, LLM_REQUESTS, LLM_RETRIES
from components.agent.providers import LOGGER
from components.contracts.errors import InputError

KEY_VARIABLE = "OPENAI_API_KEY"
HOSTED_URL = "https://api.openai.com/v1"
ATTEMPTS = 4
LONGEST_WAIT_S = 120.0
LONGEST_NOTE = 300
FAILURES_OF_AN_OUTAGE = 3
"""After so many requests in a row that failed for good, the endpoint counts as down and is left alone."""
SILENCES_OF_AN_OUTAGE = 6
"""Likewise after so many time-outs, one after another, without any sign of life in between."""

Request = dict[str, Any]


class UnavailableError(Exception):
    """The request failed for good; ``final`` says that others would fail likewise, ``outage`` that they may."""

    def __init__(self, reason: str, *, final: bool = False, outage: bool = False) -> None:
        super().__init__(reason)
        self.final = final
        self.outage = outage


class RejectedError(Exception):
    """The server takes exception to the request itself (status 400 or 422)."""

    def __init__(self, error: openai.APIStatusError) -> None:
        super().__init__(_describe(error))
        self._parameter = str(error.param or "")

    def names(self, parameter: str) -> bool:
        """Tell whether the server says that it is this parameter of the request that it does not take."""
        if self._parameter:
            return self._parameter == parameter
        return re.search(rf"(?<!\w){re.escape(parameter)}(?!\w)", str(self)) is not None


class _BadBodyError(Exception):
    """A success status with a body that is no chat completion, as proxies and overloaded servers send."""


@dataclass
class Endpoint:
    """Sends requests through ``client``; ``key`` is what must never be quoted.

    ``timeout_s`` is that of each try, from when it is sent; until ``limit`` has room for it, it waits as long as it
    takes. ``record`` is awaited after each try with the request, its latency in seconds, and the completion or what
    went wrong in words; ``pause`` waits between two tries, and for no time before each: it may end them all. ``down``
    says why the endpoint is left alone, if it is.
    """

    client: openai.AsyncOpenAI
    key: str
    timeout_s: float
    backoff_s: float
    limit: Limit
    record: Callable[[Request, float, ChatCompletion | str], Awaitable[None]]
    pause: Callable[[float], Awaitable[None]]
    down: str = ""
    _failures: int = 0
    _silences: int = 0

    async def send(self, request: Request) -> ChatCompletion:
        """Send a request, again if the failure may pass.

        Raises:
            RejectedError: status 400 or 422, for the caller to judge.
            UnavailableError: any other failure that stays, or the endpoint is down.
        """
        try:
            completion = await self._send_until_answered(request)
        except UnavailableError as error:
            self._failures += error.outage
            if error.final or self._failures >= FAILURES_OF_AN_OUTAGE:
                self._give_up(error)
            raise
        self._failures = 0
        return completion

    def check(self) -> None:
        """Raise ``UnavailableError`` if the endpoint is down."""
        if self.down:
            raise UnavailableError(f"not sent: {self.down}")

    def _give_up(self, reason: UnavailableError) -> None:
        if not self.down:
            self.down = self.note(reason)
            LOGGER.warning("the endpoint is left alone for the rest of this round: %s", self.down)

    async def _send_until_answered(self, request: Request) -> ChatCompletion:
        retrying = AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS),
            retry=retry_if_exception(_may_pass),
            wait=self._wait,
            sleep=self.pause,
            before_sleep=lambda state: LLM_RETRIES.labels(request["model"]).inc(),
            reraise=True,
        )
        try:
            return await retrying(self._try, request)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            raise RejectedError(error) from None
        except openai.APIStatusError as error:
            raise UnavailableError(_describe(error), final=_is_final(error), outage=True) from None
        except (openai.APIError, _BadBodyError, TimeoutError) as error:
            raise UnavailableError(f"{_describe(error)}, {ATTEMPTS} tries", outage=True) from None

    async def _try(self, request: Request) -> ChatCompletion:
        async with self.limit.slot() as slot:
            await self.pause(0.0)
            self.check()
            started = time.monotonic()
            try:
                completion = await self._send_once(request)
            except (openai.APIError, _BadBodyError, TimeoutError) as error:
                await self._count(request, time.monotonic() - started, _outcome(error), self.note(_describe(error)))
                self._take_in(error, slot)
                raise
            latency_s = time.monotonic() - started
            self.limit.answered()
            self._silences = 0
        await self._count(request, latency_s, "answered", completion)
        return completion

    def _take_in(self, error: Exception, slot: int) -> None:
        """Learn from a failure how much the endpoint bears, and whether it lives."""
        timed_out = isinstance(error, openai.APITimeoutError | TimeoutError)
        busy = isinstance(error, openai.APIStatusError) and error.status_code in (429, 503) and not _is_final(error)
        news = (timed_out or busy) and self.limit.overloaded(slot)
        if not timed_out:
            self._silences = 0
        elif news:
            self._silences += 1
            if self._silences >= SILENCES_OF_AN_OUTAGE:
                raise UnavailableError(f"no answer in time, {self._silences} times in a row", final=True)

    async def _count(self, request: Request, latency_s: float, outcome: str, came: ChatCompletion | str) -> None:
        LLM_REQUESTS.labels(request["model"], outcome).inc()
        LLM_LATENCY.labels(request["model"]).observe(latency_s)
        await self.record(request, latency_s, came)

    async def _send_once(self, request: Request) -> ChatCompletion:
        form = {name: request[name] for name in ("model", "messages")}
        rest = {name: value for name, value in request.items() if name not in form}
        try:
            # The client's own time-out restarts with every byte received; this one does not.
            async with asyncio.timeout(self.timeout_s):
                completion = await self.client.chat.completions.create(**form, extra_body=rest)
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise _BadBodyError("the body is not JSON") from None
        if not isinstance(completion, ChatCompletion):
            raise _BadBodyError("the body is not JSON")
        return completion

    def _wait(self, state: RetryCallState) -> float:
        named = _retry_after(state.outcome.exception() if state.outcome else None)
        return wait_random_exponential(self.backoff_s, max=30.0)(state) if named is None else named

    def redact(self, text: str) -> str:
        """Remove the key, should a server quote it."""
        return text.replace(self.key, "***") if self.key else text

    def note(self, reason: object) -> str:
        """Return a reason as one short line without the key."""
        return " ".join(self.redact(str(reason)).split())[:LONGEST_NOTE]


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


def _may_pass(error: BaseException | None) -> bool:
    """Tell whether the same request may succeed later."""
    if isinstance(error, openai.APIStatusError):
        return not _is_final(error) and (error.status_code in (408, 409, 429) or error.status_code >= 500)
    return isinstance(error, openai.APIConnectionError | _BadBodyError | TimeoutError)


def _is_final(error: openai.APIStatusError) -> bool:
    """Tell whether every other request would fail likewise. A 403 may be about one prompt (moderation)."""
    if error.code == "insufficient_quota" or error.status_code in (401, 402, 404, 405):
        return True
    return (_retry_after(error) or 0) > LONGEST_WAIT_S


def _retry_after(error: BaseException | None) -> float | None:
    """Return the seconds that the server asks to wait, given as a number or as a date; ``None`` if it does not."""
    if not isinstance(error, openai.APIStatusError):
        return None
    value = error.response.headers.get("retry-after", "")
    if value.replace(".", "", 1).isdecimal():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
    except ValueError:
        return None
    until = until if until.tzinfo else until.replace(tzinfo=UTC)
    return max((until - datetime.now(UTC)).total_seconds(), 0.0)


def _outcome(error: BaseException) -> str:
    """Name a failure for the metrics, see ``LLM_REQUESTS``."""
    if isinstance(error, openai.APIStatusError):
        return f"http_{error.status_code}"
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return "timeout"
    return "connection" if isinstance(error, openai.APIConnectionError) else "body"


def _describe(error: BaseException) -> str:
    """Put a failure into a few words; what the server says may still quote the key (see ``_redact``)."""
    if isinstance(error, openai.APIStatusError):
        # Servers quote parts of the key when they reject it, so their words stay out.
        if error.status_code in (401, 403):
            rejected = f"{KEY_VARIABLE} is not accepted" if error.status_code == 401 else "access denied"
            return f"HTTP {error.status_code}: {rejected}"
        if error.code == "insufficient_quota":
            return f"HTTP {error.status_code}: the quota is used up"
        said = error.body.get("message") if isinstance(error.body, dict) else None
        return f"HTTP {error.status_code}: {said or error.message}"
    if isinstance(error, openai.APITimeoutError | TimeoutError):
        return "no answer in time"
    if isinstance(error, openai.APIConnectionError):
        return "no connection to the endpoint"
    return str(error) or type(error).__name__
