"""The ``openai`` provider: one structured call per class to any OpenAI-compatible chat endpoint.

Nothing that an endpoint does may cost a class its constraint or end the round: what cannot be answered
becomes a reply without an answer, with the reason.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import openai

from components.agent.llm.cache import AnswerCache
from components.agent.llm.endpoint import HOSTED_URL, Endpoint, Request, check_url, client_of
from components.agent.llm.failures import KEY_VARIABLE
from components.agent.llm.ledger import BudgetLedger
from components.agent.llm.limit import Limit
from components.agent.llm.session import OPENAI as OPENAI
from components.agent.llm.session import REPAIRED as REPAIRED
from components.agent.llm.session import Session, pause
from components.agent.llm.stop import until_dropped
from components.agent.llm.turn import Turn
from components.agent.metrics import LLM_LIMIT, name_models
from components.agent.providers import LOGGER, UNOBSERVED, Observer, Question, Reply, StoppedError
from components.contracts.config import AgentConfig
from components.contracts.errors import InputError
from components.runtime.progress import Reporter
from components.runtime.store.interface import Documents


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
        # asyncio.to_thread uses the loop's default executor, which has few threads; the memory of answers is read and
        # written there, by as many questions at once as are under way. asyncio.run ends the threads with the loop.
        threads = ThreadPoolExecutor(self._config.concurrency, thread_name_prefix="memory")
        asyncio.get_running_loop().set_default_executor(threads)
        ledger = BudgetLedger(self._config)
        with Limit(self._config.concurrency, LLM_LIMIT.labels(self._config.model)) as limit:
            async with client_of(self._url, self._key, self._config.timeout_s) as client:
                endpoint = self._endpoint(client, limit, ledger, observer)
                session = Session(self._config, self._cache, endpoint, ledger, observer)
                return await _replies(session, questions, report, observer)

    def _endpoint(self, client: openai.AsyncOpenAI, limit: Limit, ledger: BudgetLedger, observer: Observer) -> Endpoint:
        async def keep(request: Request, turn: Turn) -> None:
            await asyncio.to_thread(self._cache.keep, request, turn)

        async def failed(request: Request, latency_s: float, problem: str) -> None:
            fields = {"source": "endpoint", "latency_s": round(latency_s, 3), "problem": problem}
            await asyncio.to_thread(self._cache.record, request, **fields)

        async def wait(seconds: float) -> None:
            await pause(seconds, observer)

        return Endpoint(client, self._key, self._config, self._backoff_s, limit, ledger, keep, failed, wait)


async def _replies(
    session: Session, questions: Sequence[Question], report: Reporter, observer: Observer
) -> list[Reply]:
    """Ask all questions side by side and return their replies, in their order."""
    done = 0

    async def answered(question: Question) -> Reply | None:
        nonlocal done
        try:
            reply = await session.reply(question)
        except StoppedError:
            return None  # gather would otherwise end here, while the others still wait for what they have paid for
        done += 1
        observer.replied(reply)
        report(done, question.name)
        return reply

    replies = await asyncio.gather(*(answered(question) for question in questions))
    LOGGER.info("%d answers from the endpoint, %d from the cache", session.bought, session.found)
    if any(reply is None for reply in replies):
        raise StoppedError
    return [reply for reply in replies if reply]
