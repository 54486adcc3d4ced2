"""Operations on documents of nested sections: merge, set by dotted key, say what is wrong in one line."""

from __future__ import annotations

from typing import Any

from pydantic import ValidationError

from components.contracts.errors import InputError


def merged(values: dict[str, Any], overrides: dict[str, Any]) -> dict[str, Any]:
    """Return ``values`` with some replaced; within a section only the keys that ``overrides`` names."""
    result = dict(values)
    for key, value in overrides.items():
        inside = result.get(key)
        result[key] = merged(inside, value) if isinstance(inside, dict) and isinstance(value, dict) else value
    return result


def set_key(document: dict[str, Any], dotted: str, value: Any) -> None:
    """Set the value at a dotted key, making sections on the way; ``InputError`` where a value is in the way."""
    *sections, last = dotted.split(".")
    for section in sections:
        document = document.setdefault(section, {})
        if not isinstance(document, dict):
            raise InputError(f"cannot be set: {section} is a value, not a section", at=dotted)
    document[last] = value


def describe(name: str, error: ValidationError) -> str:
    """Put a pydantic error into one line: file, field, what was found, what was expected."""
    parts = []
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        scalar = isinstance(problem["input"], str | int | float | bool) or problem["input"] is None
        found = f" (found {problem['input']!r})" if scalar and problem["type"] != "missing" else ""
        parts.append(f"{field}: {message}{found}" if field else message)
    return f"{name}: " + "; ".join(parts)
