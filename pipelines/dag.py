"""The pipeline: preprocess → agent (prior) → per stream [train → agent → train → …] → evaluate, and the model.

Beside the streams a baseline is trained, which evaluate holds them against.

KFP has no loop whose turns follow each other, so a pipeline is made for a number of rounds; its rounds are
unrolled within a sub-pipeline for one stream, and a single ParallelFor runs that for every stream.
"""

from collections.abc import Callable
from typing import Any, NamedTuple

from kfp import dsl

from components.agent.component import agent, agent_prior
from components.contracts.errors import InputError
from components.evaluate.component import evaluate_component
from components.preprocess.component import preprocess
from components.runtime.experiments import presets_digest
from components.runtime.source import source_digest
from components.train.component import baseline, model, train, train_job
from pipelines.configure import configure
from pipelines.parameters import described
from pipelines.platform import Cluster, Placement, TrainingKind

MAX_ROUNDS = 100
"""A guard against typing errors; 100 rounds are 1.5 MB of YAML."""


class Result(NamedTuple):
    """What the pipeline gives back."""

    report: dsl.Artifact
    model: dsl.Model


def make_pipeline(rounds: int, cluster: Cluster | None = None) -> Callable[..., Any]:
    """Return the pipeline for ``rounds`` rounds, to be compiled or called (which runs it locally).

    ``cluster`` dresses its tasks for Kubernetes; without it the pipeline is for the local run, which honours
    retries (a user's mistake would be repeated three times) and refuses much of the rest.
    """
    if not 1 <= rounds <= MAX_ROUNDS:
        raise InputError(f"rounds: found {rounds}, expected 1 to {MAX_ROUNDS}")
    stream_rounds = _stream_rounds(rounds, cluster)
    evaluate = evaluate_component(rounds)
    dress = cluster.dress if cluster else _undressed

    def skeletonagent(
        data: str,
        config: str,
        data_sha256: str = "",
        overrides: dict = {},  # noqa: B006
        agent_url: str = "",
        streams: str = "",
        gpus: str = "1",
        accelerator: str = "nvidia.com/gpu",
        node_selector: dict = {},  # noqa: B006
        tolerations: list = [],  # noqa: B006
    ) -> Result:
        """From a pickle of skeletons to a report.

        Args:
            data: URI of the skeletons, such as s3://bucket/my.pkl: a pickle, a folder or an archive.
            config: The experiment: the name of a preset, such as nw_ucla; s3://bucket/my.yaml, best with
                @sha256:… after it, or a new content under the old name is not seen by the cache; or YAML text.
            data_sha256: SHA-256 of the data; give it, and new data under the same name are seen by the cache.
            overrides: Values of the experiment to replace, by dotted key, such as {"train.epochs": 40, "seed": 1}, or
                {"agent.provider": "openai", "agent.model": "gpt-4o"} for an agent that asks an LLM.
            agent_url: URL of the agent service, such as http://skeletonagent-agent:8080. Empty: no service.
            streams: Streams to train, such as j,b,k,jm,bm,km. Empty: the experiment's.
            gpus: GPUs of each training task; 0 trains on the CPU.
            accelerator: Resource name of the GPU, such as nvidia.com/gpu or nvidia.com/mig-3g.40gb.
            node_selector: Labels of the nodes to train on, such as {"nvidia.com/gpu.product": "NVIDIA-H100"}.
            tolerations: Taints that training tolerates, such as [{"key": "nvidia.com/gpu", "operator": "Exists"}].

        Returns:
            report: report.html for people, metrics.json for machines.
            model: The last network of every stream, and their weights: what predict takes.
        """
        configured = dress(
            configure(
                config=config,
                overrides=overrides,
                rounds=rounds,
                code=source_digest(),
                presets=presets_digest(),
                streams=streams,
            ),
            "configure",
        )
        parts = configured.outputs
        packed = dress(
            preprocess(data=data, data_sha256=data_sha256, stage=parts["preprocess"], code=source_digest("preprocess")),
            "preprocess",
        )
        prior = dress(agent_prior(stage=parts["agent"], code=source_digest("agent"), agent_url=agent_url), "agent")
        simple = dress(
            baseline(stage=parts["baseline"], code=source_digest("train"), dataset=packed.outputs["dataset"]),
            "baseline",
        )
        # What a stream needs of the config travels in its item: within a loop, KFP's local runner replaces every
        # parameter that comes from a task outside of it by the item. (Parameters of the pipeline it leaves alone.)
        with dsl.ParallelFor(parts["Output"], name="streams") as stream:
            trained = stream_rounds(
                stream=stream.stream,
                train_stage=stream.train,
                agent_stage=stream.agent,
                agent_url=agent_url,
                dataset=packed.outputs["dataset"],
                prior=prior.outputs["constraints"],
                gpus=gpus,
                accelerator=accelerator,
                node_selector=node_selector,
                tolerations=tolerations,
            )
        results = {name: dsl.Collected(trained.outputs[name]) for name in _result_names(rounds)}
        evaluated = dress(
            evaluate(
                stage=parts["evaluate"],
                code=source_digest("evaluate"),
                dataset=packed.outputs["dataset"],
                prior=prior.outputs["constraints"],
                baseline=simple.outputs["scores"],
                **results,
            ),
            "evaluate",
        )
        joined = dress(
            model(
                stage=parts["evaluate"],
                code=source_digest("train"),
                checkpoints=dsl.Collected(trained.outputs["checkpoint"]),
            ),
            "model",
        )
        return Result(report=evaluated.outputs["report"], model=joined.outputs["model"])

    summary = f"From a pickle of skeletons to a report, in {rounds} rounds of training and asking."
    return dsl.pipeline(name="skeletonagent", description=described(skeletonagent, summary))(skeletonagent)  # type: ignore[no-any-return]


def _undressed(task: Any, _stage: str) -> Any:
    """Leave a task as it is, for the local run."""
    return task


def train_on(cluster: Cluster | None, placement: Placement, **inputs: Any) -> Any:
    """Return the task of one round: in a pod of its own, in a TrainJob, or (without a cluster) in the local run."""
    inputs["code"] = source_digest("train")
    if not cluster:
        return train(**inputs)
    if cluster.trainer is TrainingKind.TRAINJOB:
        where = {"nodes": cluster.nodes, "gpus": placement.gpus, "accelerator": placement.accelerator}
        return cluster.dress(train_job(**inputs, **where), "train-job")
    return cluster.place(cluster.dress(train(**inputs), "train"), placement)


def _result_names(rounds: int) -> list[str]:
    """Return what evaluate takes of one stream; no agent follows the last round, so that has no constraints."""
    kinds = {"scores": rounds, "confusion": rounds, "constraints": rounds - 1}
    return [f"{kind}_{number}" for kind, last in kinds.items() for number in range(1, last + 1)]


def _stream_rounds(rounds: int, cluster: Cluster | None) -> Callable[..., Any]:
    """Return the sub-pipeline that takes one stream through all rounds.

    Where the training runs are parameters of its own: used directly within a loop, such a parameter of the pipeline
    would compile into a reference to nothing.
    """
    dress = cluster.dress if cluster else _undressed
    fields = [(name, dsl.Artifact) for name in _result_names(rounds)]
    Results = NamedTuple("Results", [("checkpoint", dsl.Model), *fields])  # type: ignore[misc]

    @dsl.pipeline(name="stream-rounds")
    def stream_rounds(
        stream: str,
        train_stage: str,
        agent_stage: str,
        agent_url: str,
        dataset: dsl.Input[dsl.Dataset],
        prior: dsl.Input[dsl.Artifact],
        gpus: str,
        accelerator: str,
        node_selector: dict,
        tolerations: list,
    ) -> Results:
        placement = Placement(gpus, accelerator, node_selector, tolerations)
        constraints = prior
        previous: dict[str, Any] = {}
        results: dict[str, Any] = {}
        for number in range(1, rounds + 1):
            trained = train_on(
                cluster,
                placement,
                stage=train_stage,
                stream=stream,
                round_number=number,
                dataset=dataset,
                constraints=constraints,
                **previous,
            ).set_display_name(f"train round {number}")
            results["checkpoint"] = previous["previous"] = trained.outputs["checkpoint"]
            results[f"scores_{number}"] = trained.outputs["scores"]
            results[f"confusion_{number}"] = trained.outputs["confusion"]
            if number == rounds:
                break
            asked = dress(
                agent(
                    stage=agent_stage,
                    code=source_digest("agent"),
                    stream=stream,
                    round_number=number,
                    confusion=trained.outputs["confusion"],
                    previous=constraints,
                    agent_url=agent_url,
                ).set_display_name(f"agent round {number}"),
                "agent",
            )
            constraints = asked.outputs["constraints"]
            results[f"constraints_{number}"] = constraints
        return Results(**results)

    return stream_rounds
