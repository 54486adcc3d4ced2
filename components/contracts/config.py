"""The experiment: one YAML document, validated once, of which each stage receives only its own part.

Slicing keeps caches honest: a change of the learning rate must not repack the dataset, so the learning
rate is not among what ``preprocess`` receives. ``Experiment.stage_*`` make the slices; a slice travels
through a pipeline as canonical JSON.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal, TypeVar

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from components.contracts.agent_config import AgentConfig as AgentConfig
from components.contracts.agent_config import Price as Price
from components.contracts.data_config import DataConfig as DataConfig
from components.contracts.data_config import KineticsConfig as KineticsConfig
from components.contracts.data_config import Protocol as Protocol
from components.contracts.data_config import with_layouts
from components.contracts.errors import InputError
from components.contracts.overrides import describe, merged, set_key
from components.contracts.priors import with_priors
from components.contracts.section import Fraction, Positive, Section, parameter_json

Stream = Literal["j", "b", "k", "jm", "bm", "km"]


SIZES: dict[str, dict[str, Any]] = {
    "tiny": {"width": 32, "blocks": 3, "inflate_at": (1,), "temporal": ("3x1", "3x2", "max3", "1x1")},
    "small": {"width": 32, "blocks": 5, "inflate_at": (2, 4)},
    "medium": {"width": 48, "blocks": 4, "inflate_at": (2,), "temporal": ("3x1", "3x2", "max3", "1x1")},
    "published": {},
}
"""What a size of the network stands for; the defaults of ``ModelConfig`` are the published ones."""


class ModelConfig(Section):
    """The recogniser's shape; the defaults are the published network for NTU RGB+D.

    ``size`` names a network, see ``SIZES``: all but ``published`` train on a laptop. Other keys given beside it
    count before what it stands for.

    ``blocks`` spatio-temporal blocks; the width doubles and the frames halve at each block of
    ``inflate_at`` (0-based). ``stem``: ``embedding`` embeds joints and positions first (NTU, UAV,
    FineGYM), ``plain`` feeds coordinates to the first block (Kinetics). ``initial_weights``: see
    ``components.train.model.initial``.

    With ``velocity`` an embedding stem sees how far each joint goes to the next frame, beside where it is. ``persons``:
    ``apart``, each in a graph of its own, which is how the reference does it; ``together``, all joints of a clip's
    persons in one graph, for actions that are something between them.
    """

    size: Literal["tiny", "small", "medium", "published"] = "published"
    stem: Literal["embedding", "plain"] = "embedding"
    width: Positive = 96
    blocks: Positive = 9
    inflate_at: tuple[int, ...] = (3, 6)
    subsets: Positive = 8
    temporal: Annotated[tuple[str, ...], Field(min_length=1)] = ("3x1", "3x2", "3x3", "3x4", "max3", "1x1")
    initial_weights: Literal["kaiming", "published"] = "kaiming"
    velocity: bool = False
    persons: Literal["apart", "together"] = "apart"

    @model_validator(mode="before")
    @classmethod
    def _sized(cls, values: Any) -> Any:
        if not isinstance(values, dict) or not isinstance(values.get("size"), str):
            return values
        return {**SIZES.get(values["size"], {}), **values}

    @field_validator("temporal")
    @classmethod
    def _known_branches(cls, branches: tuple[str, ...]) -> tuple[str, ...]:
        for branch in branches:
            kernel, _, dilation = branch.partition("x")
            if branch not in ("1x1", "max3") and not (kernel.isdigit() and int(kernel) % 2 and dilation.isdigit()):
                raise ValueError(f"found {branch!r}, expected KERNELxDILATION (odd kernel), 'max3' or '1x1'")
        return branches

    @model_validator(mode="after")
    def _divisible(self) -> ModelConfig:
        if self.width % self.subsets:
            raise ValueError(f"width: found {self.width}, expected a multiple of subsets ({self.subsets})")
        if any(not 0 <= block < self.blocks for block in self.inflate_at):
            raise ValueError(f"inflate_at: found {list(self.inflate_at)}, expected block numbers below {self.blocks}")
        if self.velocity and self.stem == "plain":
            raise ValueError("velocity: found true with stem 'plain', expected stem 'embedding'")
        return self


Angle = Annotated[float, Field(ge=0, le=3.15)]


class Augmentation(Section):
    """Random changes of a training clip. ``rotation``: largest angle in radians about each axis, or about x, y and z
    (3d only; aligned bodies stand along z).

    ``scale``: largest relative change of size; ``flip``: probability of a ``flip_kind``, where ``mirror`` swaps
    left and right joints and reflects x, ``swap`` only swaps the joints, as the reference does in 3d (QUIRKS 20);
    ``part_drop``: probability of zeroing one limb; ``crop``: smallest share of the sequence kept.
    """

    rotation: Angle | tuple[Angle, Angle, Angle] = 0.0
    scale: Fraction = 0.0
    flip: Fraction = 0.0
    flip_kind: Literal["mirror", "swap"] = "mirror"
    part_drop: Fraction = 0.0
    crop: Annotated[float, Field(gt=0, le=1)] = 1.0


class TrainConfig(Section):
    """Optimisation of one stream; the learning rate falls to zero in a cosine over all rounds together.

    ``optimizer``: ``sgd``, with Nesterov ``momentum``, as the reference; or ``adamw``, whose first moment ``momentum``
    averages, and whose ``weight_decay`` spares biases and norms. It wants a learning rate ten times smaller.

    Loss = CE(clean) + soft CE(mixed) + ``constraint_weight`` · CE(constraint) + ``alignment_weight`` · KL.
    ``class_balance`` weights CE(clean) by the inverse frequency of each class in the training split.
    A clip has ``frames`` frames, taken by ``sampling`` (see ``components.train.clips.sampling``); the scores of
    ``test_clips`` clips are averaged.

    ``motion`` says which frame the motion streams subtract a frame from: ``clip``, the next one of the clip;
    ``joined``, the same, but the last frame of a test clip goes on to the first of the next clip (the reference
    on 2D data sets); ``sequence``, the next one of the sequence, whatever the clip leaves out (the reference on
    NTU; QUIRKS 23). ``test_starts``: where uniform test clips of a sequence shorter than a clip begin, ``spread``
    evenly over it (the reference on 2D data sets) or at ``random`` but reproducible frames (on NTU; QUIRKS 24).

    Training sees the training split only, and the weights after the last epoch are what counts. With
    ``evaluate_every`` = n the test split is scored after every n-th epoch too (one clip), to be watched; the weights
    of the best of these epochs are kept beside the last ones, for ``test --best``. That is how the reference picks
    what it publishes, and a choice made on the test split: it flatters. 0 leaves it out.
    A running round keeps its ``keep_last`` newest saves, to go on from if it is killed.

    A share ``held_out`` of every class of the training split is left out of training: by seed and sample id, so the
    same samples for all streams and rounds. After the last round they are scored like the test split, and from these
    scores the evaluation learns weights of the streams and a temperature. 0 trains on all.

    ``batch`` is that of all processes together. With ``sync_batch_norm`` they train as one process would; without
    it each normalises with its own share of the batch, which says less the smaller that is, and saves messages.
    With ``precise_batch_norm`` the statistics that tests normalise with are measured anew before each (Wu and Johnson
    2021): the moving averages lag behind the weights while the learning rate is high, so that rounds before the last
    look worse than they are.

    ``precision``: ``bf16`` multiplies matrices in bfloat16, for GPUs (a CPU with instructions for it, ``lscpu`` says
    ``amx_bf16`` or ``avx512_bf16``, may gain or lose by it; others lose); ``compile``: by ``torch.compile``, for GPUs;
    ``activation_checkpointing``: keep only the blocks' inputs for the backward pass, which takes a quarter more time
    and a fraction of the memory. The last two do not change what is computed.
    """

    epochs: Positive
    batch: Positive = 16
    frames: Annotated[int, Field(ge=8)] = 100
    sampling: Literal["uniform", "resize"] = "uniform"
    motion: Literal["clip", "joined", "sequence"] = "clip"
    optimizer: Literal["sgd", "adamw"] = "sgd"
    learning_rate: Annotated[float, Field(gt=0)] = 0.025
    momentum: Fraction = 0.9
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    warmup_epochs: Annotated[float, Field(ge=0)] = 0.0
    label_smoothing: Fraction = 0.0
    class_balance: bool = False
    mix: bool = True
    constraint_weight: Annotated[float, Field(ge=0)] = 0.2
    alignment_weight: Annotated[float, Field(ge=0)] = 0.5
    augmentation: Augmentation = Augmentation()
    test_clips: Positive = 10
    precision: Literal["fp32", "bf16"] = "fp32"
    compile: bool = False
    activation_checkpointing: bool = False
    test_starts: Literal["spread", "random"] = "spread"
    evaluate_every: Annotated[int, Field(ge=0)] = 0
    keep_last: Positive = 2
    held_out: Annotated[float, Field(ge=0, lt=0.5)] = 0.0
    sync_batch_norm: bool = True
    precise_batch_norm: bool = False

    @model_validator(mode="after")
    def _one_way_to_recompute(self) -> TrainConfig:
        if self.compile and self.activation_checkpointing:
            raise ValueError("activation_checkpointing: found true together with compile, expected one of them")
        return self

    def epochs_of_round(self, round_number: int, rounds: int) -> range:
        """Return the epochs of one round, 1-based, when ``rounds`` share the schedule evenly."""
        first = self.epochs * (round_number - 1) // rounds
        return range(first, self.epochs * round_number // rounds)


class EvaluateConfig(Section):
    """The ensemble: weight per stream; the published 2:2:2:1:1:1 unless said otherwise.

    With ``baseline`` the pipeline trains a small temporal convolution beside the streams (a minute's work at most), and
    the report holds the ensemble against it.
    """

    weights: dict[Stream, Annotated[float, Field(ge=0)]] = {"j": 2, "b": 2, "k": 2, "jm": 1, "bm": 1, "km": 1}
    baseline: bool = True


class TrainStage(Section):
    """What ``train`` receives, for one stream (its overrides applied)."""

    seed: int
    rounds: Positive
    data: DataConfig
    model: ModelConfig
    train: TrainConfig


class BaselineStage(Section):
    """What ``baseline`` receives: nothing of the recogniser, so that its cache outlives a change of that.

    ``wanted`` is ``evaluate.baseline``; ``augmentation`` is that of the stream ``j``, whose clips it sees.
    """

    wanted: bool
    seed: int
    data: DataConfig
    augmentation: Augmentation


class AgentStage(Section):
    """What ``agent`` receives."""

    data: DataConfig
    agent: AgentConfig


class EvaluateStage(Section):
    """What ``evaluate`` receives."""

    name: str
    description: str
    data: DataConfig
    evaluate: EvaluateConfig


class Experiment(Section):
    """The whole document. ``stream_overrides``: per stream, keys of ``train`` (and of its augmentation) that differ."""

    name: Annotated[str, Field(pattern=r"^[a-z0-9][a-z0-9_-]*$")]
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    rounds: Positive = 2
    streams: Annotated[tuple[Stream, ...], Field(min_length=1)] = ("j", "b")
    data: DataConfig
    model: ModelConfig = ModelConfig()
    train: TrainConfig
    stream_overrides: dict[Stream, dict[str, Any]] = {}
    agent: AgentConfig = AgentConfig()
    evaluate: EvaluateConfig = EvaluateConfig()

    @model_validator(mode="after")
    def _consistent(self) -> Experiment:
        if len(set(self.streams)) != len(self.streams):
            raise ValueError("streams: a stream stands twice")
        self._check_training(self.train)
        if not any(self.evaluate.weights.get(stream, 0) for stream in self.streams):
            raise ValueError("evaluate.weights: every stream of this run has weight 0")
        for stream in self.stream_overrides:
            try:
                self._check_training(self.stage_train(stream).train)
            except ValidationError as error:
                raise ValueError(describe(f"stream_overrides.{stream}", error, TrainConfig)) from None
            except ValueError as error:
                raise ValueError(f"stream_overrides.{stream}: {error}") from None
        return self

    def _check_training(self, train: TrainConfig) -> None:
        if self.rounds > train.epochs:
            raise ValueError(f"rounds: found {self.rounds}, expected at most train.epochs ({train.epochs})")
        if train.augmentation.rotation and self.data.dimensions != "3d":
            raise ValueError("train.augmentation.rotation needs data.dimensions '3d'")
        if train.held_out != self.train.held_out:
            raise ValueError(f"held_out: found {train.held_out}, expected that of all streams ({self.train.held_out})")

    def stage_preprocess(self) -> DataConfig:
        return self.data

    def stage_train(self, stream: str) -> TrainStage:
        """Return the training configuration of a stream, with its overrides applied and validated."""
        overrides = self.stream_overrides.get(stream, {})  # type: ignore[call-overload]
        train = TrainConfig.model_validate(merged(self.train.model_dump(), overrides))
        return TrainStage(seed=self.seed, rounds=self.rounds, data=self.data, model=self.model, train=train)

    def stage_baseline(self) -> BaselineStage:
        augmentation = self.stage_train("j").train.augmentation
        return BaselineStage(wanted=self.evaluate.baseline, seed=self.seed, data=self.data, augmentation=augmentation)

    def stage_agent(self) -> AgentStage:
        return AgentStage(data=self.data, agent=self.agent)

    def stage_evaluate(self) -> EvaluateStage:
        return EvaluateStage(name=self.name, description=self.description, data=self.data, evaluate=self.evaluate)


S = TypeVar("S", bound=Section)


def parse_section(kind: type[S], text: str) -> S:
    """Read a stage's slice as ``Section.to_json`` or ``to_parameter`` wrote it; ``InputError`` names the field."""
    try:
        return kind.model_validate_json(parameter_json(text))
    except ValidationError as error:
        raise InputError(describe("config", error, kind)) from None


def load_experiment(path: Path, overrides: dict[str, Any] | None = None) -> Experiment:
    """Read and validate an experiment file.

    Args:
        path: a YAML document.
        overrides: dotted keys that replace values of the document, such as ``{"data.protocol": "published"}``.

    A layout, and priors, that are the path of a file are read here, relative to the experiment's folder, and stand in
    the experiment from then on: no later stage, wherever it runs, needs that file.

    Raises:
        InputError: the file cannot be read, is not YAML, or a field is wrong; all wrong fields are named.
    """
    try:
        text = path.read_text(encoding="utf-8")
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"cannot be read: {getattr(error, 'strerror', None) or error}", at=path) from None
    return parse_experiment(text, str(path), overrides, path.parent)


def parse_experiment(
    text: str, name: str, overrides: dict[str, Any] | None = None, folder: Path | None = None
) -> Experiment:
    """Validate an experiment given as YAML text.

    Args:
        text: the document.
        name: what error messages call it.
        overrides: see ``load_experiment``.
        folder: where files of layouts and priors lie; without one, only their absolute paths are known.

    Raises:
        InputError: as ``load_experiment``.
    """
    try:
        document = yaml.safe_load(text)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" line {mark.line + 1}" if mark else ""
        raise InputError(f"{name}:{where} not valid YAML: {getattr(error, 'problem', error)}") from None
    if not isinstance(document, dict):
        raise InputError(f"found {type(document).__name__}, expected a mapping of sections", at=name)
    for key, value in (overrides or {}).items():
        set_key(document, key, value)
    with_layouts(document, folder)
    with_priors(document, folder)
    try:
        return Experiment.model_validate(document)
    except ValidationError as error:
        raise InputError(describe(name, error, Experiment)) from None
