"""One turn of a dialogue: what a chat completion says, reduced to what the agent needs."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import PurePath

from openai.types.chat import ChatCompletion
from pydantic import BaseModel, ConfigDict

LONGEST_NAME = 200
REFUSED = "the model refused"
FILTERED = "the content filter stopped the answer"


class Turn(BaseModel):
    """``said``: the text; ``problem``: what is wrong with the turn itself, empty if nothing; and its cost.

    ``model`` and ``fingerprint`` are what the server says it ran.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    said: str
    problem: str = ""
    model: str = ""
    fingerprint: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0


def read_turn(completion: ChatCompletion, redact: Callable[[str], str]) -> Turn:
    """Read a completion; the client does not validate what it receives: any field may be absent or of any type.

    Args:
        completion: as it came.
        redact: removes what must not be kept from a text.
    """
    said, problem = _read(completion)
    return Turn(
        said=redact(said),
        problem=problem,
        model=redact(_name(completion, "model")),
        fingerprint=redact(_name(completion, "system_fingerprint")),
        prompt_tokens=_tokens(completion, "prompt_tokens"),
        completion_tokens=_tokens(completion, "completion_tokens"),
    )


def _read(completion: ChatCompletion) -> tuple[str, str]:
    choices = completion.choices if isinstance(completion.choices, list) else []
    choice = choices[0] if choices else None
    message = getattr(choice, "message", None)
    if message is None:
        return "", "the server returned no choice"
    content = getattr(message, "content", None)
    said = content if isinstance(content, str) else ""
    finish = getattr(choice, "finish_reason", None)
    if refusal := getattr(message, "refusal", None):
        return said or str(refusal), REFUSED
    if finish == "content_filter":
        return said, FILTERED
    if finish == "length" and not said.rstrip().endswith("}"):  # an object may end where the limit is
        return said, "the answer was cut off (finish_reason length)"
    return said, "" if said.strip() else "the answer is empty"


def _name(completion: ChatCompletion, field: str) -> str:
    value = getattr(completion, field, None)
    if not isinstance(value, str):
        return ""
    # llama.cpp calls a model by its path; no host's path may get into an artifact.
    return (PurePath(value).name if value.startswith("/") else value)[:LONGEST_NAME]


def _tokens(completion: ChatCompletion, name: str) -> int:
    count = getattr(completion.usage, name, 0)
    return count if isinstance(count, int) and count > 0 else 0
