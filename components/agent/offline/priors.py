"""The written priors as the agent uses them: its round 0, and its fallback where an LLM fails.

Ours are the files of ``priors/``; a user's come with the experiment (see ``contracts.priors``).
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import sha256
from importlib import resources

import yaml
from pydantic import ValidationError

from components.agent.providers import LOGGER
from components.contracts.errors import InputError
from components.contracts.overrides import describe
from components.contracts.priors import Prior, PriorFile
from components.contracts.skeleton import Layout

_FOLDER = resources.files("components.agent.offline").joinpath("priors")


@dataclass(frozen=True)
class Priors:
    """A set of priors by class name; ``sha256`` is its file's digest (and its include's), empty without a file.

    ``own``: the user's, which must fit the experiment.
    """

    layout: str = ""
    sha256: str = ""
    by_name: Mapping[str, Prior] | None = None
    own: tuple[Prior, ...] = ()

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

    def check(self, classes: Sequence[str], layout: Layout) -> None:
        """Refuse a joint in the user's priors that the layout lacks; warn of classes that the data lack."""
        for prior in self.own:
            if unknown := [joint for joint in prior.joints if joint not in layout.joints]:
                raise InputError(
                    f"agent.priors: class {prior.name!r}: joints {', '.join(unknown)} found, "
                    f"of {', '.join(layout.joints)} expected"
                )
        known = {_key(name) for name in classes}
        if strangers := [prior.name for prior in self.own if _key(prior.name) not in known]:
            LOGGER.warning("agent.priors: %d of %d classes are none of the data's: %s",
                           len(strangers), len(self.own), ", ".join(strangers[:10]))  # fmt: skip


def prior_names() -> list[str]:
    """Return the names of the prior files that ship with the package."""
    return sorted(file.name.removesuffix(".yaml") for file in _FOLDER.iterdir() if file.name.endswith(".yaml"))


@lru_cache
def load_priors(name: str | None) -> Priors:
    """Read a file of priors by its name, or the user's as JSON; without either there are none.

    Raises:
        InputError: no file of this name, or it is not a valid one.
    """
    if name is None:
        return Priors()
    if name.startswith("{"):
        content, where = name.encode(), "agent.priors"
    elif name in prior_names():
        content, where = _FOLDER.joinpath(f"{name}.yaml").read_bytes(), f"components/agent/offline/priors/{name}.yaml"
    else:
        known = ", ".join(prior_names())
        raise InputError(f"config: agent.priors: found {name!r}, expected one of {known}, or the path of a YAML file")
    try:
        file = PriorFile.model_validate(json.loads(content) if name.startswith("{") else yaml.safe_load(content))
    except (yaml.YAMLError, ValueError, RecursionError) as error:
        text = describe("document", error) if isinstance(error, ValidationError) else " ".join(str(error).split())
        raise InputError(f"{where}: {text}") from None
    included = load_priors(file.include) if file.include else Priors()
    return Priors(
        layout=file.layout or included.layout,
        sha256=sha256(content + included.sha256.encode()).hexdigest(),
        by_name={**(included.by_name or {}), **{_key(prior.name): prior for prior in file.classes}},
        own=file.classes if name.startswith("{") else (),
    )


def _key(name: str) -> str:
    return "".join(name.casefold().split())
