"""What a person asks of a run's page: which command made it, on what, how long it took, and where the model is."""

from __future__ import annotations

import json
import os
import platform
import shlex
from pathlib import Path
from typing import Any

from components.evaluate.report.facts import RunFacts, with_facts


def add_facts(page: Path, facts: RunFacts) -> None:
    """Put the facts of the run on its page."""
    page.write_text(with_facts(page.read_text(encoding="utf-8"), facts), encoding="utf-8", newline="\n")


def command(data: Path, config: Path, settings: dict[str, Any], root: Path, agent_url: str, in_containers: bool) -> str:
    """Return the command that repeats a run."""
    words = ["python", "-m", "pipelines", "run", "--data", str(data), "--config", str(config)]
    for key, value in settings.items():
        words += ["--set", f"{key}={value if isinstance(value, str) else json.dumps(value)}"]
    words += ["--root", str(root)] if root != Path("runs") else []
    words += ["--agent-url", agent_url] if agent_url else []
    return shlex.join([*words, "--containers"] if in_containers else words)


def machine(cores: int) -> str:
    """Return this machine in words, without its name."""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return f"{cores} cores, {memory:.0f} GiB of memory, {platform.system()} {platform.machine()}"
