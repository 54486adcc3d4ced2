"""One round of the agent as a value: everything that decides its result but the code and the LLM."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from components.contracts.config import AgentStage


@dataclass(frozen=True)
class Round:
    """What a round is made from.

    Attributes:
        stage: the agent's part of the experiment.
        stream: the stream whose confusions these are; empty in round 0, which all streams share.
        number: 0 for what stands before any training, r for what follows training round r.
        confusion: from round 1, the ``confusion`` artifact of training round ``number``.
        previous: from round 1, the ``constraints`` artifact that this training round used.
        encoder: the folder of the text encoder that ``stage.agent.encoder`` names; ``None``: the packaged one.
    """

    stage: AgentStage
    stream: str = ""
    number: int = 0
    confusion: Path | None = None
    previous: Path | None = None
    encoder: Path | None = None
