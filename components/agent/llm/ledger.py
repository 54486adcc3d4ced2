"""What a round may still spend: requests, tokens and money, counted as they are sent."""

from __future__ import annotations

from components.agent.llm.budget import cost
from components.contracts.config import AgentConfig
from components.contracts.plan import Estimate


class BudgetLedger:
    """Keeps a round within its ``max_requests``, ``max_tokens`` and ``max_cost``, repair turns and retries included.

    A request is paid for by its estimate until its real usage is known, so that requests in flight together
    cannot overdraw the budget; what may be overdrawn is by how much these last answers exceed their estimates.
    """

    def __init__(self, config: AgentConfig) -> None:
        self._config = config
        self._requests = 0
        self._prompt = 0
        self._completion = 0

    def reserve(self, estimated: Estimate) -> str:
        """Count a request and set its estimate aside; where it does not fit, do nothing and return the limit."""
        prompt, completion = self._prompt + estimated.prompt_tokens, self._completion + estimated.completion_tokens
        limits = self._config
        if self._requests >= limits.max_requests:
            return f"max_requests ({limits.max_requests})"
        if limits.max_tokens is not None and prompt + completion > limits.max_tokens:
            return f"max_tokens ({limits.max_tokens})"
        if limits.max_cost is not None and (cost(limits, prompt, completion) or 0.0) > limits.max_cost:
            return f"max_cost ({limits.max_cost:g})"
        self._requests += 1
        self._prompt, self._completion = prompt, completion
        return ""

    def settle(self, estimated: Estimate, prompt_tokens: int = 0, completion_tokens: int = 0) -> None:
        """Put what a request has really cost in place of its estimate; nothing, if the server did not take it."""
        self._prompt += prompt_tokens - estimated.prompt_tokens
        self._completion += completion_tokens - estimated.completion_tokens

    def remembered(self, prompt_tokens: int, completion_tokens: int) -> None:
        """Count an answer that an earlier attempt at this round paid for: it ends where that one would have ended."""
        self._requests += 1
        self._prompt += prompt_tokens
        self._completion += completion_tokens
