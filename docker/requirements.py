"""Runs inside of the build: writes down what each stage needs (pyproject.toml); tells whether all of it is locked."""

from __future__ import annotations

import re
import sys
import tomllib
from importlib import metadata
from pathlib import Path
from typing import Any

UNLOCKED = re.compile(r"torch|triton|nvidia-.*|cuda-.*|pip|setuptools")
"""torch stands in the Makefile, and brings the CUDA libraries that it was built with."""


def wanted(stage: str) -> list[str]:
    """Return the requirements of a stage, which are the extra of its name; of ``common``, those of every stage."""
    project: dict[str, Any] = tomllib.loads(Path("/build/pyproject.toml").read_text(encoding="utf-8"))["project"]
    requirements = project["dependencies"] if stage == "common" else project["optional-dependencies"][stage]
    return list(requirements)


def unlocked() -> list[str]:
    """Name what is installed beside this interpreter in another version than the locked one, or unlocked."""
    locked = re.findall(r"^([\w.-]+)==([^\s;]+)", Path("requirements.lock").read_text(encoding="utf-8"), re.MULTILINE)
    versions = {_normal(name): version for name, version in locked}
    found = {_normal(entry.name): entry.version for entry in metadata.distributions()}
    return sorted(
        f"{name}=={version}"
        for name, version in found.items()
        if not UNLOCKED.fullmatch(name) and versions.get(name) != version
    )


def _normal(name: str) -> str:
    return re.sub(r"[-_.]+", "-", name).lower()


if __name__ == "__main__":
    if sys.argv[1] == "list":
        for stage in sys.argv[2:]:
            Path(stage).write_text("".join(f"{requirement}\n" for requirement in wanted(stage)), encoding="utf-8")
    elif strangers := unlocked():
        sys.exit(f"error: not in requirements.lock: {', '.join(strangers)}; run make lock")
