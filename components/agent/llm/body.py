"""The body of a response: read up to a limit, whatever it unpacks to, and then as JSON, whatever that holds."""

from __future__ import annotations

import json
import zlib
from collections.abc import AsyncIterator
from typing import Any

import httpx2

LONGEST_BODY = 2_000_000
"""Bytes after unpacking; an answer has some thousand."""
ACCEPTED = "gzip, deflate"
_LONGEST_NUMBER = 18
"""Digits; Python refuses to read numbers of several thousand."""


class BadBodyError(Exception):
    """A body that is no chat completion, as proxies and overloaded servers send it."""


class TooLongError(BadBodyError):
    """A body that does not end: asking again would bring another one."""


async def bound(response: httpx2.Response) -> None:
    """Have a response end where its body gets too long; an event hook of the client, called before it is read.

    The client would unpack a compressed body whole: 0.3 MB may hold 300 MB.
    """
    coding = response.headers.pop("content-encoding", "identity").strip().lower()
    if coding not in ("identity", "", "gzip", "x-gzip", "deflate"):
        raise BadBodyError(f"the body is encoded as {coding[:40]!r}, which was not asked for")
    assert isinstance(response.stream, httpx2.AsyncByteStream)
    response.stream = _Bounded(response.stream, packed=coding not in ("identity", ""))


class _Bounded(httpx2.AsyncByteStream):
    """The bytes of a stream, unpacked, up to the limit."""

    def __init__(self, stream: httpx2.AsyncByteStream, *, packed: bool) -> None:
        self._stream = stream
        self._unpacking = zlib.decompressobj(zlib.MAX_WBITS | 32) if packed else None  # 32: gzip or zlib

    async def __aiter__(self) -> AsyncIterator[bytes]:
        left = LONGEST_BODY
        async for chunk in self._stream:
            plain = self._unpacked(chunk, left + 1)
            left -= len(plain)
            if left < 0:
                raise TooLongError(f"the body is longer than {LONGEST_BODY // 10**6} MB")
            yield plain

    def _unpacked(self, chunk: bytes, longest: int) -> bytes:
        if self._unpacking is None:
            return chunk
        try:
            return self._unpacking.decompress(chunk, longest)
        except zlib.error:
            raise BadBodyError("the body is not packed as it says") from None

    async def aclose(self) -> None:
        await self._stream.aclose()


def read_body(content: bytes) -> dict[str, Any]:
    """Return the JSON object of a body; the events of a stream that nobody asked for are put together.

    Raises:
        BadBodyError: it is none.
    """
    text = content.decode("utf-8-sig", errors="replace").lstrip()
    document = _events(text) if text.startswith(("data:", "event:")) else _load(text)
    if not isinstance(document, dict):
        raise BadBodyError("the body is no JSON object")
    return document


def _load(text: str) -> Any:
    try:
        return json.loads(text, parse_int=_number)
    except (ValueError, RecursionError):
        raise BadBodyError("the body is not JSON") from None


def _number(digits: str) -> int | float:
    return int(digits) if len(digits) <= _LONGEST_NUMBER else float(digits)


def _events(text: str) -> dict[str, Any]:
    """Put the chunks of server-sent events together as one completion."""
    whole: dict[str, Any] = {}
    message: dict[str, Any] = {}
    choice: dict[str, Any] = {"message": message}
    for line in text.splitlines():
        payload = line.removeprefix("data:").strip()
        if payload == line.strip() or payload in ("", "[DONE]"):
            continue
        chunk = _load(payload)
        if not isinstance(chunk, dict):
            continue
        whole |= {name: value for name, value in chunk.items() if value is not None and name != "choices"}
        choices = chunk.get("choices")
        for part in choices[:1] if isinstance(choices, list) else ():
            if not isinstance(part, dict):
                continue
            choice["finish_reason"] = part.get("finish_reason") or choice.get("finish_reason")
            delta = part.get("delta")
            for name, value in delta.items() if isinstance(delta, dict) else ():
                if isinstance(value, str):
                    message[name] = message.get(name, "") + value
    return {**whole, "choices": [choice]}
