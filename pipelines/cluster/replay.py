"""Pipelines of one stage, around artifacts that exist: to repeat a task of an earlier run, and nothing else.

The artifacts come in through KFP's importers, so the user interface shows where they are from. The task itself is
never taken from the cache: to run it is the point.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from kfp import dsl

from components.agent.component import agent, agent_prior
from components.contracts.errors import InputError
from components.contracts.scores import TEMPORAL_CONVOLUTION
from components.evaluate.component import evaluate_component
from components.preprocess.component import preprocess
from components.runtime.source import source_digest
from components.train.component import baseline, model
from pipelines.dag import train_on
from pipelines.platform import Cluster, Placement

STAGES = ("preprocess", "agent", "train", "baseline", "model", "evaluate")


@dataclass(frozen=True)
class Need:
    """An artifact that a task takes: its input's name, and what is needed there."""

    name: str
    kind: str
    stream: str = ""
    round: int = 0

    @property
    def listed(self) -> bool:
        """Whether it is one of a list over streams."""
        return "_" in self.name or self.name == "checkpoints"

    @property
    def type(self) -> type[dsl.Artifact]:
        """KFP's type of the artifact."""
        return {"dataset": dsl.Dataset, "checkpoint": dsl.Model}.get(self.kind, dsl.Artifact)


@dataclass(frozen=True)
class Target:
    """The task to repeat. ``round``: 0 is the agent's prior; ``rounds`` and ``streams`` are the run's."""

    stage: str
    stream: str
    round: int
    rounds: int
    streams: tuple[str, ...]

    def __post_init__(self) -> None:
        if self.stage not in STAGES:
            raise InputError(f"stage: found {self.stage!r}, expected one of {', '.join(STAGES)}")
        if self.stage in ("agent", "train"):
            first, last = (1, self.rounds) if self.stage == "train" else (0, self.rounds - 1)
            if not first <= self.round <= last:
                raise InputError(f"round: found {self.round}, expected {first} to {last} for {self.stage} of this run")
            if self.round and self.stream not in self.streams:
                raise InputError(f"stream: found {self.stream!r}, expected one of {', '.join(self.streams)}")

    @property
    def label(self) -> str:
        """What people call it, such as train j round 2."""
        if self.stage not in ("agent", "train"):
            return self.stage
        return f"{self.stage} {self.stream} round {self.round}" if self.round else "agent prior"

    def needs(self) -> list[Need]:
        """Return the artifacts that the task takes."""
        r, stream = self.round, self.stream
        guide = Need("", "constraints", stream if r > 1 else "", max(r - 1, 0))
        if self.stage == "train":
            before = [Need("previous", "checkpoint", stream, r - 1)] if r > 1 else []
            return [Need("dataset", "dataset"), Need("constraints", "constraints", guide.stream, guide.round), *before]
        if self.stage == "agent" and r:
            previous = Need("previous", "constraints", guide.stream, guide.round)
            return [Need("confusion", "confusion", stream, r), previous]
        if self.stage == "baseline":
            return [Need("dataset", "dataset")]
        if self.stage == "model":
            return [Need("checkpoints", "checkpoint", s, self.rounds) for s in self.streams]
        if self.stage == "evaluate":
            kinds = [(kind, number) for kind in ("scores", "confusion") for number in range(1, self.rounds + 1)]
            kinds += [("constraints", number) for number in range(1, self.rounds)]
            each = [Need(f"{kind}_{number}", kind, s, number) for kind, number in kinds for s in self.streams]
            simple = Need("baseline", "scores", TEMPORAL_CONVOLUTION)
            return [Need("dataset", "dataset"), Need("prior", "constraints"), simple, *each]
        return []


Uris = dict[Need, str]
Finish = Callable[[Any], None]


def make_replay(target: Target, uris: Uris, cluster: Cluster | None = None) -> Callable[..., Any]:
    """Return the pipeline that repeats one task around artifacts at ``uris``.

    Its parameters: ``stage`` (the stage's configuration, JSON), and what else the stage takes from a run. Without
    ``cluster`` it is for KFP's local run.
    """

    def finish(task: Any) -> None:
        if cluster and target.stage != "train":  # which is dressed where it is made
            cluster.dress(task, target.stage)
        task.set_caching_options(False).set_display_name(target.label)

    match target.stage:
        case "preprocess":
            return _preprocess(finish)
        case "agent":
            return _agent(target, uris, finish)
        case "train":
            return _train(target, uris, finish, cluster)
        case _:
            return _of_whole_run(target, uris, finish)


def _preprocess(finish: Finish) -> Callable[..., Any]:
    @dsl.pipeline(name="skeletonagent-replay-preprocess")
    def replay(stage: str, data: str, data_sha256: str = "") -> None:
        finish(preprocess(data=data, data_sha256=data_sha256, stage=stage, code=source_digest("preprocess")))

    return replay  # type: ignore[no-any-return]


def _agent(target: Target, uris: Uris, finish: Finish) -> Callable[..., Any]:
    code = source_digest("agent")

    @dsl.pipeline(name="skeletonagent-replay-agent")
    def replay(stage: str, agent_url: str = "") -> None:
        if target.round == 0:
            finish(agent_prior(stage=stage, code=code, agent_url=agent_url))
            return
        which = {"stream": target.stream, "round_number": target.round}
        finish(agent(stage=stage, code=code, agent_url=agent_url, **which, **_single(target, uris)))

    return replay  # type: ignore[no-any-return]


def _train(target: Target, uris: Uris, finish: Finish, cluster: Cluster | None) -> Callable[..., Any]:
    @dsl.pipeline(name="skeletonagent-replay-train")
    def replay(
        stage: str,
        gpus: str = "1",
        accelerator: str = "nvidia.com/gpu",
        node_selector: dict = {},  # noqa: B006
        tolerations: list = [],  # noqa: B006
    ) -> None:
        which = {"stream": target.stream, "round_number": target.round}
        placement = Placement(gpus, accelerator, node_selector, tolerations)
        finish(train_on(cluster, placement, stage=stage, **which, **_single(target, uris)))

    return replay  # type: ignore[no-any-return]


def _of_whole_run(target: Target, uris: Uris, finish: Finish) -> Callable[..., Any]:
    component = {"baseline": baseline, "model": model}.get(target.stage) or evaluate_component(target.rounds)
    code = source_digest("evaluate" if target.stage == "evaluate" else "train")
    listed: dict[str, list[str]] = {}
    types = {need.name: need.type for need in target.needs()}
    for need in target.needs():
        if need.listed:
            listed.setdefault(need.name, []).append(uris[need])

    @dsl.pipeline(name=f"skeletonagent-replay-{target.stage}")
    def replay(stage: str) -> None:
        # A list of artifacts can only come from a loop; and an importer takes its URI from plain items alone, for it
        # passes over what selects a part of one (component/importer_launcher.go of KFP): one loop for each list.
        results = {}
        for name, items in listed.items():
            with dsl.ParallelFor(items, name=name.replace("_", "-")) as uri:
                imported = _imported(uri, types[name])
            results[name] = dsl.Collected(imported)
        finish(component(stage=stage, code=code, **_single(target, uris), **results))

    return replay  # type: ignore[no-any-return]


def _single(target: Target, uris: Uris) -> dict[str, Any]:
    """Return the artifacts that are not lists, by the names of the inputs."""
    return {need.name: _imported(uris[need], need.type) for need in target.needs() if not need.listed}


def _imported(uri: Any, kind: type[dsl.Artifact]) -> Any:
    """Import an artifact. No display name: KFP records the importer under it, and then does not find its output."""
    return dsl.importer(artifact_uri=uri, artifact_class=kind, reimport=False).output
