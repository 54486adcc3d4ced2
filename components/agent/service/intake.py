"""Takes requests in: what may be asked, with which artifacts, and which job that is."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tempfile import TemporaryDirectory

from components.agent.core import plan_of_round
from components.agent.llm.endpoint import HOSTED_URL
from components.agent.llm.prompts import load_prompts
from components.agent.round import Round
from components.agent.service.messages import Files, Reference, RoundRequest, RoundStatus, pack, unpack
from components.contracts import constraints
from components.contracts.agent_config import PACKAGED
from components.contracts.artifact import digest, digest_of
from components.contracts.config import AgentConfig
from components.contracts.errors import InputError, SkeletonAgentError
from components.runtime.store import store_for


def check_endpoint(config: AgentConfig, allowed: tuple[str, ...]) -> None:
    """Refuse an endpoint that the operator did not name: whoever may choose it could have our key sent there.

    Nor may a client have a file of this machine opened: a text encoder comes from a bucket, as artifacts do.

    Raises:
        InputError: it is not among ``allowed``, or ``encoder`` is a plain path.
    """
    if config.encoder != PACKAGED and "://" not in config.encoder:
        raise InputError(f"config: agent.encoder: found {config.encoder!r}; a service takes s3://bucket/folder")
    url = config.base_url or HOSTED_URL
    if config.provider == "openai" and url not in allowed:
        names = ", ".join(allowed) or "none"
        raise InputError(f"config: agent.base_url: found {url!r}; the endpoints of this service: {names}")


def accept(request: RoundRequest, allowed: tuple[str, ...]) -> tuple[RoundStatus, RoundRequest]:
    """Check a request completely and return its job, queued, and the request with its artifacts inline.

    Raises:
        InputError: the round cannot be made from this, or an artifact cannot be fetched.
    """
    check_endpoint(request.stage.agent, allowed)
    with local_inputs(request) as inputs:
        plan = plan_of_round(inputs)
        status = RoundStatus(id=_identity(request, inputs), state="queued", total=len(plan.order))
        packed = {
            role: pack(path)
            for role, path in (("confusion", inputs.confusion), ("previous", inputs.previous))
            if path is not None
        }
    return status, request.model_copy(update=packed)


@contextmanager
def local_inputs(request: RoundRequest) -> Iterator[Round]:
    """Lay the artifacts of a request out on this machine for a while. Errors call them by their roles or URIs."""
    with TemporaryDirectory(prefix="skeletonagent-") as folder:
        paths = {
            "confusion": _lay_out(request.confusion, Path(folder) / "confusion"),
            "previous": _lay_out(request.previous, Path(folder) / "previous"),
        }
        try:
            yield Round(request.stage, request.stream, request.round, **paths)
        except SkeletonAgentError as error:
            message = str(error)
            for role, path in paths.items():
                source = getattr(request, role)
                name = source.uri if isinstance(source, Reference) else role
                message = message.replace(str(path), name) if path else message
            raise InputError(message.replace(f"{folder}/", "")) from None


def _lay_out(source: Files | Reference | None, folder: Path) -> Path | None:
    if source is None:
        return None
    if isinstance(source, Reference):
        return store_for(source.uri).fetch(source.uri, folder)
    folder.mkdir()
    unpack(source, folder)
    return folder


def _identity(request: RoundRequest, inputs: Round) -> str:
    """Return the content hash of a request: wherever its artifacts come from, and whatever they are called."""
    return digest_of(
        {
            "prompts": load_prompts().version,
            "schema": constraints.SCHEMA.version,
            "stage": request.stage.model_dump(mode="json"),
            "stream": request.stream,
            "round": request.round,
            "confusion": digest(inputs.confusion) if inputs.confusion else "",
            "previous": digest(inputs.previous) if inputs.previous else "",
        }
    )
