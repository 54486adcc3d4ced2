"""Reading an answer out of what a model wrote: JSON if at all possible, labelled lines if not."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from typing import Any

from components.agent.providers import Answer

MAX_CHARACTERS = 20_000
_DECODER = json.JSONDecoder()
_LINE = re.compile(r"^[\s*#>-]*(description|motion|(?:critical[ _])?joints)\b[\s*]*[:=][\s*]*(.+)$", re.I | re.M)


def parse_answer(text: str) -> Answer | str:
    """Return the answer that ``text`` holds, or what is wrong with it in words for a repair turn.

    Understood are a JSON object, alone, fenced, or within other text, and otherwise lines that begin with
    ``Description:`` and ``Joints:``. A model's thinking aloud (``<think>``) is passed over.
    """
    text = re.sub(r"<think>.*?</think>", "", text[:MAX_CHARACTERS], flags=re.S)
    problem = "it is not a JSON object"
    for document in _objects(text):
        answer = _from_document(document)
        if isinstance(answer, Answer):
            return answer
        problem = answer
    return _from_lines(text) or problem


def _objects(text: str) -> Iterator[dict[str, Any]]:
    start = text.find("{")
    while start >= 0:
        try:
            document, end = _DECODER.raw_decode(text, start)
        except (json.JSONDecodeError, RecursionError):
            start = text.find("{", start + 1)
            continue
        if isinstance(document, dict):
            yield document
        start = text.find("{", end)


def _from_document(document: dict[str, Any]) -> Answer | str:
    description = document.get("description", document.get("motion"))
    joints = document.get("joints", document.get("critical_joints"))
    if not isinstance(description, str):
        return 'the field "description" is missing or not a string'
    if isinstance(joints, str):
        joints = _split(joints)
    if not isinstance(joints, list) or not all(isinstance(joint, str) for joint in joints):
        return 'the field "joints" is missing or not a list of joint names'
    return Answer(description=description, joints=tuple(joints))


def _from_lines(text: str) -> Answer | None:
    fields = {match[1].lower(): match[2].strip() for match in _LINE.finditer(text)}
    description = fields.get("description", fields.get("motion"))
    joints = next((value for label, value in fields.items() if label.endswith("joints")), None)
    if description is None or joints is None:
        return None
    return Answer(description=description.strip("\"' "), joints=tuple(_split(joints)))


def _split(joints: str) -> list[str]:
    names = re.split(r"[,;]|\band\b", joints.strip("[](){}. "))
    return [name.strip("\"'`*. ") for name in names if name.strip("\"'`*. ")]
