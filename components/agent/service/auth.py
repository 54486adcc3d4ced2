"""What every HTTP request meets first: the bearer token, the limits of its body, its line in the log."""

from __future__ import annotations

import asyncio
import hmac
import time
from collections import Counter
from collections.abc import Awaitable, Callable, MutableMapping
from hashlib import sha256
from typing import Any

from starlette.datastructures import Headers
from starlette.responses import JSONResponse

from components.agent.metrics import HTTP_REQUESTS
from components.agent.providers import LOGGER

Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Message, Receive, Send], Awaitable[None]]

PROTECTED = "/v1"
BODY_S = 30.0
"""For how long a body may take to arrive."""
QUIET_S = 60.0
"""Of refused requests of one kind, one is told in so long."""
_METHODS = frozenset({"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"})
_PATIENCE = 8  # times the limit: as much of a body that is too long is heard out, so that its sender hears our answer


class AuthMiddleware:
    """Wraps the application. Only who bears the token has a body read; one longer than ``max_bytes`` is refused."""

    def __init__(self, app: App, *, token: str, max_bytes: int) -> None:
        self._app = app
        self._token = sha256(token.encode()).digest()
        self._max_bytes = max_bytes
        self._refusals = SparseLog()

    async def __call__(self, scope: Message, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started, status = time.monotonic(), 0

        async def watched(message: Message) -> None:
            nonlocal status
            status = message.get("status", status)
            await send(message)

        try:
            await self._guarded(scope, receive, watched)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            method = scope["method"] if scope["method"] in _METHODS else "other"  # anybody may invent methods
            HTTP_REQUESTS.labels(method, route, str(status)).inc()
            took = 1000 * (time.monotonic() - started)
            if status >= 400:
                self._refusals.tell(f"{method} {route}: {status}")
            elif route.startswith(PROTECTED):
                LOGGER.info("%s %s: %d in %.0f ms", method, route, status, took)

    async def _guarded(self, scope: Message, receive: Receive, send: Send) -> None:
        headers = Headers(scope=scope)
        if not scope["path"].startswith(PROTECTED):
            await self._app(scope, receive, send)
            return
        if not self._admits(headers.get("authorization", "")):
            await _refuse(401, "the bearer token is missing or wrong", {"WWW-Authenticate": "Bearer"}, scope, send)
            return
        try:
            async with asyncio.timeout(BODY_S):
                body = await self._body(headers.get("content-length", ""), receive)
        except TimeoutError:
            await _refuse(408, f"the body did not arrive within {BODY_S:.0f} s", {"Connection": "close"}, scope, send)
            return
        if body is None:
            await _refuse(413, f"the body is longer than {self._max_bytes} bytes", {}, scope, send)
            return
        messages = [{"type": "http.request", "body": body, "more_body": False}]

        async def replay() -> Message:
            return messages.pop() if messages else await receive()

        await self._app(scope, replay, send)

    def _admits(self, authorization: str) -> bool:
        kind, _, token = authorization.partition(" ")
        # Hashes are of one length: neither the token's own nor a matching beginning shows in the time that this takes.
        shown = sha256(token.strip().encode()).digest()
        return hmac.compare_digest(shown, self._token) and kind.lower() == "bearer"

    async def _body(self, announced: str, receive: Receive) -> bytes | None:
        """Return the body; None if it is too long."""
        if announced.isdecimal() and (len(announced) > 15 or int(announced) > _PATIENCE * self._max_bytes):
            return None
        parts: list[bytes] = []
        size, more = 0, True
        while more and size <= _PATIENCE * self._max_bytes:
            message = await receive()
            if message["type"] == "http.disconnect":
                break
            part, more = message.get("body", b""), message.get("more_body", False)
            size += len(part)
            if size <= self._max_bytes:
                parts.append(part)
        return b"".join(parts) if size <= self._max_bytes else None


class SparseLog:
    """Tells what happens too often to be told each time: once in ``QUIET_S`` for each text, and how often it was."""

    def __init__(self) -> None:
        self._last: dict[str, float] = {}
        self._count: Counter[str] = Counter()

    def tell(self, text: str) -> None:
        """Log a text of few possible ones, or count it."""
        now = time.monotonic()
        self._count[text] += 1
        if now - self._last.get(text, -QUIET_S) >= QUIET_S:
            LOGGER.info("%s (%d)", text, self._count[text])
            self._last[text], self._count[text] = now, 0


async def _refuse(status: int, detail: str, headers: dict[str, str], scope: Message, send: Send) -> None:
    async def nothing() -> Message:
        return {"type": "http.disconnect"}

    await JSONResponse({"detail": detail}, status, headers)(scope, nothing, send)
