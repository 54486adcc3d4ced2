"""The end of a round that its observer drops."""

from __future__ import annotations

import asyncio
from collections.abc import Coroutine
from typing import TypeVar

from components.agent.providers import Observer, StoppedError

LOOK_S = 0.1

T = TypeVar("T")


async def until_dropped(work: Coroutine[None, None, T], observer: Observer) -> T:
    """Return what ``work`` returns, unless the observer drops it before: requests under way are then broken off.

    Raises:
        StoppedError: it was dropped.
    """
    task = asyncio.ensure_future(work)
    while not task.done():
        await asyncio.wait({task}, timeout=LOOK_S)
        if observer.dropped() and not task.done():
            task.cancel()
            await asyncio.wait({task})
            raise StoppedError
    return task.result()
