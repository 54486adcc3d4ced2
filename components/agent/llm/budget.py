"""What asking costs, going by the length of a question: the estimate before a round."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from components.agent.llm.prompts import answer_schema, load_prompts
from components.agent.providers import Question
from components.contracts.config import AgentConfig
from components.contracts.plan import Estimate

CHARACTERS_PER_TOKEN = 4
"""English prose in the tokenisers of today's models; joint names with underscores take a little more."""

ANSWER_TOKENS = 200
"""Two sentences and a dozen joint names as JSON."""


def estimate(question: Question, config: AgentConfig) -> Estimate:
    """Return what one request about a class should cost; nothing with the offline provider."""
    if config.provider == "offline":
        return Estimate()
    request: dict[str, Any] = {"messages": load_prompts().first_turn(question)}
    if config.structured_output != "text":
        request["response_format"] = answer_schema(question)
    return estimate_request(request, config)


def estimate_request(request: Mapping[str, Any], config: AgentConfig) -> Estimate:
    """Return what a request should cost, going by its length."""
    text = "".join(message["content"] for message in request["messages"])
    if "response_format" in request:
        text += json.dumps(request["response_format"])
    prompt = -(-len(text) // CHARACTERS_PER_TOKEN)
    return Estimate(prompt_tokens=prompt, completion_tokens=ANSWER_TOKENS, cost=cost(config, prompt, ANSWER_TOKENS))


def cost(config: AgentConfig, prompt_tokens: int, completion_tokens: int) -> float | None:
    """Return the money for these tokens; ``None`` if the configured model has no price."""
    price = config.prices.get(config.model)
    return price.of(prompt_tokens, completion_tokens) if price else None
