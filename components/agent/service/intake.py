"""Takes requests in: what may be asked, with which artifacts, and which job that is.

A request is measured before it is read: what a validator makes of a million wrong values takes gigabytes.
"""

from __future__ import annotations

import json
import re
import shutil
from dataclasses import dataclass
from pathlib import Path
from tempfile import mkdtemp
from typing import Any

from pydantic import ValidationError

from components.agent.core import check_round
from components.agent.llm.endpoint import HOSTED_URL
from components.agent.llm.prompts import load_prompts
from components.agent.round import Round
from components.agent.service.messages import Files, Reference, RoundRequest, unpack
from components.agent.service.results import Results
from components.contracts import constraints
from components.contracts.agent_config import PACKAGED
from components.contracts.artifact import digest, digest_of
from components.contracts.config import AgentStage
from components.contracts.documents import check_size
from components.contracts.errors import InputError, SkeletonAgentError
from components.runtime.store import is_within, store_for

MOST_VALUES = 30_000
"""Values of a request's JSON; ten thousand classes are a third of it."""
MOST_CLASSES = 10_000
LONGEST_NAME = 200
MOST_PROBLEMS = 5
_PLAIN = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}")


@dataclass(frozen=True)
class Policy:
    """What the operator allows requests to name.

    Attributes:
        endpoints: base URLs of LLM endpoints; the key goes there.
        artifacts: ``s3://bucket[/prefix]`` below which artifacts and weights may lie; our credentials read them.
        max_timeout_s: the longest ``agent.timeout_s``.
        max_concurrency: the largest ``agent.concurrency``.
    """

    endpoints: tuple[str, ...] = ()
    artifacts: tuple[str, ...] = ()
    max_timeout_s: float = 600.0
    max_concurrency: int = 64


@dataclass(frozen=True)
class Accepted:
    """A request that was found good, and the job that it is.

    Attributes:
        id: the job's number.
        round: what is to be made, its artifacts below ``folder``.
        folder: is removed by ``discard``.
        names: what people call the artifacts, by their paths.
        about: what the job's result says of itself, if it has been made already.
    """

    id: str
    round: Round
    folder: Path
    names: dict[str, str]
    about: dict[str, Any] | None

    def discard(self) -> None:
        """Remove the artifacts."""
        shutil.rmtree(self.folder, ignore_errors=True)

    def named(self, error: SkeletonAgentError) -> str:
        """Return an error's line, with the places called as the client knows them."""
        return str(error.renamed(self.names))


def read_request(body: bytes, policy: Policy) -> RoundRequest:
    """Read the body of a request; ``InputError`` says what is wrong with it, or not allowed."""
    check_size(body, "body", most_values=MOST_VALUES)
    try:
        document = json.loads(body)
    except (ValueError, RecursionError):
        raise InputError("no JSON, or not as JSON should be", at="body") from None
    _expect_shape(document)
    try:
        request = RoundRequest.model_validate_json(body, strict=True)
    except ValidationError as error:
        raise InputError(_told(error)) from None
    _check_stage(request.stage, policy)
    for role in ("confusion", "previous"):
        source = getattr(request, role)
        if isinstance(source, Reference) and not is_within(source.uri, policy.artifacts):
            raise InputError(f"found {source.uri!r}; {_listed(policy.artifacts)}", at=role)
    return request


def accept(request: RoundRequest, results: Results) -> Accepted:
    """Lay out and check the artifacts of a request, and look whether it was made before.

    Raises:
        InputError: the round cannot be made from this.
        UnavailableError, ResourceError: a store or this machine fails.
    """
    folder = Path(mkdtemp(prefix="skeletonagent-"))
    names: dict[str, str] = {}
    try:
        paths = {role: _lay_out(getattr(request, role), folder, role, names) for role in ("confusion", "previous")}
        what = Round(request.stage, request.stream, request.round, **paths)
        check_round(what)
        job = _identity(what)
        return Accepted(job, what, folder, names, results.find(job))
    except SkeletonAgentError as error:
        shutil.rmtree(folder, ignore_errors=True)
        raise error.renamed({**names, results.place: "the store"}) from None
    except BaseException:
        shutil.rmtree(folder, ignore_errors=True)
        raise


def _expect_shape(document: Any) -> None:
    """Refuse what must not come before the validator.

    A layout or priors may be a file where the experiment is a user's own; here it would be a file of this machine.
    Thousands of wrong classes would be thousands of errors, made while everything else waits.
    """
    for section, key in (("data", "layout"), ("agent", "priors")):
        name = _get(document, "stage", section, key)
        if isinstance(name, str) and not _PLAIN.fullmatch(name):
            what = f"found {name[:100]!r}; a service takes a name that ships with it"
            raise InputError(what, at=f"config: {section}.{key}")
    classes = _get(document, "stage", "data", "classes")
    if isinstance(classes, list):
        if len(classes) > MOST_CLASSES:
            raise InputError(f"{len(classes)} found, at most {MOST_CLASSES} expected", at="config: data.classes")
        for label, name in enumerate(classes):
            if not isinstance(name, str):
                raise InputError(
                    f"found {json.dumps(name)[:40]}, expected text", at=f"config: data.classes: class {label}"
                )
            _expect_line(name, f"config: data.classes: class {label}")


def _get(document: Any, *keys: str) -> Any:
    for key in keys:
        document = document.get(key) if isinstance(document, dict) else None
    return document


def _told(error: ValidationError) -> str:
    """Return the first problems of a request in one line."""
    problems = error.errors(include_url=False, include_context=False, include_input=False)
    told = [
        f"{'.'.join(['body', *map(str, problem['loc'])])}: {problem['msg']}" for problem in problems[:MOST_PROBLEMS]
    ]
    if len(problems) > MOST_PROBLEMS:
        told.append(f"and {len(problems) - MOST_PROBLEMS} more")
    return " ".join("; ".join(told).split())[:2000]


def _check_stage(stage: AgentStage, policy: Policy) -> None:
    """Refuse what a client may not have: our key sent elsewhere, our files opened, our threads kept for ever."""
    agent = stage.agent
    _expect_line(agent.model, "config: agent.model")
    url = agent.base_url or HOSTED_URL
    if agent.provider == "openai" and url not in policy.endpoints:
        names = ", ".join(policy.endpoints) or "none"
        raise InputError(
            f"found {url[:LONGEST_NAME]!r}; the endpoints of this service: {names}", at="config: agent.base_url"
        )
    if agent.encoder != PACKAGED and not is_within(agent.encoder, policy.artifacts):
        raise InputError(f"found {agent.encoder!r}; {_listed(policy.artifacts)}", at="config: agent.encoder")
    for field, found, most in (
        ("timeout_s", agent.timeout_s, policy.max_timeout_s),
        ("concurrency", agent.concurrency, policy.max_concurrency),
    ):
        if found > most:
            raise InputError(f"found {found:g}; this service allows at most {most:g}", at=f"config: agent.{field}")


def _expect_line(name: str, where: str) -> None:
    if not name.strip() or not name.isprintable() or len(name) > LONGEST_NAME:
        raise InputError(
            f"found {name[:40]!r}, expected one line of up to {LONGEST_NAME} printable characters", at=where
        )


def _listed(places: tuple[str, ...]) -> str:
    return f"this service reads from {', '.join(places) or 'no object store'}"


def _lay_out(source: Files | Reference | None, folder: Path, role: str, names: dict[str, str]) -> Path | None:
    if source is None:
        return None
    path = folder / role
    if isinstance(source, Reference):
        path = store_for(source.uri).fetch(source.uri, path)
        names[str(path)] = source.uri
    else:
        path.mkdir()
        unpack(source, path)
        names[str(path)] = role
    return path


def _identity(what: Round) -> str:
    """Return the content hash of a round: wherever its artifacts come from, and whatever they are called."""
    return digest_of(
        {
            "prompts": load_prompts().version,
            "schema": constraints.SCHEMA.version,
            "stage": what.stage.model_dump(mode="json"),
            "stream": what.stream,
            "round": what.number,
            "confusion": digest(what.confusion) if what.confusion else "",
            "previous": digest(what.previous) if what.previous else "",
        }
    )
