"""Where a round is made: in this process, or by the agent's service. The result is the same, byte for byte."""

from __future__ import annotations

from pathlib import Path

from components.agent import core
from components.agent.service.client import ServiceClient
from components.contracts.config import AgentStage
from components.runtime.store import Documents


def make_round(
    stage: AgentStage,
    output: Path,
    *,
    agent_url: str = "",
    stream: str = "",
    round_number: int = 0,
    confusion: Path | None = None,
    previous: Path | None = None,
    cache: Documents | None = None,
) -> None:
    """Make the constraints of one round; see ``core.run_round`` for the arguments and errors.

    With ``agent_url`` the service there makes them, with its own memory of answers: ``cache`` is then not used.
    """
    if agent_url:
        client = ServiceClient(agent_url)
        client.run_round(
            stage, output, stream=stream, round_number=round_number, confusion=confusion, previous=previous
        )
    else:
        core.run_round(
            stage,
            output,
            stream=stream,
            round_number=round_number,
            confusion=confusion,
            previous=previous,
            cache=cache,
        )
