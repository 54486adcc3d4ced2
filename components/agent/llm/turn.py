"""One turn of a dialogue: what a response says, reduced to what the agent needs and may keep."""

from __future__ import annotations

import math
from collections.abc import Callable
from pathlib import PurePath
from typing import Any

from pydantic import BaseModel, ConfigDict

from components.agent.llm.body import BadBodyError
from components.agent.llm.failures import words_of
from components.agent.llm.places import answer_in, choices_of, message_of, text_of
from components.agent.llm.text import storable
from components.contracts.plan import Estimate

LONGEST_NAME = 200
LONGEST_ANSWER = 20_000
"""Characters that are kept of an answer, its thinking left out."""
MOST_TOKENS = 10**8
"""No request has so many; a larger count is a fault of the server's."""
REFUSED = "the model refused"
FILTERED = "the content filter stopped the answer"

_COUNTS = {
    "prompt_tokens": (("usage", "prompt_tokens"), ("usage", "input_tokens"), ("prompt_eval_count",)),
    "completion_tokens": (("usage", "completion_tokens"), ("usage", "output_tokens"), ("eval_count",)),
}
"""Where servers say what was charged: OpenAI's, Anthropic's and the Responses API's, Ollama's own."""


class Turn(BaseModel):
    """``said``: the text; ``problem``: what is wrong with the turn itself, empty if nothing; and its cost.

    ``model`` and ``fingerprint`` are what the server says it ran; ``estimated``: it did not say what was charged.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    said: str
    problem: str = ""
    model: str = ""
    fingerprint: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    estimated: bool = False


def read_turn(document: dict[str, Any], redact: Callable[[str], str], estimate: Estimate) -> Turn:
    """Read a response: any field may be absent or of any type.

    Args:
        document: as it came.
        redact: removes what must not be kept from a text.
        estimate: what the request should cost; it stands where the server does not say.

    Raises:
        BadBodyError: it is no completion but an error, which servers also send with status 200.
    """
    said, problem = _read(document)
    if not said and document.get("error") and not choices_of(document):
        raise BadBodyError(f"the body is an error: {words_of(document['error'])}")
    counts = {name: _count(document, name) for name in _COUNTS}
    unknown = not any(counts.values())
    return Turn(
        said=storable(redact(said), LONGEST_ANSWER),
        problem=storable(redact(problem), LONGEST_NAME),
        model=_name(document, "model", redact),
        fingerprint=_name(document, "system_fingerprint", redact),
        prompt_tokens=estimate.prompt_tokens if unknown else counts["prompt_tokens"],
        completion_tokens=estimate.completion_tokens if unknown else counts["completion_tokens"],
        estimated=unknown,
    )


def _read(document: dict[str, Any]) -> tuple[str, str]:
    said, elsewhere = answer_in(document)
    choices = choices_of(document)
    choice = choices[0] if choices else {}
    if not said and not choice.get("message") and not elsewhere:
        return "", "the server returned no choice"
    finish = choice.get("finish_reason")
    if refusal := _refusal(message_of(choice)):
        return said or refusal, REFUSED
    if finish == "content_filter":
        return said, FILTERED
    if finish == "length" and not said.endswith("}"):  # an object may end where the limit is
        return said, "the answer was cut off (finish_reason length)"
    if said:
        return said, ""
    return "", f"the answer is empty, there is text in {elsewhere} only" if elsewhere else "the answer is empty"


def _refusal(message: dict[str, Any]) -> str:
    content = message.get("content")
    parts = [part for part in content if isinstance(part, dict)] if isinstance(content, list) else []
    for refusal in (message.get("refusal"), *(part.get("refusal") for part in parts)):
        if refusal:
            return text_of(refusal) or "(no reason)"
    return ""


def _name(document: dict[str, Any], field: str, redact: Callable[[str], str]) -> str:
    value = document.get(field)
    if not isinstance(value, str):
        return ""
    # llama.cpp calls a model by its path; no host's path may get into an artifact.
    return storable(redact(PurePath(value).name if value.startswith("/") else value), LONGEST_NAME)


def _count(document: dict[str, Any], name: str) -> int:
    for path in _COUNTS[name]:
        value: Any = document
        for key in path:
            value = value.get(key) if isinstance(value, dict) else None
        if isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0:
            return int(min(value, MOST_TOKENS))
    return 0
