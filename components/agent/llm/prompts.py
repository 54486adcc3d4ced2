"""The prompts: versioned Jinja templates of ``prompts/*.yaml``."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from functools import lru_cache
from importlib import resources
from typing import Any

import yaml
from jinja2 import Environment, StrictUndefined, Template

from components.agent.providers import Question
from components.contracts.skeleton import load_layout

Message = dict[str, str]


@dataclass(frozen=True)
class Prompts:
    """One set of templates. ``version`` names it in the provenance of every answer."""

    version: str
    system: str
    question: str
    repair: str

    def first_turn(self, question: Question) -> list[Message]:
        """Return the messages that ask one question."""
        values: dict[str, Any] = {**asdict(question), "joint_names": load_layout(question.layout).joints}
        return [
            {"role": "system", "content": _template(self.system).render(values).strip()},
            {"role": "user", "content": _template(self.question).render(values).strip()},
        ]

    def repair_turn(self, question: Question, said: str, problem: str) -> list[Message]:
        """Return the messages that quote an unusable answer and ask for a better one.

        ``said`` may be empty; a placeholder then keeps the speakers alternating, as some servers demand.
        """
        values = {"problem": problem, "joint_names": load_layout(question.layout).joints}
        return [
            {"role": "assistant", "content": said or "(no answer)"},
            {"role": "user", "content": _template(self.repair).render(values).strip()},
        ]


@lru_cache
def _template(text: str) -> Template:
    # Compiling takes longer than all else that is done here for a question.
    # What is made is text for an LLM, not HTML: "<" is to arrive as "<".
    environment = Environment(undefined=StrictUndefined, trim_blocks=True, lstrip_blocks=True)  # nosec B701
    return environment.from_string(text)


@lru_cache
def load_prompts(name: str = "guidance") -> Prompts:
    """Read a set of templates of ``prompts/``."""
    text = resources.files("components.agent.llm").joinpath("prompts", f"{name}.yaml").read_text(encoding="utf-8")
    return Prompts(**yaml.safe_load(text))


def answer_schema(question: Question) -> dict[str, Any]:
    """Return the structured-output request: one object, all fields required, joints by name from an enum.

    No keyword that servers ignore is used (``uniqueItems``, ``maxItems``): the Selector sees to those.
    """
    joints = list(load_layout(question.layout).joints)
    schema = {
        "type": "object",
        "properties": {
            "description": {"type": "string"},
            "joints": {"type": "array", "items": {"type": "string", "enum": joints}},
        },
        "required": ["description", "joints"],
        "additionalProperties": False,
    }
    return {"type": "json_schema", "json_schema": {"name": "class_guidance", "strict": True, "schema": schema}}
