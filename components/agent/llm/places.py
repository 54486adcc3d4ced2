"""Where servers put an answer: in ``content`` as text, in parts of it, or in one of a dozen other places."""

from __future__ import annotations

import json
from collections.abc import Iterator
from typing import Any

from components.agent.llm.thinking import without_thinking

_DEEPEST = 4
_PARTS = 200
_NO_ANSWER = {"thinking", "reasoning", "redacted_thinking", "reasoning_text", "summary_text", "refusal"}
"""Kinds of parts that are not the answer."""
REASONING = ("reasoning_content", "reasoning", "thinking", "reasoning_details")
"""Fields of a message for the thinking, into which servers put an answer too whose thinking they saw no end of."""


def answer_in(document: dict[str, Any]) -> tuple[str, str]:
    """Return what a model has said, without its thinking, and if that is nothing, where else there is text."""
    elsewhere = []
    for name, text in _places(document):
        said = without_thinking(text)
        if said and (name.rpartition(".")[2] not in REASONING or _is_json(said)):
            return said, ""
        if text.strip():
            elsewhere.append(name)
    return "", ", ".join(dict.fromkeys(elsewhere))


def choices_of(document: dict[str, Any]) -> list[dict[str, Any]]:
    """Return the choices that are objects."""
    choices = document.get("choices")
    return [choice for choice in choices[:_PARTS] if isinstance(choice, dict)] if isinstance(choices, list) else []


def message_of(choice: dict[str, Any]) -> dict[str, Any]:
    """Return the message of a choice; empty if it has none."""
    message = choice.get("message")
    return message if isinstance(message, dict) else {}


def _places(document: dict[str, Any]) -> Iterator[tuple[str, str]]:
    """Yield the places of text by their names, the likeliest first."""
    for choice in choices_of(document):
        message = message_of(choice)
        for field in ("content", "parsed"):
            yield f"message.{field}", text_of(message.get(field))
        yield "message.tool_calls", _arguments(message)
        yield "text", text_of(choice.get("text"))
        yield "delta.content", text_of(_get(choice, "delta", "content"))
        for field in REASONING:
            yield f"message.{field}", text_of(message.get(field), thinking=True)
        for field, value in message.items():
            if field not in {"role", "content", "refusal", *REASONING} and isinstance(value, str):
                yield f"message.{field[:40]}", value
    # The Responses API; Ollama's own; Anthropic's; Gemini's; Text Generation Inference's.
    for field in ("output_text", "output", "response", "content", "generated_text", "text", "completion"):
        yield field, text_of(document.get(field))
    yield "message.content", text_of(_get(document, "message", "content"))
    candidates = document.get("candidates")
    if isinstance(candidates, list) and candidates and isinstance(candidates[0], dict):
        yield "candidates.content.parts", text_of(_get(candidates[0], "content", "parts"))


def text_of(value: Any, depth: int = 0, *, thinking: bool = False) -> str:
    """Return the text in a value: itself, or that of its parts, thinking and refusals left out unless wanted."""
    if isinstance(value, str):
        return value
    if depth == _DEEPEST:
        return ""
    if isinstance(value, list):
        return "".join(text_of(part, depth + 1, thinking=thinking) for part in value[:_PARTS])
    if not isinstance(value, dict) or ((value.get("type") in _NO_ANSWER if _named(value) else False) and not thinking):
        return ""
    for field in ("text", "content", "output_text", "value", "summary", "thinking"):
        if found := text_of(value.get(field), depth + 1, thinking=thinking):
            return found
    return _dumped(value) if "description" in value or "joints" in value else ""


def _named(value: dict[str, Any]) -> bool:
    return isinstance(value.get("type"), str)


def _arguments(message: dict[str, Any]) -> str:
    """Return the arguments of a call of a tool: some servers force a schema by way of one."""
    calls = message.get("tool_calls")
    functions = [_get(call, "function") for call in calls[:_PARTS]] if isinstance(calls, list) else []
    for function in (*functions, message.get("function_call")):
        arguments = _get(function, "arguments")
        if isinstance(arguments, str) and arguments.strip():
            return arguments
        if isinstance(arguments, dict):
            return _dumped(arguments)
    return ""


def _get(value: Any, *path: str) -> Any:
    for name in path:
        value = value.get(name) if isinstance(value, dict) else None
    return value


def _dumped(value: dict[str, Any]) -> str:
    try:
        return json.dumps(value, ensure_ascii=False)
    except (ValueError, RecursionError):
        return ""


def _is_json(text: str) -> bool:
    """Tell whether a text is an object and nothing else: then it is an answer wherever it stands."""
    text = text.removeprefix("```json").removeprefix("```").removesuffix("```").strip()
    return text.startswith("{") and text.endswith("}")
