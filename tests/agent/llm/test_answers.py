"""Reading answers out of what models write."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from components.agent.llm.answers import parse_answer
from components.agent.providers import Answer

GOOD = Answer(description="It moves.", joints=("head", "left_hand"))
PLAIN = '{"description": "It moves.", "joints": ["head", "left_hand"]}'


@pytest.mark.parametrize(
    "text",
    [
        PLAIN,
        f"```json\n{PLAIN}\n```",
        f"Sure! Here it is:\n{PLAIN}\nI hope {{this}} helps.",
        f'<think>maybe {{"description": 1}}</think>{PLAIN}',
        f'{{"draft": true}} {PLAIN}',
        '{"description": "It moves.", "joints": "head, left_hand"}',
        '{"motion": "It moves.", "critical_joints": ["head", "left_hand"], "why": 1}',
        "**Description:** It moves.\n- Joints: head and left_hand.",
        "Motion: It moves.\nCritical joints: [head, left_hand]",
    ],
)
def test_understood(text: str) -> None:
    assert parse_answer(text) == GOOD


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("I cannot say.", "it is not a JSON object"),
        ('{"description": "It mo', "it is not a JSON object"),
        ('["description", "joints"]', "it is not a JSON object"),
        ('{"joints": ["head"]}', 'the field "description" is missing or not a string'),
        ('{"description": "a", "joints": [1, 2]}', 'the field "joints" is missing or not a list of joint names'),
        ("{" * 5000, "it is not a JSON object"),
        ('{"a":' * 5000, "it is not a JSON object"),
        ("", "it is not a JSON object"),
    ],
)
def test_not_understood_says_what_to_repair(text: str, problem: str) -> None:
    assert parse_answer(text) == problem


@given(
    description=st.text(min_size=1, max_size=200),
    joints=st.lists(st.text(max_size=20), max_size=5),
    around=st.text(alphabet="ab \n", max_size=30),
)
@settings(max_examples=100, deadline=None)
def test_any_answer_survives_json(description: str, joints: list[str], around: str) -> None:
    text = around + json.dumps({"description": description, "joints": joints}) + around
    if "<think>" not in text:
        assert parse_answer(text) == Answer(description=description, joints=tuple(joints))


@given(st.text(max_size=300))
@settings(max_examples=100, deadline=None)
def test_nothing_crashes_the_parser(text: str) -> None:
    assert isinstance(parse_answer(text), str | Answer)
