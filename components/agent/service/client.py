"""The client of the agent's service: hands a round over, waits for it, and writes what comes back.

A service that restarts costs time but no round: a request is the same job however often it is made, and what was
answered is remembered, so every step may be repeated.
"""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

import certifi
import urllib3
from pydantic import BaseModel, ValidationError
from tenacity import Retrying, retry_if_exception_type, stop_after_delay, wait_random_exponential
from urllib3.exceptions import HTTPError

from components.agent.providers import LOGGER
from components.agent.round import Round
from components.agent.service.messages import (
    ENDED,
    ROUNDS,
    TOKEN_VARIABLE,
    Files,
    RoundRequest,
    RoundStatus,
    pack,
    unpack,
)
from components.contracts import constraints
from components.contracts.artifact import staged
from components.contracts.errors import InputError, UnavailableError
from components.runtime.progress import progress

PATIENCE_S = 600.0
"""For how long the service may not answer before the round is given up."""
POLL_S = 1.0
DEADLINE_S = 12 * 3600.0
"""For how long a job may take, however often the service forgets it."""
_PASSING = (408, 425, 429, 502, 503, 504, 507)
_GONE = 404

M = TypeVar("M", bound=BaseModel)


class _PassingError(Exception):
    """The service does not answer now, but may."""


class _GoneError(Exception):
    """The service does not know the job."""


class ServiceClient:
    """Speaks to the service at ``url``; the token comes from ``SKELETONAGENT_AGENT_TOKEN`` and goes nowhere else.

    Raises:
        InputError: no URL, one that may carry a secret, or no token.
    """

    def __init__(
        self, url: str, *, patience_s: float = PATIENCE_S, poll_s: float = POLL_S, deadline_s: float = DEADLINE_S
    ) -> None:
        parts = urlsplit(url)
        if parts.username or parts.password or parts.query:
            raise InputError(f"agent_url: carries a user, password or query; the token belongs into {TOKEN_VARIABLE}")
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise InputError(f"agent_url: found {url!r}, expected http(s)://host:port")
        token = os.environ.get(TOKEN_VARIABLE, "").strip()
        if not token:
            raise InputError(f"not set in the environment; the agent service at {url} asks for it", at=TOKEN_VARIABLE)
        if not (token.isascii() and token.isprintable()):
            raise InputError("holds characters that no token has, such as line breaks", at=TOKEN_VARIABLE)
        self._url = url.rstrip("/")
        self._headers = {"Authorization": f"Bearer {token}"}
        self._patience_s = patience_s
        self._poll_s = poll_s
        self._deadline_s = deadline_s
        self._pool = urllib3.PoolManager(
            timeout=urllib3.Timeout(connect=10.0, read=60.0), retries=False, ca_certs=certifi.where()
        )

    def run_round(self, what: Round, output: Path) -> None:
        """Have the service make the constraints of one round, and write them to ``output``.

        Arguments and errors are those of ``core.run_round``. ``UnavailableError`` too if the service cannot be
        reached, or is not done in time.
        """
        request = RoundRequest(
            stage=what.stage,
            stream=what.stream,  # type: ignore[arg-type]  # pydantic checks it
            round=what.number,
            confusion=pack(what.confusion) if what.confusion else None,
            previous=pack(what.previous) if what.previous else None,
        )
        files = self._insistently(request.model_dump_json().encode())
        with staged(output) as scratch:
            unpack(files, scratch)
            constraints.verify(scratch)

    def _insistently(self, body: bytes) -> Files:
        deadline = time.monotonic() + self._deadline_s
        while True:
            try:
                return self._carry_out(body, deadline)
            except _GoneError:
                LOGGER.warning("%s does not know the job any more, as after a restart; posting it again", self._url)
            time.sleep(self._poll_s)

    def _carry_out(self, body: bytes, deadline: float) -> Files:
        status = self._call("POST", ROUNDS, RoundStatus, body)
        LOGGER.info("job %s at %s", status.id[:12], self._url)
        where = f"{ROUNDS}/{status.id}"

        def later() -> RoundStatus:
            if time.monotonic() > deadline:
                hours = self._deadline_s / 3600
                raise UnavailableError(f"job {status.id[:12]} was not done within {hours:.1f} hours", at=self._url)
            time.sleep(self._poll_s)
            return self._call("GET", where, RoundStatus)

        while status.state == "queued" or (status.state == "running" and not status.total):
            status = later()
        with progress("agent", status.total, LOGGER) as report:
            while status.state not in ENDED:
                status = later()
                report(status.done, status.state)
        if status.state != "done":
            raise InputError(status.error or f"{self._url}: job {status.id[:12]} was cancelled")
        return self._call("GET", f"{where}/result", Files)

    def _call(self, method: str, path: str, kind: type[M], body: bytes | None = None) -> M:
        content = self._patiently(lambda: self._send(method, path, body))
        try:
            return kind.model_validate_json(content)
        except ValidationError:
            raise InputError("does not answer like an agent service; check agent_url", at=self._url) from None

    def _patiently(self, request: Callable[[], bytes]) -> bytes:
        retrying = Retrying(
            retry=retry_if_exception_type(_PassingError),
            wait=wait_random_exponential(0.2, max=5.0),
            stop=stop_after_delay(self._patience_s),
            reraise=True,
        )
        try:
            return retrying(request)
        except _PassingError as error:
            raise UnavailableError(f"the agent service does not answer: {error}", at=self._url) from None

    def _send(self, method: str, path: str, body: bytes | None) -> bytes:
        headers = {**self._headers, "Content-Type": "application/json"} if body else self._headers
        try:
            response = self._pool.request(method, self._url + path, body=body, headers=headers, redirect=False)
        except HTTPError as error:
            raise _PassingError(type(error).__name__) from None
        if response.status in _PASSING:
            raise _PassingError(f"HTTP {response.status}: {_detail(response)}")
        if response.status == _GONE and method == "GET":
            raise _GoneError
        if response.status >= 300:
            raise InputError(f"HTTP {response.status}: {_detail(response)}", at=self._url)
        return response.data


def _detail(response: urllib3.BaseHTTPResponse) -> str:
    """Return what the service says is wrong; what is no service may say anything, so little of it is quoted."""
    try:
        detail = response.json()["detail"]
    except (ValueError, KeyError, TypeError):
        detail = response.reason or "no reason given"
    return " ".join(str(detail).split())[:1000]
