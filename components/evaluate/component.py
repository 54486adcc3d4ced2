"""The evaluate stage as a KFP component, made for a number of rounds.

KFP can collect one output of a loop into a list, but cannot join the lists of several tasks. The stage takes
the results of every round, so its component has one list input per round and is written for that number.
"""

import linecache
from collections.abc import Callable
from string import Template
from typing import Any

from kfp import dsl

from components.runtime.task import image

_SOURCE = Template('''\
def evaluate(
    stage: str,
    code: str,
    dataset: dsl.Input[dsl.Dataset],
    prior: dsl.Input[dsl.Artifact],
$inputs
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    confusion_matrix: dsl.Output[dsl.ClassificationMetrics],
):
    """Combine the streams and report on every stream and round.

    Args:
        stage: Configuration of the stage (JSON).
        code: Digest of the stage's source, so that the cache knows a change of code.
        dataset: For leaks, training classes and skeletons.
        prior: Constraints of round 0, the same for all streams.
$descriptions
        report: report.html, metrics.json.
        page: The report for the UI.
        metrics: Accuracy of the ensemble and of every stream.
        confusion_matrix: Who the ensemble of the last round takes for whom, on the test split.
    """
    from components.runtime.task import describe, task

    def paths(artifacts):
        from pathlib import Path

        return [Path(artifact.path) for artifact in artifacts]

    with task("evaluate", "evaluate", code):
        import json
        import shutil
        from pathlib import Path

        from components.contracts import report as report_contract
        from components.contracts.config import EvaluateStage, parse_section
        from components.evaluate import core
        from components.evaluate.kfp_outputs import kfp_outputs

        core.evaluate(
            parse_section(EvaluateStage, stage),
            paths([$scores]),
            paths([$confusions]),
            paths([prior, $constraints]),
            Path(report.path),
            dataset=Path(dataset.path),
        )
        report.metadata.update(describe(report.path))
        shutil.copyfile(Path(report.path, "report.html"), page.path)
        shown = kfp_outputs(report_contract.open(Path(report.path)).metrics)
        for name, value in shown.numbers.items():
            metrics.log_metric(name, value)
        confusion_matrix.log_confusion_matrix(shown.categories, shown.matrix)
        for artifact in (metrics, confusion_matrix):
            Path(artifact.path).write_text(json.dumps(artifact.metadata))  # without a file nothing is cached
''')


def evaluate_component(rounds: int) -> Callable[..., Any]:
    """Return the component that evaluates ``rounds`` rounds.

    Its inputs are ``dataset``, ``prior``, and for each round r the lists over streams ``scores_r``, ``confusion_r`` and
    (the last round is followed by no agent) ``constraints_r`` for r < ``rounds``.
    """
    names = {kind: [f"{kind}_{r}" for r in range(1, rounds + 1)] for kind in ("scores", "confusion")}
    names["constraints"] = [f"constraints_{r}" for r in range(1, rounds)]
    every = [name for group in names.values() for name in group]
    source = _SOURCE.substitute(
        inputs="\n".join(f"    {name}: dsl.Input[list[dsl.Artifact]]," for name in every),
        descriptions="\n".join(f"        {name}: Of every stream, after round {name.split('_')[1]}." for name in every),
        scores=_spread(names["scores"]),
        confusions=_spread(names["confusion"]),
        constraints=_spread(names["constraints"]),
    )
    return dsl.component(base_image=image("evaluate"), install_kfp_package=False)(
        _define(f"<evaluate, {rounds} rounds>", source)
    )


def _spread(names: list[str]) -> str:
    return ", ".join(f"*{name}" for name in names)


def _define(file: str, source: str) -> Callable[..., Any]:
    """Define the function such that ``inspect.getsource`` finds its source, which is what KFP ships."""
    linecache.cache[file] = (len(source), None, source.splitlines(keepends=True), file)
    namespace: dict[str, Any] = {"dsl": dsl}
    exec(compile(source, file, "exec"), namespace)
    function: Callable[..., Any] = namespace["evaluate"]
    return function
