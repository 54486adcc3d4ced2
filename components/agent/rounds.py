"""Where a round is made: in this process, or by the agent's service. The result is the same, byte for byte."""

from __future__ import annotations

import os
from pathlib import Path

from components.agent import core
from components.agent.llm.cache import VARIABLE
from components.agent.round import Round
from components.agent.service.client import ServiceClient
from components.agent.text.fetch import encoder_at_hand
from components.runtime.store import Documents, documents_at


def make_round(what: Round, output: Path, *, agent_url: str = "", cache: Documents | None = None) -> None:
    """Make the constraints of one round; see ``core.run_round`` for the arguments and errors.

    With ``agent_url`` the service there makes them, with its own memory of answers: ``cache`` is then not used.
    """
    if agent_url:
        ServiceClient(agent_url).run_round(what, output)
    else:
        with encoder_at_hand(what) as ready:
            core.run_round(ready, output, cache=cache)


def memory_of_environment() -> Documents | None:
    """Return the memory of answers at the folder or URI that ``SKELETONAGENT_LLM_CACHE`` names, if any."""
    place = os.environ.get(VARIABLE, "")
    return documents_at(place) if place else None
