"""Operations on documents of nested sections: merge, set by dotted key, say what is wrong in one line."""

from __future__ import annotations

import difflib
from typing import Any, get_args

from pydantic import BaseModel, ValidationError

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


def describe(name: str, error: ValidationError, kind: type[BaseModel] | None = None) -> str:
    """Put a pydantic error into one line: file, field, what was found, what was expected.

    Args:
        name: what the document is called.
        error: what was wrong with it.
        kind: the model that the document should have been; with it a misspelt key is answered with the nearest one.
    """
    parts = []
    for problem in error.errors():
        field = ".".join(str(part) for part in problem["loc"])
        message = problem["msg"].removeprefix("Value error, ")
        if problem["type"] == "extra_forbidden":
            message = _no_such_key(problem["loc"], kind)
        scalar = isinstance(problem["input"], str | int | float | bool) or problem["input"] is None
        found = (
            f" (found {problem['input']!r})" if scalar and problem["type"] not in ("missing", "extra_forbidden") else ""
        )
        parts.append(f"{field}: {message}{found}" if field else message)
    return f"{name}: " + "; ".join(parts)


def _no_such_key(place: tuple[int | str, ...], kind: type[BaseModel] | None) -> str:
    *sections, wrong = (str(part) for part in place)
    keys = _keys(kind, sections) if kind else {}
    if not keys:
        return "no such key"
    near = difflib.get_close_matches(wrong, keys, n=1)
    if near:
        return f"no such key; did you mean {'.'.join([*sections, near[0]])}?"
    elsewhere = [key for section in _keys(kind, []).values() for key in _fields(section)] if kind else []
    if not sections and wrong in elsewhere:
        owner = next(name for name, section in _keys(kind, []).items() if wrong in _fields(section))
        return f"no such key; did you mean {owner}.{wrong}?"
    return f"no such key; expected one of {', '.join(keys)}"


def _keys(kind: type[BaseModel] | None, sections: list[str]) -> dict[str, Any]:
    """Return the keys below a dotted place of a model, each with its type; none where it is no section."""
    fields = _fields(kind)
    for section in sections:
        # Of a mapping, such as protocols by name, any key is right.
        fields = fields[section] if section in fields else fields.get("*", {})
        fields = _fields(fields)
    return {key: annotation for key, annotation in fields.items() if key != "*"}


def _fields(annotation: Any) -> dict[str, Any]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return {name: field.annotation for name, field in annotation.model_fields.items()}
    arguments = get_args(annotation)
    models = [argument for argument in arguments if isinstance(argument, type) and issubclass(argument, BaseModel)]
    if not models:
        return {}
    return {"*": models[0]} if arguments[0] is not models[0] and len(arguments) == 2 else _fields(models[0])
