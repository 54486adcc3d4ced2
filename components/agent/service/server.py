"""Runs the service in this process until it is told to end."""

from __future__ import annotations

import os
import signal

import uvicorn

from components.agent.llm.endpoint import HOSTED_URL, KEY_VARIABLE, check_url
from components.agent.providers import LOGGER
from components.agent.service.app import make_app
from components.agent.service.book import Book
from components.agent.service.logs import log_as_json
from components.agent.service.messages import TOKEN_VARIABLE
from components.contracts.errors import InputError

DRAIN_S = 2
"""For how long requests under way may end; then come the jobs, see ``app.PARK_S``."""


def serve(store: str, host: str, port: int, *, endpoints: tuple[str, ...], slots: int, max_bytes: int) -> None:
    """Serve until SIGTERM or SIGINT, which end it within ten seconds; jobs that are not done stay in the store.

    Args:
        store: folder or ``s3://bucket/prefix`` for jobs, results and the memory of answers.
        host, port: where to listen.
        endpoints: LLM endpoints that requests may name; none: the hosted one, if there is a key for it.
        slots: jobs at once.
        max_bytes: the longest body of a request.

    Raises:
        InputError: no token, a wrong endpoint, or a store that cannot be used.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise InputError("not set in the environment; clients show this token", at=TOKEN_VARIABLE)
    if not (token.isascii() and token.isprintable()):
        raise InputError("holds characters that no token has, such as line breaks", at=TOKEN_VARIABLE)
    for url in endpoints:
        check_url(url)
    if not endpoints and os.environ.get(KEY_VARIABLE, "").strip():
        endpoints = (HOSTED_URL,)
    book = Book(store)
    book.check()
    log_as_json()
    LOGGER.info("store %s; LLM endpoints: %s; %d jobs at once", store, ", ".join(endpoints) or "none", slots)
    app = make_app(book, endpoints, token=token, slots=slots, max_bytes=max_bytes)
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=host,
        port=port,
        log_config=None,
        access_log=False,
        server_header=False,
        timeout_graceful_shutdown=DRAIN_S,
    )
    # uvicorn raises the signal that ended it once more; we have done what it asks for.
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: None)
    uvicorn.Server(config).run()
    LOGGER.info("ended")
    # Not by return: Python would wait for threads that still wait for an LLM.
    os._exit(0)
