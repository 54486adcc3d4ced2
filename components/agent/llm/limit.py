"""How many requests an endpoint is sent at once: as many as it can bear, which nobody can know beforehand.

It begins with few and lets one more in with every answer, until the endpoint is overloaded for the first time. Then
it halves, and grows by one in as many answers as two full rounds have: additive increase, multiplicative decrease
(Chiu and Jain, "Analysis of the increase and decrease algorithms for congestion avoidance", 1989), with the beginning
that TCP has (Jacobson, "Congestion avoidance and control", 1988).
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from types import TracebackType

from prometheus_client import Gauge

FIRST = 4


class Limit:
    """Lets up to ``most`` requests be under way. While it is used as a context, ``gauge`` shows how many that are."""

    def __init__(self, most: int, gauge: Gauge) -> None:
        self._most = most
        self._gauge = gauge
        self._size = 0.0
        self._falls = 0
        self._under_way = 0
        self._room = asyncio.Condition()

    def __enter__(self) -> Limit:
        self._resize(min(FIRST, self._most))
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        self._resize(0.0)

    @asynccontextmanager
    async def slot(self) -> AsyncIterator[int]:
        """Wait for the right to one request, first come, first served; hand out what ``overloaded`` asks for."""
        async with self._room:
            await self._room.wait_for(lambda: self._under_way < int(self._size))
            self._under_way += 1
        try:
            yield self._falls
        finally:
            self._under_way -= 1
            async with self._room:
                self._room.notify_all()

    def answered(self) -> None:
        """Grow: the endpoint bore a request."""
        self._resize(min(self._size + (0.5 / self._size if self._falls else 1.0), self._most))

    def overloaded(self, slot: int) -> bool:
        """Halve, but once for all requests that were sent before: they say nothing about the limit after that.

        Returns:
            Whether this was the first of them to say so.
        """
        if slot < self._falls:
            return False
        self._falls += 1
        self._resize(max(self._size // 2, 1.0))
        return True

    def _resize(self, size: float) -> None:
        self._gauge.inc(size - self._size)  # the limits of rounds that are made side by side add up
        self._size = size
