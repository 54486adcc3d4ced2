"""The evaluate stage as a KFP component, made for a number of rounds.

KFP can collect one output of a loop into a list, but cannot join the lists of several tasks. The stage takes the
results of every round, so its component has one list input per round, which no fixed signature can say: KFP reads the
signature that ``for_rounds`` puts together. Nor can source be shipped in which they all stand, as KFP ships that of a
lightweight component; the task runs this module instead, which the stage's image holds anyway::

    python3 -m components.evaluate.component --rounds 3 --executor_input '{…}'
"""

import argparse
import functools
import inspect
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

from kfp import dsl
from kfp.dsl.executor import Executor

from components.contracts import report as report_contract
from components.contracts.config import EvaluateStage, parse_section
from components.evaluate import core
from components.evaluate.kfp_outputs import kfp_outputs
from components.runtime.task import describe, image, task

_KNOWN_TO_KFP = "kfp.dsl.executor_main"
"""KFP's local runner takes a command in which this does not stand for a container component, and refuses it."""


def evaluate(
    stage: str,
    code: str,
    dataset: dsl.Input[dsl.Dataset],
    prior: dsl.Input[dsl.Artifact],
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    confusion_matrix: dsl.Output[dsl.ClassificationMetrics],
    baseline: dsl.Input[dsl.Artifact] = None,
    **results: list[dsl.Artifact],
) -> None:
    """Combine the streams and report on every stream and round.

    Args:
        stage: Configuration of the stage (JSON).
        code: Digest of the stage's source, so that the cache knows a change of code.
        dataset: For leaks, training classes and skeletons.
        prior: Constraints of round 0, the same for all streams.
        report: report.html, metrics.json.
        page: The report for the UI.
        metrics: Accuracy of the ensemble and of every stream.
        confusion_matrix: Who the ensemble of the last round takes for whom, on the test split.
        baseline: Scores of another method, to hold the ensemble against; left alone where evaluate.baseline is false.
    """
    with task("evaluate", "evaluate", code):
        section = parse_section(EvaluateStage, stage)
        core.evaluate(
            section,
            _paths("scores", results),
            _paths("confusion", results),
            [Path(prior.path), *_paths("constraints", results)],
            Path(report.path),
            dataset=Path(dataset.path),
            baselines=[Path(baseline.path)] if baseline and section.evaluate.baseline else [],
        )
        report.metadata.update(describe(report.path))
        shutil.copyfile(Path(report.path, "report.html"), page.path)
        shown = kfp_outputs(report_contract.open(Path(report.path)).metrics)
        for name, value in shown.numbers.items():
            metrics.log_metric(name, value)
        confusion_matrix.log_confusion_matrix(shown.categories, shown.matrix)
        for artifact in (metrics, confusion_matrix):
            Path(artifact.path).write_text(json.dumps(artifact.metadata))  # without a file nothing is cached


def _paths(kind: str, results: dict[str, list[dsl.Artifact]]) -> list[Path]:
    """Return where the artifacts of a kind lie, of all rounds and streams."""
    lists = (artifacts for name, artifacts in results.items() if name.startswith(f"{kind}_"))
    return [Path(artifact.path) for artifacts in lists for artifact in artifacts]


def for_rounds(rounds: int) -> Callable[..., None]:
    """Return ``evaluate`` with a signature and a docstring that name the lists of every round.

    They are the lists over streams ``scores_r`` and ``confusion_r`` and (the last round is followed by no agent)
    ``constraints_r`` for r < ``rounds``.
    """
    last = {"scores": rounds, "confusion": rounds, "constraints": rounds - 1}
    names = {f"{kind}_{number}": number for kind, until in last.items() for number in range(1, until + 1)}
    lists = [
        inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, annotation=dsl.Input[list[dsl.Artifact]])
        for name in names
    ]
    said = "".join(f"        {name}: Of every stream, after round {number}.\n" for name, number in names.items())

    @functools.wraps(evaluate)
    def of_these_rounds(**inputs: Any) -> None:
        evaluate(**inputs)

    fixed = [one for one in inspect.signature(evaluate).parameters.values() if one.kind is not one.VAR_KEYWORD]
    # KFP looks at the one when it compiles, and at both when it runs.
    of_these_rounds.__signature__ = inspect.Signature([*fixed, *lists])  # type: ignore[attr-defined]
    of_these_rounds.__annotations__ = {one.name: one.annotation for one in (*fixed, *lists)}
    of_these_rounds.__doc__ = f"{(evaluate.__doc__ or '').rstrip()}\n{said}"
    return of_these_rounds


def evaluate_component(rounds: int) -> Callable[..., Any]:
    """Return the component that evaluates ``rounds`` rounds; its inputs are those of ``for_rounds``."""
    component = dsl.component(base_image=image("evaluate"), install_kfp_package=False)(for_rounds(rounds))
    container = component.component_spec.implementation.container
    # As KFP starts its own: it then imports no more of itself than the image has.
    runtime = ["env", "_KFP_RUNTIME=true", "python3"]
    container.command = [*runtime, "-m", "components.evaluate.component", "--rounds", str(rounds)]
    container.args = ["--in_place_of", _KNOWN_TO_KFP, "--executor_input", dsl.PIPELINE_TASK_EXECUTOR_INPUT_PLACEHOLDER]
    return component


def main() -> None:
    """Run the task, as ``kfp.dsl.executor_main`` does with a component whose source was shipped."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--rounds", type=int, required=True)
    parser.add_argument("--executor_input", type=json.loads, required=True, help="ExecutorInput of KFP (JSON)")
    given, _ = parser.parse_known_args()
    Executor(executor_input=given.executor_input, function_to_execute=for_rounds(given.rounds)).execute()


if __name__ == "__main__":
    main()
