"""What the service and its clients say to each other.

An artifact travels as its files, so that it arrives byte for byte; its manifest covers them all.
"""

from __future__ import annotations

from base64 import b64decode, b64encode
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, BeforeValidator, ConfigDict, Field, PlainSerializer, StringConstraints, WithJsonSchema
from pydantic.config import JsonDict

from components.contracts.artifact import MANIFEST
from components.contracts.config import AgentStage, Stream
from components.contracts.errors import InputError

ROUNDS = "/v1/rounds"
URL_VARIABLE = "SKELETONAGENT_AGENT_URL"
TOKEN_VARIABLE = "SKELETONAGENT_AGENT_TOKEN"

JobState = Literal["queued", "running", "done", "failed", "cancelled"]
"""``failed``: the request or the service's configuration is wrong; an LLM or a store that fails costs no job."""
Part = Literal["store", "llm"]
"""What the service needs besides itself."""
ENDED: frozenset[JobState] = frozenset({"done", "failed", "cancelled"})

FileName = Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$")]
JobId = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]


_EXAMPLE: JsonDict = {
    "stage": {
        "data": {
            "layout": "kinect20",
            "classes": ["throw", "carry"],
            "protocols": {"all": {"train": "train", "test": "test"}},
            "protocol": "all",
        },
        "agent": {"provider": "offline", "priors": "nw_ucla"},
    }
}


class Message(BaseModel):
    """Unknown fields are errors."""

    model_config = ConfigDict(extra="forbid", frozen=True)


PIECE = 3 << 18
"""Bytes that are turned into base64 at once, and a third more back. A thread that did 16 MB in one call would let no
other one run meanwhile, the event loop's among them. A multiple of three, so that pieces join."""


def _decoded(text: object) -> object:
    """Return the bytes that base64 stands for; what is no text goes on to be judged as it is."""
    if not isinstance(text, str):
        return text
    step = PIECE // 3 * 4
    try:
        return b"".join(b64decode(text[start : start + step], validate=True) for start in range(0, len(text), step))
    except ValueError:
        raise ValueError("not base64") from None


def _encoded(content: bytes) -> str:
    pieces = (b64encode(content[start : start + PIECE]) for start in range(0, len(content), PIECE))
    return b"".join(pieces).decode("ascii")


Content = Annotated[
    bytes,
    BeforeValidator(_decoded),
    PlainSerializer(_encoded, return_type=str, when_used="json"),
    WithJsonSchema({"type": "string", "format": "base64"}),
]


class Files(Message):
    """The files of an artifact: base64 of their bytes by name."""

    files: Annotated[dict[FileName, Content], Field(min_length=1, max_length=20)]


class Reference(Message):
    """Where an artifact lies: ``s3://bucket/prefix``, read with the service's own credentials."""

    uri: Annotated[str, StringConstraints(pattern=r"^(s3|minio)://[^/]+/.+$", max_length=1000)]


class RoundRequest(Message):
    """One round: from 1 on with the confusion that it left and the constraints that it trained with."""

    model_config = ConfigDict(json_schema_extra={"examples": [_EXAMPLE]})

    stage: AgentStage
    stream: Stream | Literal[""] = ""
    round: Annotated[int, Field(ge=0, le=10_000)] = 0
    confusion: Files | Reference | None = None
    previous: Files | Reference | None = None


class Problem(Message):
    """What is wrong, in one line."""

    detail: str


class Health(Message):
    """``ok``, or what is wrong with each part that the service needs."""

    store: str
    llm: str


class RoundStatus(Message):
    """How a job fares. ``done`` of ``total`` classes that are asked are through; 0 of 0 until it is planned.

    ``tokens`` and ``cost`` are what its answers have cost, now or when they were bought; ``cost`` is null where
    the model has no price. ``result`` is the URI of the constraints artifact (where the store is a folder: its name
    below the store), ``error`` what is wrong.
    """

    id: JobId
    state: JobState
    done: int = 0
    total: int = 0
    tokens: int = 0
    cost: float | None = None
    result: str = ""
    error: str = ""


def pack(artifact: Path) -> Files:
    """Read the files of an artifact; ``InputError`` if there is none."""
    if not (artifact / MANIFEST).is_file():
        raise InputError(f"not an artifact: {MANIFEST} is missing (unfinished or wrong directory)", at=artifact)
    return Files(files={file.name: file.read_bytes() for file in sorted(artifact.iterdir()) if file.is_file()})


def unpack(artifact: Files, folder: Path) -> None:
    """Write the files of an artifact into a folder that exists. Names are plain: none leads out of it."""
    for name, content in artifact.files.items():
        (folder / name).write_bytes(content)
