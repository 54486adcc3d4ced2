"""Opens what the evaluation is given and checks that it belongs together: one data set, one protocol, one run."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Protocol, TypeVar

from pydantic import ValidationError

from components.contracts import confusion, constraints, scores
from components.contracts.artifact import Manifest
from components.contracts.config import EvaluateStage, TrainStage
from components.contracts.confusion import Confusion
from components.contracts.constraints import Constraints
from components.contracts.errors import InputError
from components.contracts.scores import Scores
from components.contracts.skeleton import STREAMS
from components.evaluate.ensemble import align

Key = tuple[str, int]
"""A stream and a round; the prior constraints have stream "" and round 0."""


class _Artifact(Protocol):
    @property
    def stream(self) -> str: ...
    @property
    def round(self) -> int: ...
    @property
    def digest(self) -> str: ...


A = TypeVar("A", bound=_Artifact)


@dataclass(frozen=True)
class Inputs:
    """Artifacts by stream and round, in the order of ``STREAMS`` and rounds; all scores in one order of samples.

    ``training`` is the configuration that each stream was trained with, ``digests`` names every input.
    """

    scores: dict[Key, Scores]
    confusions: dict[Key, Confusion]
    constraints: dict[Key, Constraints]
    training: dict[str, TrainStage]
    digests: dict[str, str]

    @property
    def rounds(self) -> list[int]:
        """The rounds that have scores, ascending."""
        return sorted({round_number for _, round_number in self.scores})

    @property
    def streams(self) -> list[str]:
        """The streams that have scores, in the order of ``STREAMS``."""
        return list(dict.fromkeys(stream for stream, _ in self.scores))

    def scores_of_round(self, round_number: int) -> list[Scores]:
        """Return the scores of one round, one per stream."""
        return [one for (_, number), one in self.scores.items() if number == round_number]


def open_inputs(
    stage: EvaluateStage, score_paths: Sequence[Path], confusion_paths: Sequence[Path], constraint_paths: Sequence[Path]
) -> Inputs:
    """Open and check all artifacts; the order in which they are given does not matter.

    Raises:
        InputError: an artifact cannot be read, there are no scores, two artifacts claim one stream and
            round, or something does not fit the configuration or the other artifacts.
    """
    if not score_paths:
        raise InputError("scores: none given; at least one scores artifact is needed")
    opened = _by_key("scores", score_paths, scores.open)
    training = {one.stream: _training(path, scores.verify(path), stage) for path, one in opened.values()}
    counts = _by_key("confusion", confusion_paths, confusion.open)
    guidance = _by_key("constraints", constraint_paths, constraints.open)
    for path, one in opened.values():
        _check_classes(path, one.probabilities.shape[1], stage)
    for path, matrix in counts.values():
        _check_classes(path, len(matrix.train), stage)
    for path, told in guidance.values():
        _check_classes(path, len(told.classes), stage)
        if told.layout != stage.data.layout:
            raise InputError(f"{path}: layout {told.layout!r} found, {stage.data.layout!r} expected")
    aligned = align([one for _, one in opened.values()])
    return Inputs(
        scores=dict(zip(opened, aligned, strict=True)),
        confusions={key: matrix for key, (_, matrix) in counts.items()},
        constraints={key: told for key, (_, told) in guidance.items()},
        training={stream: training[stream] for stream in STREAMS if stream in training},
        digests=_digests({"scores": opened, "confusion": counts, "constraints": guidance}),
    )


def _by_key(kind: str, paths: Sequence[Path], read: Callable[[Path], A]) -> dict[Key, tuple[Path, A]]:
    found: dict[Key, tuple[Path, A]] = {}
    for path in paths:
        artifact = read(path)
        key = (artifact.stream, artifact.round)
        if artifact.stream not in STREAMS and key != ("", 0):
            raise InputError(f"{path}: stream {artifact.stream!r} found, expected one of {', '.join(STREAMS)}")
        if key in found and found[key][1].digest != artifact.digest:
            both = f"{found[key][0]} and {path}"
            raise InputError(f"{both}: two different {kind} artifacts of stream {key[0]!r} round {key[1]}")
        found.setdefault(key, (path, artifact))
    return dict(sorted(found.items(), key=lambda item: (("", *STREAMS).index(item[0][0]), item[0][1])))


def _training(path: Path, manifest: Manifest, stage: EvaluateStage) -> TrainStage:
    """Return the training configuration in the manifest; refuse scores of another protocol."""
    try:
        training = TrainStage.model_validate(manifest.config)
    except ValidationError as error:
        raise InputError(f"{path}: its configuration cannot be read: {error.errors()[0]['msg']}") from None
    for name in ("layout", "classes"):
        have, want = getattr(training.data, name), getattr(stage.data, name)
        if have != want:
            raise InputError(f"{path}: data.{name}: {_short(have)} found, {_short(want)} expected")
    for split in ("train", "test"):
        have, want = getattr(training.data.chosen, split), getattr(stage.data.chosen, split)
        if have != want:
            raise InputError(f"{path}: {split} split {have!r} found, {want!r} expected by the configured protocol")
    return training


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:77]}…"


def _check_classes(path: Path, found: int, stage: EvaluateStage) -> None:
    expected = len(stage.data.classes)
    if found != expected:
        raise InputError(f"{path}: {found} classes found, {expected} expected by data.classes")


def _digests(kinds: dict[str, dict[Key, tuple[Path, Any]]]) -> dict[str, str]:
    return {
        f"{kind}.{stream}.{number}" if stream else f"{kind}.{number}": artifact.digest
        for kind, found in kinds.items()
        for (stream, number), (_, artifact) in found.items()
    }
