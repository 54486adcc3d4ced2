"""The pipeline as command lines of its stages, in an order in which they can run one by one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

from components.contracts.config import Experiment


@dataclass(frozen=True)
class CommandLine:
    """One task: ``name`` is what people see, such as "train j round 1"; ``output`` is the URI of what it writes.

    ``command``: of the stage's command line.
    """

    name: str
    stage: str
    arguments: tuple[str, ...]
    output: str
    command: str = "run"

    def words(self, python: str, config: str) -> list[str]:
        """Return the command; ``python`` is the interpreter, ``config`` the URI of the experiment."""
        ends = ("--config", config, "--output", self.output)
        return [python, "-m", f"components.{self.stage}", self.command, *self.arguments, *ends]


def command_lines(experiment: Experiment, data: str, prefix: str) -> Iterator[CommandLine]:
    """Yield the tasks of an experiment.

    Args:
        data: URI of the skeletons.
        prefix: folder or ``s3://`` URI below which every artifact lies.
    """
    dataset, rounds = f"{prefix}/dataset", range(1, experiment.rounds + 1)
    yield CommandLine("preprocess", "preprocess", (data,), dataset)
    yield CommandLine("baseline", "train", (dataset,), f"{prefix}/baseline", "baseline")
    yield CommandLine("agent prior", "agent", (), f"{prefix}/constraints-0")
    told = [f"{prefix}/constraints-0"]
    for stream in experiment.streams:
        constraints, checkpoint = told[0], ""
        for number in rounds:
            turn: tuple[str, ...] = ("--stream", stream, "--round", str(number))
            result = f"{prefix}/{stream}-{number}"
            before = ("--previous", checkpoint) if checkpoint else ()
            arguments = (*turn, "--dataset", dataset, "--constraints", constraints, *before)
            yield CommandLine(f"train {stream} round {number}", "train", arguments, result)
            checkpoint = f"{result}/checkpoint"
            if number < experiment.rounds:
                arguments = (*turn, "--confusion", f"{result}/confusion", "--previous", constraints)
                constraints = f"{prefix}/constraints-{stream}-{number}"
                told.append(constraints)
                yield CommandLine(f"agent {stream} round {number}", "agent", arguments, constraints)
    results = [f"{prefix}/{stream}-{number}" for stream in experiment.streams for number in rounds]
    inputs = [("--scores", f"{result}/scores") for result in results]
    inputs += [("--confusion", f"{result}/confusion") for result in results]
    inputs += [("--constraints", constraints) for constraints in told]
    inputs += [("--dataset", dataset), ("--baseline", f"{prefix}/baseline")]
    yield CommandLine("evaluate", "evaluate", tuple(word for pair in inputs for word in pair), f"{prefix}/report")
