"""What the compiled pipeline carries as values of its parameters."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import yaml

CONFIGS = Path(__file__).parent / "configs"


def presets() -> dict[str, str]:
    """Return the experiments that come with the project: by name, each as one line of YAML.

    They travel with the compiled pipeline: a run uses those of its own version, whatever lies in the images.
    """
    files = sorted(CONFIGS.glob("*.yaml"))
    return {file.stem: one_line(yaml.safe_load(file.read_text(encoding="utf-8"))) for file in files}


def one_line(document: Any) -> str:
    """Return YAML without line breaks: the user interface has a field of one line, and KFP writes no longer default."""
    return yaml.safe_dump(document, default_flow_style=True, sort_keys=False, width=math.inf).strip()  # type: ignore[arg-type]
