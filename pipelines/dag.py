"""The pipeline: preprocess → agent (prior) → per stream [train → agent → train → …] → evaluate.

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
from components.train.component import train
from pipelines.configure import configure
from pipelines.source import source_digest

MAX_ROUNDS = 100
"""A guard against typing errors; 100 rounds are 1.5 MB of YAML."""


class Result(NamedTuple):
    """What the pipeline gives back."""

    report: dsl.Artifact


def make_pipeline(rounds: int) -> Callable[..., Any]:
    """Return the pipeline for ``rounds`` rounds, to be compiled or called (which runs it locally).

    Its parameters: ``data`` (path or URI of the pickle), ``data_sha256``, ``config`` (YAML text), ``overrides``
    (dotted keys that replace values of the config) and ``agent_url`` (of the agent service; empty: the agent's
    tasks do its work themselves). Its output is the ``report`` artifact.
    """
    if not 1 <= rounds <= MAX_ROUNDS:
        raise InputError(f"rounds: found {rounds}, expected 1 to {MAX_ROUNDS}")
    stream_rounds = _stream_rounds(rounds)
    evaluate = evaluate_component(rounds)

    @dsl.pipeline(name="skeletonagent", description=f"Pickle of skeletons to report, {rounds} rounds")
    def skeletonagent(
        data: str,
        config: str,
        data_sha256: str = "",
        overrides: dict = {},  # noqa: B006
        agent_url: str = "",
    ) -> Result:
        configured = configure(config=config, overrides=overrides, rounds=rounds, code=source_digest())
        parts = configured.outputs
        packed = preprocess(
            data=data, data_sha256=data_sha256, stage=parts["preprocess"], code=source_digest("preprocess")
        )
        prior = agent_prior(stage=parts["agent"], code=source_digest("agent"), agent_url=agent_url)
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
            )
        results = {name: dsl.Collected(trained.outputs[name]) for name in _result_names(rounds)}
        evaluated = evaluate(
            stage=parts["evaluate"],
            code=source_digest("evaluate"),
            prior=prior.outputs["constraints"],
            **results,
        )
        return Result(report=evaluated.outputs["report"])

    return skeletonagent


def _result_names(rounds: int) -> list[str]:
    """Return the outputs of one stream; no agent follows the last round, so that has no constraints."""
    kinds = {"scores": rounds, "confusion": rounds, "constraints": rounds - 1}
    return [f"{kind}_{number}" for kind, last in kinds.items() for number in range(1, last + 1)]


def _stream_rounds(rounds: int) -> Callable[..., Any]:
    """Return the sub-pipeline that takes one stream through all rounds."""
    Results = NamedTuple("Results", [(name, dsl.Artifact) for name in _result_names(rounds)])  # type: ignore[misc]

    @dsl.pipeline(name="stream-rounds")
    def stream_rounds(
        stream: str,
        train_stage: str,
        agent_stage: str,
        agent_url: str,
        dataset: dsl.Input[dsl.Dataset],
        prior: dsl.Input[dsl.Artifact],
    ) -> Results:
        constraints = prior
        previous: dict[str, Any] = {}
        results: dict[str, Any] = {}
        for number in range(1, rounds + 1):
            trained = train(
                stage=train_stage,
                code=source_digest("train"),
                stream=stream,
                round_number=number,
                dataset=dataset,
                constraints=constraints,
                **previous,
            ).set_display_name(f"train round {number}")
            previous = {"previous": trained.outputs["checkpoint"]}
            results[f"scores_{number}"] = trained.outputs["scores"]
            results[f"confusion_{number}"] = trained.outputs["confusion"]
            if number == rounds:
                break
            asked = agent(
                stage=agent_stage,
                code=source_digest("agent"),
                stream=stream,
                round_number=number,
                confusion=trained.outputs["confusion"],
                previous=constraints,
                agent_url=agent_url,
            ).set_display_name(f"agent round {number}")
            constraints = asked.outputs["constraints"]
            results[f"constraints_{number}"] = constraints
        return Results(**results)

    return stream_rounds
