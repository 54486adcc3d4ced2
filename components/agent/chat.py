"""The ``openai`` provider: one structured call per class to any OpenAI-compatible chat endpoint.

Nothing that an endpoint does may cost a class its constraint or end the round: what cannot be answered
becomes a reply without an answer, with the reason. What may pass is tried again, honouring ``Retry-After``;
what cannot succeed (a wrong key, no quota, a request that the server rejects) is not.
"""

from __future__ import annotations

import asyncio
import json
import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any
from urllib.parse import urlsplit

import openai
from openai.types.chat import ChatCompletion
from tenacity import AsyncRetrying, RetryCallState, retry_if_exception, stop_after_attempt, wait_random_exponential

from components.agent.answers import parse_answer
from components.agent.prompts import Message, Prompts, answer_schema, load_prompts
from components.agent.providers import LOGGER, Answer, Question, Reply
from components.agent.selector import complaint
from components.contracts.artifact import digest_of
from components.contracts.config import AgentConfig
from components.contracts.errors import InputError
from components.contracts.skeleton import load_layout
from components.runtime.progress import Reporter

OPENAI = "openai"
KEY_VARIABLE = "OPENAI_API_KEY"
HOSTED_URL = "https://api.openai.com/v1"
ATTEMPTS = 4
REPAIR_TURNS = 2
LONGEST_WAIT_S = 120.0
LONGEST_QUOTE = 2000
"""Characters of an unusable answer that are quoted back: a runaway answer must not fill the context."""

LONGEST_NOTE = 300

FAILURES_OF_AN_OUTAGE = 3
"""After so many requests in a row that failed for good, the endpoint counts as down and is left alone."""


class _BadBodyError(Exception):
    """A success status with a body that is no chat completion, as proxies and overloaded servers send."""


class _UnavailableError(Exception):
    """The request failed for good; ``final`` says that others would fail likewise."""

    def __init__(self, reason: str, *, final: bool = False, outage: bool = False) -> None:
        super().__init__(reason)
        self.final = final
        self.outage = outage


@dataclass
class _Cost:
    """Tokens of all turns of a dialogue, and the model that the server says it ran."""

    model: str
    prompt_tokens: int = 0
    completion_tokens: int = 0

    def add(self, completion: ChatCompletion) -> None:
        self.prompt_tokens += _tokens(completion, "prompt_tokens")
        self.completion_tokens += _tokens(completion, "completion_tokens")
        if isinstance(completion.model, str) and completion.model:
            self.model = completion.model[:200]


class ChatProvider:
    """Asks an OpenAI-compatible endpoint; the key is read from ``OPENAI_API_KEY`` and kept in memory only.

    Args:
        config: model, ``base_url``, time-out and concurrency.
        backoff_s: the first wait between tries where the server names none; it doubles each time.

    Raises:
        InputError: no key for the hosted endpoint, a key that cannot be one, or a ``base_url`` that is no URL or
            may carry a secret (the configuration is written into every artifact).
    """

    def __init__(self, config: AgentConfig, *, backoff_s: float = 1.0) -> None:
        _check_url(config.base_url or HOSTED_URL)
        key = os.environ.get(KEY_VARIABLE, "").strip()
        if not key and config.base_url is None:
            raise InputError(
                f"{KEY_VARIABLE}: not set in the environment; agent.provider 'openai' needs it or an agent.base_url"
            )
        if not (key.isascii() and key.isprintable()):
            raise InputError(f"{KEY_VARIABLE}: holds characters that no key has, such as line breaks")
        self._config = config
        self._key = key
        self._backoff_s = backoff_s

    def ask(self, questions: Sequence[Question], report: Reporter) -> list[Reply]:
        return asyncio.run(self._ask(questions, report))

    async def _ask(self, questions: Sequence[Question], report: Reporter) -> list[Reply]:
        async with openai.AsyncOpenAI(
            base_url=self._config.base_url or HOSTED_URL,
            api_key=self._key or "none",
            timeout=self._config.timeout_s,
            max_retries=0,
        ) as client:
            session = _Session(client, self._config, self._key, self._backoff_s)
            done = 0

            async def answered(question: Question) -> Reply:
                nonlocal done
                reply = await session.reply(question)
                done += 1
                report(done, question.name)
                return reply

            return list(await asyncio.gather(*(answered(question) for question in questions)))


@dataclass
class _Session:
    """One round's dialogues with one endpoint, and what was learnt about the endpoint on the way."""

    client: openai.AsyncOpenAI
    config: AgentConfig
    key: str
    backoff_s: float
    prompts: Prompts = field(default_factory=load_prompts)
    structured: bool = True
    down: str = ""
    failures: int = 0

    def __post_init__(self) -> None:
        self.gate = asyncio.Semaphore(self.config.concurrency)

    async def reply(self, question: Question) -> Reply:
        """Hold the dialogue about one class; never raises for what the endpoint does."""
        async with self.gate:
            messages = self.prompts.opening(question)
            cost = _Cost(model=self.config.model)
            answer, note = None, ""
            try:
                answer, note = await self._dialogue(question, messages, cost)
            except _UnavailableError as error:
                note = self._note(error)
            return Reply(
                answer=answer,
                provider=OPENAI,
                note=note,
                model=self._redact(cost.model),
                prompt_version=self.prompts.version,
                request_hash=digest_of(self._request(messages, question)),
                prompt_tokens=cost.prompt_tokens,
                completion_tokens=cost.completion_tokens,
            )

    async def _dialogue(self, question: Question, opening: list[Message], cost: _Cost) -> tuple[Answer | None, str]:
        messages, problem = list(opening), ""
        for _ in range(1 + REPAIR_TURNS):
            completion = await self._complete(messages, question)
            cost.add(completion)
            said, problem = _read(completion)
            said = self._redact(said)
            if not problem:
                answer = parse_answer(said)
                problem = answer if isinstance(answer, str) else complaint(answer, load_layout(question.layout))
                if isinstance(answer, Answer) and not problem:
                    return answer, ""
            messages += self.prompts.repair_turn(question, said[:LONGEST_QUOTE], problem)
        return None, f"no usable answer after {REPAIR_TURNS} repair turns: {self._note(problem)}"

    async def _complete(self, messages: list[Message], question: Question) -> ChatCompletion:
        """Send one turn; a server that rejects structured output is asked in plain text from then on."""
        if self.down:
            raise _UnavailableError(f"not sent: {self.down}")
        try:
            completion = await self._structured_or_plain(messages, question)
        except _UnavailableError as error:
            self.failures += error.outage
            if error.final or self.failures >= FAILURES_OF_AN_OUTAGE:
                self._give_up(error)
            raise
        self.failures = 0
        return completion

    async def _structured_or_plain(self, messages: list[Message], question: Question) -> ChatCompletion:
        try:
            return await self._send(self._request(messages, question))
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            if not self.structured:
                raise _UnavailableError(_describe(error)) from None
        plain = self._request(messages, question, structured=False)
        try:
            completion = await self._send(plain)
        except (openai.BadRequestError, openai.UnprocessableEntityError) as error:
            raise _UnavailableError(_describe(error)) from None
        if self.structured:
            LOGGER.info("the endpoint rejects response_format; asking in plain text")
        self.structured = False
        return completion

    def _request(
        self, messages: list[Message], question: Question, *, structured: bool | None = None
    ) -> dict[str, Any]:
        request: dict[str, Any] = {"model": self.config.model, "messages": messages}
        if self.structured if structured is None else structured:
            request["response_format"] = answer_schema(question)
        return request

    async def _send(self, request: dict[str, Any]) -> ChatCompletion:
        """Send a request, again if the failure may pass; status 400 and 422 are the caller's to judge."""
        retrying = AsyncRetrying(
            stop=stop_after_attempt(ATTEMPTS), retry=retry_if_exception(_may_pass), wait=self._wait, reraise=True
        )
        try:
            return await retrying(self._send_once, request)
        except (openai.BadRequestError, openai.UnprocessableEntityError):
            raise
        except openai.APIStatusError as error:
            raise _UnavailableError(_describe(error), final=_is_final(error), outage=True) from None
        except (openai.APIError, _BadBodyError, TimeoutError) as error:
            raise _UnavailableError(f"{_describe(error)}, {ATTEMPTS} tries", outage=True) from None

    async def _send_once(self, request: dict[str, Any]) -> ChatCompletion:
        try:
            # The client's own time-out restarts with every byte received; this one does not.
            async with asyncio.timeout(self.config.timeout_s):
                completion = await self.client.chat.completions.create(**request)
        except (json.JSONDecodeError, UnicodeDecodeError):
            raise _BadBodyError("the body is not JSON") from None
        if not isinstance(completion, ChatCompletion):
            raise _BadBodyError("the body is not JSON")
        return completion

    def _wait(self, state: RetryCallState) -> float:
        named = _retry_after(state.outcome.exception() if state.outcome else None)
        return wait_random_exponential(self.backoff_s, max=30.0)(state) if named is None else named

    def _give_up(self, reason: _UnavailableError) -> None:
        if not self.down:
            self.down = self._note(reason)
            LOGGER.warning("the endpoint is left alone for the rest of this round: %s", self.down)

    def _redact(self, text: str) -> str:
        """Remove the key, should a server quote it."""
        return text.replace(self.key, "***") if self.key else text

    def _note(self, reason: object) -> str:
        return " ".join(self._redact(str(reason)).split())[:LONGEST_NOTE]


def _check_url(text: str) -> None:
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


def _read(completion: ChatCompletion) -> tuple[str, str]:
    """Return what the model said, and what is wrong with the turn itself (empty if nothing).

    The client does not validate what it receives: any field may be absent or of any type.
    """
    choices = completion.choices if isinstance(completion.choices, list) else []
    choice = choices[0] if choices else None
    message = getattr(choice, "message", None)
    if message is None:
        return "", "the server returned no choice"
    content = getattr(message, "content", None)
    said = content if isinstance(content, str) else ""
    finish = getattr(choice, "finish_reason", None)
    if refusal := getattr(message, "refusal", None):
        return said or str(refusal), "the model refused"
    if finish == "content_filter":
        return said, "the content filter stopped the answer"
    if finish == "length":
        return said, "the answer was cut off (finish_reason length)"
    return said, "" if said.strip() else "the answer is empty"


def _tokens(completion: ChatCompletion, name: str) -> int:
    count = getattr(completion.usage, name, 0)
    return count if isinstance(count, int) and count > 0 else 0


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
