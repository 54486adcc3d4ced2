"""What asking costs: the estimate before a round, and the purse that a round's requests are paid from."""

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
    request: dict[str, Any] = {"messages": load_prompts().opening(question)}
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


class Purse:
    """Keeps a round within its ``max_tokens`` and ``max_cost``, repair turns included.

    A request is paid for by its estimate until its real usage is known, so that requests in flight together
    cannot overdraw it; what may be overdrawn is by how much these last answers exceed their estimates.
    """

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        self._prompt = 0
        self._completion = 0

    def reserve(self, estimated: Estimate) -> str:
        """Set the estimate aside; where it does not fit, do nothing and return the limit in words."""
        prompt, completion = self._prompt + estimated.prompt_tokens, self._completion + estimated.completion_tokens
        limits = self._config
        if limits.max_tokens is not None and prompt + completion > limits.max_tokens:
            return f"max_tokens ({limits.max_tokens})"
        if limits.max_cost is not None and (cost(limits, prompt, completion) or 0.0) > limits.max_cost:
            return f"max_cost ({limits.max_cost:g})"
        self._prompt, self._completion = prompt, completion
        return ""

    def release(self, estimated: Estimate) -> None:
        """Give a reserved estimate back."""
        self.pay(-estimated.prompt_tokens, -estimated.completion_tokens)

    def pay(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Take what an answer has really cost, now or when it was put into the cache."""
        self._prompt += prompt_tokens
        self._completion += completion_tokens
