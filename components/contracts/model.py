"""The ``model`` artifact: what a run has learnt, ready to be used: the last network of every stream, and their weights.

``model.json`` names the streams in the order of ``STREAMS`` with the ensemble's weights, and says how skeletons are to
be packed. Beside it lies a ``checkpoint`` artifact for each stream, ``j/`` or ``bm/``, without the optimiser's state:
``checkpoint.open`` reads it, and whatever takes a checkpoint takes it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, ValidationError

from components.contracts import checkpoint
from components.contracts.artifact import Artifact, Manifest, Schema, seal, staged
from components.contracts.artifact import verify as verify_artifact
from components.contracts.checkpoint import Checkpoint
from components.contracts.config import EvaluateStage, Stream
from components.contracts.data_config import DataConfig
from components.contracts.errors import DamagedError, InputError
from components.contracts.skeleton import STREAMS

SCHEMA = Schema("model", 1, 0)
_DOCUMENT = "model.json"


class Member(BaseModel):
    """A stream of the ensemble: its weight (only the ratios count) and how many clips of a sample are averaged."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    stream: Stream
    weight: Annotated[float, Field(gt=0)]
    clips: Annotated[int, Field(gt=0)]


class Document(BaseModel):
    """The content of ``model.json``; ``temperature``: by which logits are divided, None where none was learnt."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    streams: Annotated[tuple[Member, ...], Field(min_length=1)]
    classes: tuple[str, ...]
    layout: str
    data: DataConfig
    temperature: float | None = None


@dataclass(frozen=True)
class Model(Artifact):
    """An open model; ``checkpoints`` are those of ``document.streams``, in that order."""

    document: Document
    checkpoints: tuple[Checkpoint, ...]


def made_of(stage: EvaluateStage, checkpoints: Sequence[tuple[Path, Checkpoint]]) -> Model:
    """Join checkpoints of one run into a model; a stream that the configuration gives no weight is left out.

    Args:
        stage: the evaluate part of the experiment, with the weights.
        checkpoints: of one round, each with its place, which errors name; in any order.

    Raises:
        InputError: a stream stands twice or none has a weight, or rounds, layouts or classes differ.
    """
    places: dict[str, Path] = {}
    chosen: dict[str, Checkpoint] = {}
    for place, one in checkpoints:
        stream = one.state.stream
        if stream in chosen:
            raise InputError(f"stream {stream!r} found, which {places[stream]} has too", at=place)
        if one.config.data != stage.data:
            raise InputError(f"trained with another section data: {_difference(one.config.data, stage.data)}", at=place)
        places[stream], chosen[stream] = place, one
    given: dict[str, float] = {str(stream): weight for stream, weight in stage.evaluate.weights.items()}
    weights = {stream: given.get(stream, 0.0) for stream in STREAMS if stream in chosen}
    streams = [stream for stream, weight in weights.items() if weight > 0]
    if not streams:
        found = ", ".join(weights) or "none"
        raise InputError(f"evaluate.weights: no stream with a checkpoint (found {found}) has a positive weight")
    first = streams[0]
    for stream in streams:
        number, expected = chosen[stream].state.round, chosen[first].state.round
        if number != expected:
            raise InputError(f"round {number} found, {expected} expected as of stream {first}", at=places[stream])
    document = Document(
        streams=tuple(
            Member(stream=stream, weight=weights[stream], clips=chosen[stream].config.train.test_clips)
            for stream in streams
        ),
        classes=stage.data.classes,
        layout=stage.data.layout,
        data=stage.data,
    )
    return Model(document, tuple(chosen[stream] for stream in streams))


def _difference(found: DataConfig, expected: DataConfig) -> str:
    for name in type(found).model_fields:
        one, other = getattr(found, name), getattr(expected, name)
        if one != other:
            return f"{name}: {str(one)[:80]} found, {str(other)[:80]} expected"
    return "nothing differs"


def write(path: Path, model: Model, *, made_from: Mapping[str, str], config: EvaluateStage) -> None:
    """Write the artifact at ``path``, atomically; the optimiser's state and the best weights are left out."""
    streams = [member.stream for member in model.document.streams]
    with staged(path) as scratch:
        document = model.document.model_dump(mode="json")
        text = json.dumps(document, indent=1, sort_keys=True, ensure_ascii=False)
        (scratch / _DOCUMENT).write_text(text + "\n", encoding="utf-8")
        for stream, one in zip(streams, model.checkpoints, strict=True):
            bare = replace(one, optimiser={}, best={})
            checkpoint.write(scratch / stream, bare, made_from={"checkpoint": one.digest} if one.digest else {})
        about = {"streams": streams, "round": model.checkpoints[0].state.round, "classes": len(model.document.classes)}
        seal(scratch, SCHEMA, made_from=made_from, config=config.model_dump(mode="json"), about=about)


def open(path: Path) -> Model:
    """Verify and read the artifact; ``InputError`` if it is not one, newer, damaged, or contradictory."""
    manifest = verify(path)
    try:
        document = Document.model_validate_json((path / _DOCUMENT).read_bytes())
    except (OSError, ValidationError) as error:
        raise InputError(f"not a model: {' '.join(str(error).split())}", at=path) from None
    checkpoints = tuple(checkpoint.open(path / member.stream) for member in document.streams)
    for member, one in zip(document.streams, checkpoints, strict=True):
        if one.state.stream != member.stream:
            raise DamagedError(f"a checkpoint of stream {one.state.stream!r} found", at=path / member.stream)
    return Model(document, checkpoints, manifest=manifest)


def verify(path: Path) -> Manifest:
    """Check every file against the manifest; see ``artifact.verify`` for the errors."""
    return verify_artifact(path, SCHEMA)
