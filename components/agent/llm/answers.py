"""Reading an answer out of what a model wrote: JSON if at all possible, nearly JSON next, else labelled lines.

Only what can be read in one way is read. Nothing is completed or guessed: what was cut off, or could mean two things,
goes back to the model in a repair turn.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from typing import Any

import json5

from components.agent.llm.text import storable
from components.agent.llm.thinking import without_thinking
from components.agent.llm.turn import LONGEST_ANSWER
from components.agent.providers import Answer

LONGEST_JOINT = 100
MOST_JOINTS = 200
_MOST_READ = 8_000
"""Characters that the tolerant reader, which is slow, is given of one text, in all its tries."""
_MOST_TRIES = 100
"""Beginnings of an object that are tried, the first and the last ones."""
_DECODER = json.JSONDecoder(strict=False, parse_int=float)  # strict=False: line breaks within a string
_LINE = re.compile(r"(description|motion|(?:critical[ _])?joints)\b[\s*]{0,9}[:=][\s*]{0,9}(.+)", re.IGNORECASE)
_NAMES = ("name", "joint")


def parse_answer(text: str, judge: Callable[[Answer], str] = lambda answer: "") -> Answer | str:
    """Return the answer that ``text`` holds, or what is wrong with it in words for a repair turn.

    Understood are a JSON object, alone, fenced, within other text or within one other object, with the slips of JSON5
    (single quotes, comments, a trailing comma), and otherwise lines that begin with ``Description:`` and ``Joints:``.
    Of several the last one counts that ``judge`` has no complaint about.
    """
    text = storable(without_thinking(text), LONGEST_ANSWER)
    problem = ""
    for found in reversed([_from_document(document) for document in _objects(text)] + [_from_lines(text)]):
        complaint = judge(found) if isinstance(found, Answer) else found
        if isinstance(found, Answer) and not complaint:
            return found
        problem = problem or str(complaint)
    return problem or "it is not a JSON object"


def _objects(text: str) -> list[dict[str, Any]]:
    """Return the objects in a text, in their order; those within others are theirs."""
    if text.startswith('"') and text.endswith('"'):
        text = _unquoted(text)
    found, left, end = [], _MOST_READ, 0
    starts = [position for position, character in enumerate(text) if character == "{"]
    for start in starts if len(starts) <= 2 * _MOST_TRIES else starts[:_MOST_TRIES] + starts[-_MOST_TRIES:]:
        if start < end:
            continue
        try:
            document, beyond = _strict(text, start)
            if beyond < 0 and left >= len(text) - start:
                left -= len(text) - start
                document, beyond = _tolerant(text, start)
        except RecursionError:  # deeper than any answer, and every level would be tried anew
            break
        if isinstance(document, dict):
            found.append(document)
        end = max(end, beyond)
    return found


def _strict(text: str, start: int) -> tuple[Any, int]:
    """Return a value and where it ends; -1 if it is not JSON."""
    try:
        return _DECODER.raw_decode(text, start)
    except ValueError:
        return None, -1


def _tolerant(text: str, start: int) -> tuple[Any, int]:
    """Return a value of JSON5 and where it ends; -1 if it is none."""
    try:
        document, problem, end = json5.parse(text, start=start, consume_trailing=False, strict=False, parse_int=float)
    except ValueError:
        return None, -1
    return (None, -1) if problem else (document, end)


def _unquoted(text: str) -> str:
    """Return the text in a JSON string: some models write an object as one."""
    try:
        inner = json.loads(text, strict=False)
    except (ValueError, RecursionError):
        return text
    return inner if isinstance(inner, str) else text


def _from_document(document: dict[str, Any]) -> Answer | str:
    fields = _fields(document)
    if not fields.keys() & {"description", "motion", "joints", "critical_joints"}:
        inner = [entry for entry in _inner(document) if _fields(entry).keys() & {"description", "motion"}]
        fields = _fields(inner[0]) if len(inner) == 1 else fields
    description = fields.get("description", fields.get("motion"))
    if not isinstance(description, str):
        return 'the field "description" is missing or not a string'
    joints = _joints(fields.get("joints", fields.get("critical_joints")))
    if joints is None:
        return 'the field "joints" is missing or not a list of joint names'
    return _answer(description, joints)


def _fields(document: dict[str, Any]) -> dict[str, Any]:
    return {str(name).strip().lower().replace(" ", "_"): value for name, value in document.items()}


def _inner(document: dict[str, Any]) -> Iterator[dict[str, Any]]:
    """Yield the objects one level down, in a list of one or as text too (``{"name": …, "arguments": "{…}"}``)."""
    for value in document.values():
        if isinstance(value, list) and len(value) == 1:
            value = value[0]
        if isinstance(value, str) and value.lstrip().startswith("{"):
            value = _unwrapped(value.strip())
        if isinstance(value, dict):
            yield value


def _unwrapped(text: str) -> Any:
    try:
        return _strict(text, 0)[0]
    except RecursionError:
        return None


def _joints(value: Any) -> list[str] | None:
    """Return the names in a list of joints: names, text that lists them, or objects with a name each."""
    if isinstance(value, str):
        return _split(value)
    if not isinstance(value, list):
        return None
    names = [_name(entry) if isinstance(entry, dict) else entry for entry in value]
    return names if all(isinstance(name, str) for name in names) else None


def _name(entry: dict[str, Any]) -> Any:
    return next((entry[key] for key in _NAMES if key in entry), None)


def _from_lines(text: str) -> Answer | str:
    """Return the answer in labelled lines; empty if there is none."""
    fields = {}
    for line in text.splitlines():
        if found := _LINE.match(line.lstrip(" \t*#>-")):
            fields[found[1].lower()] = found[2].strip()
    description = fields.get("description", fields.get("motion"))
    joints = next((value for label, value in fields.items() if label.endswith("joints")), None)
    if description is None or joints is None:
        return ""
    return _answer(description.strip("\"' "), _split(joints))


def _answer(description: str, joints: list[str]) -> Answer:
    names = tuple(storable(joint, LONGEST_JOINT) for joint in joints[:MOST_JOINTS])
    return Answer(description=storable(description, LONGEST_ANSWER), joints=names)


def _split(joints: str) -> list[str]:
    names = re.split(r"[,;]|\band\b", joints.strip("[](){}. "))
    return [name.strip("\"'`*. ") for name in names if name.strip("\"'`*. ")]
