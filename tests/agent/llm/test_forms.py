"""The forms in which models and servers put an answer, each tried: thinking aloud, other places, nearly JSON."""

from __future__ import annotations

import json
from typing import Any

import pytest
from agent_helpers import QUESTION, Endpoint, ask, document, raw
from hypothesis import given, settings
from hypothesis import strategies as st

from components.agent.llm.answers import parse_answer
from components.agent.llm.body import BadBodyError, read_body
from components.agent.llm.thinking import without_thinking
from components.agent.llm.turn import LONGEST_ANSWER, read_turn
from components.agent.providers import Answer
from components.contracts.plan import Estimate

DRAFT = '{"description": "A rejected draft.", "joints": ["left_foot"]}'
FINAL = '{"description": "It moves.", "joints": ["head", "left_hand"]}'
GOOD = Answer(description="It moves.", joints=("head", "left_hand"))

THINKING = {
    "DeepSeek": f"<think>{DRAFT}</think>{FINAL}",
    "the template opens": f"Let me see: {DRAFT}\n</think>\n\n{FINAL}",
    "nested": f"<think>a <think>{DRAFT}</think> b {DRAFT}</think>{FINAL}",
    "twice": f"<think>a</think>{DRAFT}<think>no, better</think>{FINAL}",
    "thinking": f"<thinking>{DRAFT}</thinking><answer>{FINAL}</answer>",
    "thought": f"<thought>{DRAFT}</thought>\n{FINAL}",
    "reflection": f"<reflection>{DRAFT}</reflection><output>{FINAL}</output>",
    "Seed": f"<seed:think>{DRAFT}</seed:think>{FINAL}",
    "capitals and spaces": f"<THINK>{DRAFT}</ Think >{FINAL}",
    "escaped": f"&lt;think&gt;{DRAFT}&lt;/think&gt;{FINAL}",
    "Magistral": f"[THINK]{DRAFT}[/THINK]{FINAL}",
    "Kimi": f"◁think▷{DRAFT}◁/think▷{FINAL}",
    "bars": f"<|think|>{DRAFT}<|/think|>{FINAL}",
    "DeepSeek's bars": f"<｜begin▁of▁thinking｜>{DRAFT}<｜end▁of▁thinking｜>{FINAL}",
    "Command A": f"<|START_THINKING|>{DRAFT}<|END_THINKING|><|START_RESPONSE|>{FINAL}<|END_RESPONSE|>",
    "Sky-T1": f"<|begin_of_thought|>{DRAFT}<|end_of_thought|><|begin_of_solution|>{FINAL}<|end_of_solution|>",
    "MedGemma": f"<unused94>thought\n{DRAFT}<unused95>{FINAL}",
    "Harmony": f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant"
    f"<|channel|>final<|message|>{FINAL}<|return|>",
    "Harmony, constrained": f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>final "
    f"<|constrain|>json<|message|>{FINAL}",
    "Harmony, a call": f"<|channel|>analysis<|message|>{DRAFT}<|end|><|start|>assistant<|channel|>commentary "
    f"to=functions.class_guidance <|constrain|>json<|message|>{FINAL}<|call|>",
    "Harmony without brackets": f"analysisWe need JSON. {DRAFT}assistantfinal{FINAL}",
    "Granite": f"Here is my thought process: {DRAFT}\nHere is my response: {FINAL}",
    "Apriel": f"Here are my reasoning steps: {DRAFT}\n[BEGIN FINAL RESPONSE]\n{FINAL}\n[END FINAL RESPONSE]",
    "Ollama": f"Thinking...\n{DRAFT}\n...done thinking.\n\n{FINAL}",
    "Open WebUI": f'<details type="reasoning" done="true">\n<summary>Thought</summary>{DRAFT}\n</details>\n{FINAL}',
    "a draft and a better one": f"{DRAFT}\nOn second thoughts:\n```json\n{FINAL}\n```",
}


@pytest.mark.parametrize("text", THINKING.values(), ids=THINKING)
def test_thinking_is_not_the_answer(text: str) -> None:
    assert parse_answer(text) == GOOD
    assert parse_answer(text.replace("Let me see", "x" * 50_000)) == GOOD


@pytest.mark.parametrize(
    "text",
    [
        f"<think>{DRAFT}",
        f"{DRAFT}</think>",
        f"<think>{DRAFT}</think>",
        f"[THINK]{DRAFT}",
        f"◁think▷{DRAFT}",
        f"<|channel|>analysis<|message|>{DRAFT}",
        f"<|START_THINKING|>{DRAFT}",
    ],
)
def test_thinking_alone_is_no_answer(text: str) -> None:
    assert isinstance(parse_answer(text), str)
    turn = read_turn(answered(text), str, Estimate())
    assert turn.problem == "the answer is empty, there is text in message.content only"


def test_what_stands_before_unfinished_thinking_counts() -> None:
    assert parse_answer(f"{FINAL}\n<think>Is that right? {DRAFT}") == GOOD


def test_long_thinking_is_removed_before_the_limit() -> None:
    turn = read_turn(answered(f"<think>{'hm ' * 100_000}{DRAFT}</think>{FINAL}"), str, Estimate())
    assert parse_answer(turn.said) == GOOD
    assert len(read_turn(answered("a" * 100_000), str, Estimate()).said) == LONGEST_ANSWER


def answered(content: Any, **message: Any) -> dict[str, Any]:
    return {"choices": [{"message": {"role": "assistant", "content": content, **message}, "finish_reason": "stop"}]}


PLACES = {
    "parts": answered([{"type": "text", "text": FINAL}]),
    "parts of a text": answered([{"type": "text", "text": FINAL[:20]}, {"type": "text", "text": FINAL[20:]}]),
    "output_text parts": answered([{"type": "output_text", "text": FINAL, "annotations": []}]),
    "text with a value": answered([{"type": "text", "text": {"value": FINAL, "annotations": []}}]),
    "plain strings": answered([FINAL]),
    "thinking parts": answered(
        [{"type": "thinking", "thinking": [{"type": "text", "text": DRAFT}]}, {"type": "text", "text": FINAL}]
    ),
    "one part": answered({"type": "text", "text": FINAL}),
    "an object": answered(json.loads(FINAL)),
    "parsed": answered(None, parsed=json.loads(FINAL)),
    "a tool's call": answered(None, tool_calls=[{"type": "function", "function": {"name": "f", "arguments": FINAL}}]),
    "a call with an object": answered("", tool_calls=[{"function": {"arguments": json.loads(FINAL)}}]),
    "a function's call": answered(None, function_call={"name": "f", "arguments": FINAL}),
    "reasoning_content": answered(None, reasoning_content=FINAL),
    "reasoning_content that ended": answered("", reasoning_content=f"hm {DRAFT}</think>{FINAL}"),
    "reasoning": answered("", reasoning=f"```json\n{FINAL}\n```"),
    "reasoning beside it": answered(FINAL, reasoning_content=DRAFT, reasoning=DRAFT),
    "another field": answered(None, output=FINAL),
    "legacy completions": {"choices": [{"text": FINAL, "finish_reason": "stop"}]},
    "a delta": {"choices": [{"delta": {"content": FINAL}}]},
    "the second choice": {"choices": [{"message": {"content": ""}}, {"message": {"content": FINAL}}]},
    "responses": {
        "output": [
            {"type": "reasoning", "summary": []},
            {"type": "message", "content": [{"type": "output_text", "text": FINAL}]},
        ]
    },
    "output_text": {"output_text": FINAL},
    "Ollama chat": {"message": {"role": "assistant", "content": FINAL}, "done": True},
    "Ollama generate": {"response": FINAL, "done": True},
    "Anthropic": {
        "type": "message",
        "content": [{"type": "thinking", "thinking": DRAFT}, {"type": "text", "text": FINAL}],
    },
    "Gemini": {"candidates": [{"content": {"parts": [{"text": FINAL}], "role": "model"}}]},
    "Text Generation Inference": {"generated_text": FINAL},
}


@pytest.mark.parametrize("body", PLACES.values(), ids=PLACES)
def test_an_answer_is_read_where_servers_put_it(body: dict[str, Any]) -> None:
    turn = read_turn(read_body(json.dumps(body).encode()), str, Estimate())
    assert turn.problem == ""
    assert parse_answer(turn.said) == GOOD


def test_the_place_of_other_text_is_named() -> None:
    turn = read_turn(answered(None, reasoning_content="I am not sure."), str, Estimate())
    assert turn.problem == "the answer is empty, there is text in message.reasoning_content only"


def test_a_stream_that_nobody_asked_for_is_put_together() -> None:
    chunks = [{"choices": [{"index": 0, "delta": {"content": part}}]} for part in (FINAL[:9], FINAL[9:])]
    chunks += [
        {"choices": [{"index": 0, "delta": {}, "finish_reason": "stop"}]},
        {"choices": [], "usage": {"prompt_tokens": 7}},
    ]
    body = "".join(f"data: {json.dumps(chunk)}\n\n" for chunk in chunks) + "data: [DONE]\n\n"
    turn = read_turn(read_body(body.encode()), str, Estimate())
    assert (turn.said, turn.problem, turn.prompt_tokens) == (FINAL, "", 7)


NEARLY = {
    "trailing comma": '{"description": "It moves.", "joints": ["head", "left_hand",],}',
    "single quotes": "{'description': 'It moves.', 'joints': ['head', 'left_hand']}",
    "bare keys": '{description: "It moves.", joints: ["head", "left_hand"]}',
    "comments": '{"description": "It moves.", // how\n "joints": ["head", /* and */ "left_hand"]}',
    "wrapped": f'{{"class_guidance": {FINAL}}}',
    "wrapped by name": f'{{"throw": {FINAL}, "confidence": 0.9}}',
    "in a list": f"[{FINAL}]",
    "wrapped list": f'{{"answers": [{FINAL}]}}',
    "a call": f'{{"name": "class_guidance", "arguments": {FINAL}}}',
    "a call as text": json.dumps({"name": "class_guidance", "arguments": FINAL}),
    "as a string": json.dumps(FINAL),
    "capitals": '{"Description": "It moves.", "Critical Joints": ["head", "left_hand"]}',
    "joints with reasons": '{"description": "It moves.", "joints": [{"name": "head"}, {"joint": "left_hand"}]}',
    "a number without end": f'{{"description": "It moves.", "joints": ["head", "left_hand"], "n": {"9" * 5000}}}',
    "nearly, without end": f"{{'description': 'It moves.', 'joints': ['head', 'left_hand'], 'n': {'9' * 5000}}}",
    "a byte order mark": f"\ufeff{FINAL}",
}  # fmt: skip


@pytest.mark.parametrize("text", NEARLY.values(), ids=NEARLY)
def test_what_is_nearly_json_is_read(text: str) -> None:
    assert parse_answer(text) == GOOD
    assert parse_answer(f"Here it is:\n```json\n{text}\n```") == GOOD or text.startswith('"')


def test_a_raw_line_break_within_a_string_is_read() -> None:
    for quote in "\"'":
        text = f"{{{quote}description{quote}: {quote}It\nmoves.{quote}, {quote}joints{quote}: [{quote}head{quote}]}}"
        assert parse_answer(text) == Answer(description="It\nmoves.", joints=("head",))


@pytest.mark.parametrize(
    "text",
    [
        "{'description': 'the arm's motion', 'joints': ['head']}",
        '{"description": "It moves.", "joints": ["head"',
        '{"description": "It moves.", "joints": ["he',
        f'{{"a": {DRAFT}, "b": {FINAL}}}',
        '{"description": "It moves." "joints": ["head"]}',
    ],
)
def test_nothing_is_guessed(text: str) -> None:
    assert isinstance(parse_answer(text), str)


def test_of_several_the_last_usable_counts() -> None:
    template = '{"description": "<one or two sentences>", "joints": ["<joint name>", "..."]}'
    judge = lambda answer: "no such joint" if "<joint name>" in answer.joints else ""  # noqa: E731
    assert parse_answer(f"{DRAFT} {FINAL} {template}", judge) == GOOD
    assert parse_answer(template, judge) == "no such joint"


def test_half_a_surrogate_pair_is_made_storable() -> None:
    found = parse_answer('{"description": "It \\ud83d moves.", "joints": ["he\\udc00ad"]}')
    assert found == Answer(description="It \ufffd moves.", joints=("he\ufffdad",))


FIELDS = st.sampled_from(
    ["choices", "message", "content", "text", "type", "refusal", "usage", "prompt_tokens", "model", "tool_calls",
     "function", "arguments", "reasoning_content", "finish_reason", "error", "output", "description", "joints", "delta"]
)  # fmt: skip
LEAVES = st.sampled_from([FINAL, "\ud800", 10**400]) | st.text(max_size=20)
JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats()
    | st.text(max_size=20)
    | st.sampled_from([FINAL, "\ud800", 10**400]),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=5) | FIELDS, inner, max_size=5),
    max_leaves=20,
)


@given(JSON)
@settings(max_examples=300, deadline=None)
def test_any_document_is_a_turn_or_a_bad_body(value: Any) -> None:
    body = json.dumps(
        {"choices": [{"message": {"content": value}, "finish_reason": value}], "usage": value, "model": value}
    )
    for text in (body, json.dumps(value), json.dumps({"choices": value, "error": value})):
        try:
            turn = read_turn(read_body(text.encode()), str, Estimate(prompt_tokens=3))
        except BadBodyError:
            continue
        turn.model_dump_json().encode()
        assert 0 <= turn.prompt_tokens <= 10**8
        parse_answer(turn.said)


@given(st.binary(max_size=200))
@settings(max_examples=200, deadline=None)
def test_any_bytes_are_a_document_or_a_bad_body(content: bytes) -> None:
    try:
        assert isinstance(read_body(content), dict)
    except BadBodyError as error:
        assert str(error)


PIECES = st.sampled_from(
    ["<think>", "</think>", "[/THINK]", "{", "}", '"', "'", "[", "]", ":", ",", "description", "joints", "\\", "\n",
     "<|channel|>", "analysis", "final", "<|message|>", "//", "/*", " ", "head", "\ud800", "9" * 50]
)  # fmt: skip


@given(st.lists(PIECES, max_size=60).map("".join))
@settings(max_examples=300, deadline=None)
def test_any_pieces_are_an_answer_or_a_problem(text: str) -> None:
    found = parse_answer(text)
    assert (isinstance(found, str) and found) or isinstance(found, Answer)
    assert without_thinking(without_thinking(text)) == without_thinking(text)


@pytest.mark.parametrize(
    "text",
    ["{" * 20_000, '{"a":' * 4000, '{"a' * 6000, "{'a':[" * 3000, "\n" * 20_000, "*" * 20_000, "<" * 2_000_000,
     "</think" * 280_000, "<|channel|>" * 180_000, "< " * 10_000, "description" * 1800, "{/*" * 6600,
     '{"' + "a" * 19_000],
    ids=lambda text: text[:12],
)  # fmt: skip
def test_no_text_keeps_the_loop(text: str) -> None:
    """The reader's work is bounded: counted in calls, since a busy machine says nothing about time."""
    import sys

    calls = 0

    def count(*_: object) -> None:
        nonlocal calls
        calls += 1

    sys.setprofile(count)
    try:
        parse_answer(text)
    finally:
        sys.setprofile(None)
    assert calls < 3_000_000


def test_everything_is_usable_over_http_too(endpoint: Endpoint) -> None:
    for content in (None, [{"type": "text", "text": FINAL}]):
        endpoint.default = document(content, reasoning_content=FINAL)
        (reply,) = ask(endpoint, QUESTION)
        assert reply.answer == GOOD
    endpoint.default = raw(
        200, f"data: {json.dumps({'choices': [{'delta': {'content': FINAL}}]})}\n\n", kind="text/event-stream"
    )
    assert ask(endpoint, QUESTION)[0].answer == GOOD
