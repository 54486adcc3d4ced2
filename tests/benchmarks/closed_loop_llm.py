"""The LLM of the study of the closed loop: its settings, the small one on this machine, and what it did."""

from __future__ import annotations

import json
import sys
from collections import Counter
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.agent.llm.cache import LOG
from components.agent.llm.chat import OPENAI, REPAIRED
from components.contracts import constraints
from components.contracts.config import AgentConfig
from components.contracts.errors import InputError

sys.path.append(str(Path(__file__).resolve().parents[1] / "agent" / "llm"))
import local_llm_server

SMALL = "small"
SMALL_PORT = 8135
"""Always the same: the endpoint's URL is part of what an answer is remembered by."""
# The penalty keeps so small a model from naming one joint for ever; a busy machine may need minutes for an answer.
SMALL_SETTINGS: dict[str, Any] = {
    "agent.model": "smollm2",
    "agent.base_url": f"http://127.0.0.1:{SMALL_PORT}/v1",
    "agent.structured_output": "schema",
    "agent.concurrency": 1,
    "agent.timeout_s": 600,
    "agent.parameters": {"temperature": 0.7, "seed": 1, "frequency_penalty": 1.0, "max_tokens": 160},
}


def llm_settings(url: str, model: str) -> dict[str, Any]:
    """Return what the experiment says of the LLM at ``url``, or of the small one; nothing without one."""
    if url == SMALL:
        return SMALL_SETTINGS
    return {"agent.base_url": url, "agent.model": model} if url else {}


@contextmanager
def small_llm() -> Iterator[None]:
    """Run the small LLM.

    Raises:
        InputError: it is not installed, or does not start.
    """
    if lacking := local_llm_server.missing():
        raise InputError(f"--llm: {SMALL!r} needs {' and '.join(lacking)}: make install-llm")
    try:
        with local_llm_server.running(SMALL_PORT):
            yield
    except ChildProcessError as error:
        raise InputError(f"--llm: {error}") from None


def tally(guidance: Path) -> dict[str, int]:
    """Count the classes that were asked about, answered (repaired: not at once), and left with what they had."""
    found = constraints.open(guidance)
    asked = sum(planned.asked for planned in found.plan.classes) if found.plan else 0
    notes = [one.provenance.note for one in found.classes if one.provenance.status == "answered"]
    repaired = sum(REPAIRED in note for note in notes)
    return {"asked": asked, "answered": len(notes), "repaired": repaired, "kept": asked - len(notes)}


def account(arm: str, agent: AgentConfig, tallies: Sequence[dict[str, int]], memory: Path) -> str:
    """Say in a line who answered the confusions in the cells of one arm, and what came of it.

    Args:
        arm: its name.
        agent: the agent's configuration in this arm.
        tallies: of every round that was answered; see ``tally``.
        memory: where answers are remembered, with the log of all requests.
    """
    total = Counter({key: sum(counts[key] for counts in tallies) for key in ("asked", "answered", "repaired", "kept")})
    llm = agent.provider == OPENAI
    if not llm and agent.priors is None:
        return f"{arm}: nobody was asked; the joints are those that separate classes in the training data"
    who = f"{agent.model} at {agent.base_url or 'the hosted endpoint'}" if llm else "the written priors"
    line = (
        f"{arm}: {who} answered {total['answered']} of {total['asked']} classes asked about "
        f"({total['repaired']} after a repair turn); {total['kept']} kept what they had"
    )
    if not llm:
        return line
    log = memory / LOG
    entries = [json.loads(entry) for entry in log.read_text().splitlines()] if log.exists() else []
    sources = Counter(entry["source"] for entry in entries if entry["model"] == agent.model)
    return f"{line}; {sources['endpoint']} requests sent, {sources['cache']} answered from memory"
