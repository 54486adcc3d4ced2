"""Opens what the evaluation is given and checks that it belongs together: one data set, one protocol, one run."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol, TypeVar

import numpy as np
from pydantic import ValidationError

from components.contracts import confusion, constraints, dataset, scores
from components.contracts.artifact import Manifest
from components.contracts.config import EvaluateStage, TrainStage
from components.contracts.confusion import Confusion
from components.contracts.constraints import Constraints
from components.contracts.dataset import Dataset
from components.contracts.errors import InputError
from components.contracts.same_data import expect_same_data
from components.contracts.scores import Scores
from components.contracts.skeleton import STREAMS
from components.evaluate.alignment import align, check_same_samples, sorted_by_id

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

    ``training`` is the configuration that each stream was trained with, ``digests`` names every input;
    ``origins`` says of each scores artifact what it was made from; ``costs`` what each round's answers cost, where
    the model has a price. ``dataset`` and ``leaks`` (test samples that are byte-equal to training samples) are None
    without the dataset; ``held_out`` are scores of training samples that were held out, one per stream, all of the
    same samples. They are those given for it, else those that the trainings of the last round brought along.
    ``baselines`` are scores of other methods, each called by its stream.
    """

    scores: dict[Key, Scores]
    confusions: dict[Key, Confusion]
    constraints: dict[Key, Constraints]
    training: dict[str, TrainStage]
    digests: dict[str, str]
    origins: dict[Key, dict[str, str]] = field(default_factory=dict)
    costs: dict[Key, float] = field(default_factory=dict)
    dataset: Dataset | None = None
    leaks: int | None = None
    held_out: tuple[Scores, ...] = ()
    baselines: tuple[Scores, ...] = ()

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
    stage: EvaluateStage,
    score_paths: Sequence[Path],
    confusion_paths: Sequence[Path],
    constraint_paths: Sequence[Path],
    dataset_path: Path | None = None,
    held_out_paths: Sequence[Path] = (),
    baseline_paths: Sequence[Path] = (),
) -> Inputs:
    """Open and check all artifacts; the order in which they are given does not matter.

    Raises:
        InputError: an artifact cannot be read, there are no scores, two artifacts claim one stream and
            round, or something does not fit the configuration or the other artifacts.
    """
    if not score_paths:
        raise InputError("scores: none given; at least one scores artifact is needed")
    # Sorted one by one as they are read, so that at most one of them is in memory twice.
    opened = _by_key("scores", score_paths, lambda path: sorted_by_id(scores.open(path)))
    training = {one.stream: _training(path, one.manifest, stage) for path, one in opened.values()}
    counts = _by_key("confusion", confusion_paths, confusion.open)
    guidance = _by_key("constraints", constraint_paths, constraints.open)
    for path, one in opened.values():
        _check_classes(path, one.probabilities.shape[1], stage)
    for path, matrix in counts.values():
        _check_classes(path, len(matrix.train), stage)
    for path, said in guidance.values():
        expect_same_data(said.layout, [one.name for one in said.classes], stage.data, at=path)
    aligned = align([one for _, one in opened.values()])
    packed, leaks = open_dataset(dataset_path, stage, aligned[0]) if dataset_path else (None, None)
    digests = _digests({"scores": opened, "confusion": counts, "constraints": guidance})
    given = open_held_out(held_out_paths, stage, aligned[0], packed)
    digests |= {f"held_out.{one.stream}": one.digest for one in given}
    simple = _open_baselines(baseline_paths, stage, aligned[0])
    digests |= {f"baseline.{one.stream}": one.digest for one in simple}
    brought = brought_along(opened.values(), aligned[0], packed, stage)
    return Inputs(
        scores=dict(zip(opened, aligned, strict=True)),
        confusions={key: matrix for key, (_, matrix) in counts.items()},
        constraints={key: said for key, (_, said) in guidance.items()},
        training={stream: training[stream] for stream in STREAMS if stream in training},
        digests=digests | ({"dataset": packed.digest} if packed else {}),
        origins={key: dict(one.manifest.made_from) for key, (_, one) in opened.items()},
        costs=_costs(guidance),
        dataset=packed,
        leaks=leaks,
        held_out=given or brought,
        baselines=simple,
    )


def _costs(guidance: dict[Key, tuple[Path, Constraints]]) -> dict[Key, float]:
    abouts = {key: said.manifest.about for key, (_, said) in guidance.items()}
    return {key: float(about["cost"]) for key, about in abouts.items() if "cost" in about}


def open_dataset(path: Path, stage: EvaluateStage, found: Scores) -> tuple[Dataset, int | None]:
    """Open the dataset behind the scores; return it and the number of leaked test samples, if it was counted.

    Raises:
        InputError: it is of another layout or of other classes, it has not the configured splits, or the scores
            are of samples that are not in its test split or have another label there.
    """
    packed = dataset.open(path)
    expect_same_data(packed.config.layout, packed.config.classes, stage.data, at=path)
    numbers = {str(packed.sample_ids[number]): int(number) for number in packed.split(stage.data.chosen.test)}
    packed.split(stage.data.chosen.train)
    for sample_id, label in zip(found.sample_ids.tolist(), found.labels.tolist(), strict=True):
        if sample_id not in numbers:
            raise InputError(
                f"the scores hold sample {sample_id!r}, which is not in test split {stage.data.chosen.test!r}", at=path
            )
        known = int(packed.labels[numbers[sample_id]])
        if known != label:
            raise InputError(f"sample {sample_id!r} has label {known}, the scores say {label}", at=path)
    counted = packed.manifest.about.get("leaks", {})
    chosen = (stage.data.chosen.train, stage.data.chosen.test)
    same = {name for name, known in packed.config.protocols.items() if (known.train, known.test) == chosen}
    return packed, next((int(count) for name, count in counted.items() if name in same), None)


def open_held_out(
    paths: Sequence[Path], stage: EvaluateStage, test: Scores, packed: Dataset | None
) -> tuple[Scores, ...]:
    """Open scores from which weights and a temperature may be learnt; of each stream the last round counts.

    Raises:
        InputError: a sample is in the test split or, as far as the dataset is given, not in the training split;
            the classes differ; or the artifacts are of different samples.
    """
    latest: dict[str, Scores] = {}
    for path, one in _by_key("held-out scores", paths, scores.open).values():
        _check_classes(path, one.probabilities.shape[1], stage)
        _check_held_out(path, one, stage, test, packed)
        latest[one.stream] = one
    return tuple(align(list(latest.values()))) if latest else ()


def _open_baselines(paths: Sequence[Path], stage: EvaluateStage, test: Scores) -> tuple[Scores, ...]:
    """Open scores of other methods, of the same test samples; ``InputError`` if they differ or a name stands twice."""
    found: dict[str, Scores] = {}
    for path in paths:
        one = sorted_by_id(scores.open(path))
        _check_classes(path, one.probabilities.shape[1], stage)
        check_same_samples(test, one)
        if found.setdefault(one.stream, one).digest != one.digest:
            raise InputError(f"two different baselines are called {one.stream!r}", at=path)
    return tuple(found[name] for name in sorted(found))


def brought_along(
    opened: Iterable[tuple[Path, Scores]], test: Scores, packed: Dataset | None, stage: EvaluateStage
) -> tuple[Scores, ...]:
    """Return the scores of held-out samples that lie in scores artifacts of the last round; none if they differ.

    Streams that held out different samples (another seed or share) were trained on each other's: ``checks`` says so.

    Raises:
        InputError: as in ``open_held_out``.
    """
    pairs = list(opened)
    last = max(one.round for _, one in pairs)
    found = [(path, one.held_out) for path, one in pairs if one.held_out is not None and one.round == last]
    for path, held_out in found:
        _check_held_out(path, held_out, stage, test, packed)
    same = len({frozenset(held_out.sample_ids.tolist()) for _, held_out in found}) == 1
    return tuple(align([held_out for _, held_out in found])) if same else ()


def _check_held_out(path: Path, one: Scores, stage: EvaluateStage, test: Scores, packed: Dataset | None) -> None:
    known = np.intersect1d(one.sample_ids, test.sample_ids)
    if len(known):
        raise InputError(f"sample {str(known[0])!r} is a test sample: nothing may be learnt from it", at=path)
    if packed is not None:
        foreign = np.setdiff1d(one.sample_ids, packed.sample_ids[packed.split(stage.data.chosen.train)])
        if len(foreign):
            split = stage.data.chosen.train
            raise InputError(f"sample {str(foreign[0])!r} is not in training split {split!r}", at=path)


def _by_key(kind: str, paths: Sequence[Path], read: Callable[[Path], A]) -> dict[Key, tuple[Path, A]]:
    found: dict[Key, tuple[Path, A]] = {}
    for path in paths:
        artifact = read(path)
        key = (artifact.stream, artifact.round)
        if artifact.stream not in STREAMS and key != ("", 0):
            raise InputError(f"stream {artifact.stream!r} found, expected one of {', '.join(STREAMS)}", at=path)
        if key in found and found[key][1].digest != artifact.digest:
            both = f"{found[key][0]} and {path}"
            raise InputError(f"two different {kind} artifacts of stream {key[0]!r} round {key[1]}", at=both)
        found.setdefault(key, (path, artifact))
    return dict(sorted(found.items(), key=lambda item: (("", *STREAMS).index(item[0][0]), item[0][1])))


def _training(path: Path, manifest: Manifest, stage: EvaluateStage) -> TrainStage:
    """Return the training configuration in the manifest; refuse scores of another protocol."""
    try:
        training = TrainStage.model_validate(manifest.config)
    except ValidationError as error:
        raise InputError(f"its configuration cannot be read: {error.errors()[0]['msg']}", at=path) from None
    expect_same_data(training.data.layout, training.data.classes, stage.data, at=path)
    for split in ("train", "test"):
        have, want = getattr(training.data.chosen, split), getattr(stage.data.chosen, split)
        if have != want:
            raise InputError(f"{split} split {have!r} found, {want!r} expected by the configured protocol", at=path)
    return training


def _check_classes(path: Path, found: int, stage: EvaluateStage) -> None:
    expected = len(stage.data.classes)
    if found != expected:
        raise InputError(f"{found} classes found, {expected} expected by data.classes", at=path)


def _digests(kinds: dict[str, dict[Key, tuple[Path, Any]]]) -> dict[str, str]:
    return {
        f"{kind}.{stream}.{number}" if stream else f"{kind}.{number}": artifact.digest
        for kind, found in kinds.items()
        for (stream, number), (_, artifact) in found.items()
    }
