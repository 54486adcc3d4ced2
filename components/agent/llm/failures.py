"""What went wrong with a request: whether it may pass, whether it is the end of all others, and in which words."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import parsedate_to_datetime
from typing import Any

import openai

from components.agent.llm.body import BadBodyError, TooLongError
from components.agent.llm.text import one_line

KEY_VARIABLE = "OPENAI_API_KEY"
LONGEST_WAIT_S = 120.0
LONGEST_WORDS = 200
"""Characters of a server's own words that are quoted."""
_MESSAGES = ("message", "detail", "error", "msg", "reason", "title", "description", "errors")
_REFUSED_UNSEEN = {503}
"""Besides 4xx: statuses by which a server says that it has not even begun."""

Failure = openai.APIError | BadBodyError | TimeoutError
FAILURES = (openai.APIError, BadBodyError, TimeoutError)


class UnavailableError(Exception):
    """The request failed for good.

    ``final``: others would fail likewise; ``outage``: they may; ``server_fault``: the server broke down over this one.
    ``counted``: it has been taken into account already.
    """

    def __init__(self, reason: str, *, final: bool = False, outage: bool = False, server_fault: bool = False) -> None:
        super().__init__(reason)
        self.final = final
        self.outage = outage
        self.server_fault = server_fault
        self.counted = False


class RejectedError(Exception):
    """The server takes exception to the request itself (status 400 or 422)."""

    def __init__(self, error: openai.APIStatusError) -> None:
        super().__init__(describe(error))
        self._parameter = error.param if isinstance(error.param, str) else ""

    def names(self, parameter: str) -> bool:
        """Tell whether the server says that it is this parameter of the request that it does not take."""
        if self._parameter:
            return self._parameter == parameter
        return re.search(rf"(?<!\w){re.escape(parameter)}(?!\w)", str(self)) is not None

    def kind(self) -> str:
        """Return what is alike in rejections of different requests: the words without numbers."""
        return re.sub(r"[0-9a-f-]{8,}|\d+", "#", str(self))


def may_pass(error: BaseException | None) -> bool:
    """Tell whether the same request may succeed later."""
    if isinstance(error, openai.APIStatusError):
        return not is_final(error) and (error.status_code in (408, 409, 429) or error.status_code >= 500)
    return isinstance(error, openai.APIConnectionError | BadBodyError | TimeoutError) and not isinstance(
        error, TooLongError
    )


def is_final(error: BaseException) -> bool:
    """Tell whether every other request would fail likewise. A 403 may be about one prompt (moderation)."""
    if not isinstance(error, openai.APIStatusError):
        return False
    if error.code == "insufficient_quota" or error.status_code in (401, 402, 404, 405) or error.status_code < 400:
        return True
    return (retry_after(error) or 0) > LONGEST_WAIT_S


def is_server_fault(error: BaseException) -> bool:
    """Tell whether the server broke down over a request: status 5xx, or it hung up."""
    if is_final(error) or is_time_out(error):
        return False
    if isinstance(error, openai.APIStatusError):
        return error.status_code >= 500
    return isinstance(error, openai.APIConnectionError)


def is_time_out(error: BaseException) -> bool:
    """Tell whether the server was silent for too long."""
    return isinstance(error, openai.APITimeoutError | TimeoutError)


def is_busy(error: BaseException) -> bool:
    """Tell whether the server bears no more at the moment."""
    return isinstance(error, openai.APIStatusError) and error.status_code in (429, 503) and not is_final(error)


def was_refused(error: BaseException) -> bool:
    """Tell whether the server has certainly not worked on the request, so that nobody can charge for it."""
    if not isinstance(error, openai.APIStatusError):
        return False
    return (error.status_code < 500 and error.status_code != 408) or error.status_code in _REFUSED_UNSEEN


def retry_after(error: BaseException | None) -> float | None:
    """Return the seconds that the server asks to wait, given as a number or as a date; ``None`` if it does not."""
    if not isinstance(error, openai.APIStatusError):
        return None
    value = error.response.headers.get("retry-after", "")[:100]
    if value.replace(".", "", 1).isdecimal():
        return float(value)
    try:
        until = parsedate_to_datetime(value)
        until = until if until.tzinfo else until.replace(tzinfo=UTC)
        return max((until - datetime.now(UTC)).total_seconds(), 0.0)
    except (ValueError, TypeError, OverflowError, IndexError):
        return None


def outcome_of(error: BaseException) -> str:
    """Name a failure for the metrics, see ``LLM_REQUESTS``."""
    if isinstance(error, openai.APIStatusError):
        return f"http_{error.status_code}"
    if is_time_out(error):
        return "timeout"
    return "connection" if isinstance(error, openai.APIConnectionError) else "body"


def describe(error: BaseException) -> str:
    """Put a failure into a few words, the server's own among them; they may quote the key (see ``text.masked``)."""
    if isinstance(error, openai.APIStatusError):
        return ": ".join(part for part in (f"HTTP {error.status_code}", *_meanings(error)) if part)
    if is_time_out(error):
        return "no answer in time"
    if isinstance(error, openai.APIConnectionError):
        reason = one_line(str(error.__cause__ or ""), LONGEST_WORDS)
        return f"no connection to the endpoint{f': {reason}' if reason else ''}"
    return str(error) or type(error).__name__


def _meanings(error: openai.APIStatusError) -> tuple[str, ...]:
    said = words_of(error.body)
    if error.status_code == 401:
        return f"{KEY_VARIABLE} is not accepted", said
    if error.status_code == 403:
        return "access denied", said
    if error.code == "insufficient_quota":
        return "the quota is used up", said
    if error.status_code < 400:
        target = one_line(error.response.headers.get("location", ""), LONGEST_WORDS)
        return (f"a redirect to {target or 'nowhere'}, which is not followed; agent.base_url must name the endpoint",)
    return (said,)


def words_of(body: Any, depth: int = 0) -> str:
    """Return a server's own words out of the body of an error, in one line; empty if it says nothing."""
    if isinstance(body, str):
        return one_line(re.sub(r"<[^<>]{0,500}>", " ", body[: 100 * LONGEST_WORDS]), LONGEST_WORDS)
    if depth == 4:
        return ""
    if isinstance(body, list):
        parts = [words_of(entry, depth + 1) for entry in body[:3]]
        return "; ".join(part for part in parts if part)[:LONGEST_WORDS]
    if isinstance(body, dict):
        for field in _MESSAGES:
            if words := words_of(body.get(field), depth + 1):
                return words
    return ""
