"""The agent stage as KFP components: the prior, once, and what follows a round of training.

They are two, not one with optional inputs: where a name stands both inside and outside of a sub-pipeline, KFP
numbers its uses anew at every compilation, and the local cache, which goes by these names, would miss.
"""

from kfp import dsl

from components.runtime.task import image


@dsl.component(base_image=image("agent"), install_kfp_package=False)
def agent_prior(stage: str, code: str, constraints: dsl.Output[dsl.Artifact], agent_url: str = ""):
    """Say what tells the classes apart, before any training.

    Args:
        stage: Configuration of the stage (JSON).
        code: Digest of the stage's source, so that the cache knows a change of code.
        constraints: Per class a description, its embedding and the critical joints.
        agent_url: URL of the agent service; empty: this task does the work itself.
    """
    from components.runtime.task import describe, task

    with task("agent prior", "agent", code):
        from pathlib import Path

        from components.agent.round import Round
        from components.agent.rounds import make_round, memory_of_environment
        from components.contracts.config import AgentStage, parse_section

        section = parse_section(AgentStage, stage)
        make_round(Round(section), Path(constraints.path), agent_url=agent_url, cache=memory_of_environment())
        constraints.metadata.update(describe(constraints.path))


@dsl.component(base_image=image("agent"), install_kfp_package=False)
def agent(
    stage: str,
    code: str,
    stream: str,
    round_number: int,
    confusion: dsl.Input[dsl.Artifact],
    previous: dsl.Input[dsl.Artifact],
    constraints: dsl.Output[dsl.Artifact],
    agent_url: str = "",
):
    """Ask what tells the classes apart that a round of training confused.

    Args:
        stage: Configuration of the stage (JSON).
        code: Digest of the stage's source, so that the cache knows a change of code.
        stream: j, b, k, jm, bm or km.
        round_number: Round of training that this follows, from 1.
        confusion: Who was taken for whom in that round.
        previous: Constraints that guided that round; they stand where there is no usable answer.
        constraints: Per class a description, its embedding and the critical joints.
        agent_url: URL of the agent service; empty: this task does the work itself.
    """
    from components.runtime.task import describe, task

    with task(f"agent {stream} round {round_number}", "agent", code):
        from pathlib import Path

        from components.agent.round import Round
        from components.agent.rounds import make_round, memory_of_environment
        from components.contracts.config import AgentStage, parse_section

        section = parse_section(AgentStage, stage)
        what = Round(section, stream, round_number, Path(confusion.path), Path(previous.path))
        make_round(what, Path(constraints.path), agent_url=agent_url, cache=memory_of_environment())
        constraints.metadata.update(describe(constraints.path))
