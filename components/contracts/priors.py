"""Written priors: per class one sentence on its motion and its critical joints by name; ours, or a user's YAML file.

A user's file is read when the experiment is, and stands in it as JSON from then on, as a layout does: no later stage,
wherever it runs, needs that file.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError, field_validator

from components.contracts.artifact import canonical_json
from components.contracts.errors import InputError
from components.contracts.overrides import describe


class Prior(BaseModel):
    """One class: what its motion looks like, and its critical joints, the most telling first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str = Field(min_length=1)
    joints: tuple[str, ...] = Field(min_length=1)


class PriorFile(BaseModel):
    """A file of priors. ``include`` names one of ours, whose classes count as well.

    A class without description and joints is one that nobody has written about yet: as in a template.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: str = ""
    include: str | None = None
    classes: tuple[Prior, ...]

    @field_validator("classes", mode="before")
    @classmethod
    def _without_blanks(cls, classes: Any) -> Any:
        if not isinstance(classes, list | tuple):
            return classes
        return [entry for entry in classes if not _is_blank(entry)]


def _is_blank(entry: Any) -> bool:
    return isinstance(entry, dict) and not entry.get("description") and not entry.get("joints")


def read_priors(path: Path) -> str:
    """Return the priors in a YAML file as the JSON that stands for them in an experiment.

    Raises:
        InputError: the file cannot be read, is not YAML, or a field is wrong.
    """
    try:
        document = yaml.safe_load(path.read_bytes())
    except OSError as error:
        raise InputError(f"cannot be read: {error.strerror or error}", at=path) from None
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise InputError(f"not valid YAML: {' '.join(str(error).split())}", at=path) from None
    return inline_priors(document, str(path))


def inline_priors(document: Any, name: str) -> str:
    """Return priors as canonical JSON; ``InputError`` names the field that is wrong."""
    try:
        priors = PriorFile.model_validate(document)
    except ValidationError as error:
        raise InputError(describe(name, error)) from None
    return canonical_json(priors.model_dump(mode="json"))


def is_priors_path(text: str) -> bool:
    """Tell a path from the name of a file of ours and from JSON."""
    return not text.startswith("{") and (text.endswith((".yaml", ".yml")) or "/" in text)


def with_priors(document: dict[str, Any], folder: Path | None) -> None:
    """Put the priors that a document names by the path of a file into the document itself.

    Args:
        document: an experiment, not yet validated.
        folder: what relative paths start from.

    Raises:
        InputError: the file cannot be read, or holds no priors.
    """
    agent = document.get("agent")
    found = agent.get("priors") if isinstance(agent, dict) else None
    if isinstance(agent, dict) and isinstance(found, dict):
        agent["priors"] = inline_priors(found, "agent.priors")
    if not isinstance(agent, dict) or not isinstance(found, str) or not is_priors_path(found):
        return
    path = Path(found).expanduser()
    if not path.is_absolute() and folder is None:
        raise InputError(f"agent.priors: found the relative path {found!r}; write the priors into the experiment")
    agent["priors"] = read_priors((folder or Path()) / path)
