"""Runs the service in this process until it is told to end."""

from __future__ import annotations

import os
import signal
from dataclasses import replace

import uvicorn

from components.agent.llm.endpoint import HOSTED_URL, KEY_VARIABLE, check_url
from components.agent.providers import LOGGER
from components.agent.service.app import make_app
from components.agent.service.connections import LimitedProtocol
from components.agent.service.intake import Policy
from components.agent.service.jobs import Jobs
from components.agent.service.logs import log_as_json
from components.agent.service.memory import Memory
from components.agent.service.messages import TOKEN_VARIABLE
from components.agent.service.results import Results
from components.contracts.errors import InputError
from components.runtime.store import documents_at, is_remote

DRAIN_S = 2
"""For how long requests under way may end; then come the jobs, see ``app.PARK_S``."""


def serve(store: str, host: str, port: int, *, policy: Policy, slots: int, max_bytes: int) -> None:
    """Serve until SIGTERM or SIGINT, which end it within ten seconds; clients post jobs that were not done again.

    Args:
        store: folder or ``s3://bucket/prefix`` for results and the memory of answers.
        host, port: where to listen.
        policy: what requests may name. Without endpoints: the hosted one, if there is a key for it. Without places
            of artifacts: the store, if it is no folder.
        slots: jobs at once.
        max_bytes: the longest body of a request.

    Raises:
        InputError: no token, a wrong endpoint, or a store that cannot be used.
        UnavailableError, ResourceError: the store fails.
    """
    token = os.environ.get(TOKEN_VARIABLE, "").strip()
    if not token:
        raise InputError("not set in the environment; clients show this token", at=TOKEN_VARIABLE)
    if not (token.isascii() and token.isprintable()):
        raise InputError("holds characters that no token has, such as line breaks", at=TOKEN_VARIABLE)
    for url in policy.endpoints:
        check_url(url)
    if not policy.endpoints and os.environ.get(KEY_VARIABLE, "").strip():
        policy = replace(policy, endpoints=(HOSTED_URL,))
    if not policy.artifacts and is_remote(store):
        policy = replace(policy, artifacts=(store,))
    results = Results(store)
    results.prepare()
    memory = documents_at(f"{results.place}/llm")
    memory.prepare()
    log_as_json()
    LOGGER.info("store %s; LLM endpoints: %s; %d jobs at once", store, ", ".join(policy.endpoints) or "none", slots)
    app = make_app(results, Jobs(results, Memory(memory), slots), policy, token=token, max_bytes=max_bytes)
    config = uvicorn.Config(
        app,  # type: ignore[arg-type]
        host=host,
        port=port,
        http=LimitedProtocol,
        ws="none",
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
