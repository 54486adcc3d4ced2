"""The written priors: per known class, one sentence on its motion and its critical joints by name.

They are files of ``priors/`` in our own words: the agent's round 0, and its fallback where an LLM fails.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib import resources

import yaml
from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.contracts.errors import InputError
from components.contracts.overrides import describe
from components.contracts.skeleton import Layout

_FOLDER = resources.files("components.agent.offline").joinpath("priors")


class Prior(BaseModel):
    """One class: what its motion looks like, and its critical joints, the most telling first."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    description: str = Field(min_length=1)
    joints: tuple[str, ...] = Field(min_length=1)


class _PriorFile(BaseModel):
    """``include`` names another file of the same layout, whose classes count as well."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    layout: str
    include: str | None = None
    classes: tuple[Prior, ...]


@dataclass(frozen=True)
class Priors:
    """A set of priors by class name; ``sha256`` is its file's digest (and its include's), empty without a file."""

    layout: str = ""
    sha256: str = ""
    by_name: Mapping[str, Prior] | None = None

    def find(self, name: str, layout: Layout) -> Prior | None:
        """Return the prior of a class with those of its joints that ``layout`` has, or ``None``.

        Class names match whatever their case and spacing. A prior none of whose joints exist in the
        layout says nothing about it, hence ``None``.
        """
        prior = (self.by_name or {}).get(_key(name))
        if prior is None:
            return None
        joints = tuple(joint for joint in prior.joints if joint in layout.joints)
        return prior.model_copy(update={"joints": joints}) if joints else None


def prior_names() -> list[str]:
    """Return the names of the prior files that ship with the package."""
    return sorted(file.name.removesuffix(".yaml") for file in _FOLDER.iterdir() if file.name.endswith(".yaml"))


@lru_cache
def load_priors(name: str | None) -> Priors:
    """Read a file of priors; without a name there are none.

    Raises:
        InputError: no file of this name, or it is not a valid one.
    """
    if name is None:
        return Priors()
    if name not in prior_names():
        raise InputError(f"config: agent.priors: found {name!r}, expected one of {', '.join(prior_names())}")
    content = _FOLDER.joinpath(f"{name}.yaml").read_bytes()
    try:
        file = _PriorFile.model_validate(yaml.safe_load(content))
    except (yaml.YAMLError, ValidationError) as error:
        text = describe("document", error) if isinstance(error, ValidationError) else " ".join(str(error).split())
        raise InputError(f"components/agent/offline/priors/{name}.yaml: {text}") from None
    by_name = {_key(prior.name): prior for prior in file.classes}
    if file.include is None:
        return Priors(layout=file.layout, sha256=sha256(content).hexdigest(), by_name=by_name)
    included = load_priors(file.include)
    digest = sha256(content + included.sha256.encode()).hexdigest()
    return Priors(layout=file.layout, sha256=digest, by_name={**(included.by_name or {}), **by_name})


def _key(name: str) -> str:
    return "".join(name.casefold().split())
