"""The agent stage as a KFP component."""

from kfp import dsl

from components.runtime.task import image


@dsl.component(base_image=image("agent"), install_kfp_package=False)
def agent(
    stage: str,
    code: str,
    constraints: dsl.Output[dsl.Artifact],
    stream: str = "",
    round_number: int = 0,
    confusion: dsl.Input[dsl.Artifact] = None,
    previous: dsl.Input[dsl.Artifact] = None,
):
    """Ask what tells the classes apart: the prior once, then what each round of training confused.

    Args:
        stage: Configuration of the stage (JSON).
        code: Digest of the stage's source, so that the cache knows a change of code.
        constraints: Per class a description, its embedding and the critical joints.
        stream: Stream whose confusion this is; empty for the prior.
        round_number: Round of training that this follows; 0 for the prior.
        confusion: Who was taken for whom in that round; none for the prior.
        previous: Constraints of the round before, which stand where there is no usable answer.
    """
    from components.runtime.task import describe, task

    with task(f"agent {stream} round {round_number}" if round_number else "agent prior"):
        from pathlib import Path

        from components.agent import core
        from components.contracts.config import AgentStage, parse_section

        core.run_round(
            parse_section(AgentStage, stage),
            Path(constraints.path),
            stream=stream,
            round_number=round_number,
            confusion=Path(confusion.path) if confusion else None,
            previous=Path(previous.path) if previous else None,
        )
        constraints.metadata.update(describe(constraints.path))
