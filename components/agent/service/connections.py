"""Connections to the service: how many there may be, and how long one may take to say what it wants.

uvicorn waits for the head of a request as long as it takes. Without these limits a few thousand connections that send
half of one use up the descriptors of the process.
"""

from __future__ import annotations

import asyncio
from typing import Any

from uvicorn.protocols.http.h11_impl import H11Protocol

from components.agent.service.auth import SparseLog

HEAD_S = 10.0
"""For how long the head of a request may take, and what is left of a body that nobody reads."""
MOST_CONNECTIONS = 512

_log = SparseLog()
_waiting: dict[LimitedProtocol, None] = {}
"""The connections of this process that have no request under way, oldest first."""


class LimitedProtocol(H11Protocol):
    """uvicorn's protocol with a time limit; where there are too many connections, the oldest idle one gives way."""

    _limit: asyncio.TimerHandle | None = None

    def connection_made(self, transport: Any) -> None:
        if len(self.connections) >= MOST_CONNECTIONS:
            if _waiting:
                next(iter(_waiting)).drop("gave way to others")
            else:
                _log.tell("a connection was refused: too many requests are under way")
                transport.abort()
                # What follows for this connection then finds a protocol that was never begun.
        super().connection_made(transport)
        self._wait()

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        self._judge()

    def on_response_complete(self) -> None:
        super().on_response_complete()
        self._judge()

    def connection_lost(self, exc: Exception | None) -> None:
        self._rest()
        super().connection_lost(exc)

    def drop(self, why: str) -> None:
        """Close the connection."""
        _log.tell(f"a connection without a whole request {why}")
        self._rest()
        self.transport.abort()

    def _judge(self) -> None:
        busy = self.cycle is not None and not self.cycle.response_complete
        if busy:
            self._rest()
        elif self._limit is None and not self.transport.is_closing():
            self._wait()

    def _wait(self) -> None:
        _waiting[self] = None
        self._limit = asyncio.get_running_loop().call_later(HEAD_S, self.drop, f"was closed after {HEAD_S:.0f} s")

    def _rest(self) -> None:
        _waiting.pop(self, None)
        if self._limit is not None:
            self._limit.cancel()
            self._limit = None
