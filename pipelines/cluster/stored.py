"""The evaluate stage around artifacts that are named by their URIs, as KFP component.

The stage takes lists of artifacts, which in KFP only a loop can make, and an importer within a loop takes its URI from
plain items only (``component/importer_launcher.go`` of KFP 2.17 passes over what selects a part of an item): one loop
for every list and an importer in every turn. So this task fetches them itself, with the project's own store.
"""

from kfp import dsl

from components.runtime.task import image


@dsl.component(base_image=image("evaluate"), install_kfp_package=False)
def evaluate_stored(
    stage: str,
    code: str,
    rounds: int,
    uris: dict,
    report: dsl.Output[dsl.Artifact],
    page: dsl.Output[dsl.HTML],
    metrics: dsl.Output[dsl.Metrics],
    confusion_matrix: dsl.Output[dsl.ClassificationMetrics],
):
    """Combine the streams and report on every stream and round, from artifacts in the object store.

    Args:
        stage: Configuration of the stage.
        code: Digest of the stage's source; other code is refused.
        rounds: Rounds of training.
        uris: URI of the dataset and of the prior, and for every list of the stage those of all streams.
        report: report.html, metrics.json.
        page: The report for the UI.
        metrics: Accuracy of the ensemble and of every stream.
        confusion_matrix: Who the ensemble of the last round takes for whom, on the test split.
    """
    from components.runtime.task import describe, task

    with task("evaluate", "evaluate", code):
        import json
        import shutil
        from pathlib import Path

        from components.contracts import report as report_contract
        from components.contracts.config import EvaluateStage, parse_section
        from components.evaluate import core
        from components.evaluate.kfp_outputs import kfp_outputs
        from components.runtime.cli import Exchange

        with Exchange() as exchange:

            def every(kind, last):
                return [exchange.input(uri) for number in range(1, last + 1) for uri in uris[f"{kind}_{number}"]]

            core.evaluate(
                parse_section(EvaluateStage, stage),
                every("scores", int(rounds)),
                every("confusion", int(rounds)),
                [exchange.input(uris["prior"]), *every("constraints", int(rounds) - 1)],
                Path(report.path),
                dataset=exchange.input(uris["dataset"]),
            )
        report.metadata.update(describe(report.path))
        shutil.copyfile(Path(report.path, "report.html"), page.path)
        shown = kfp_outputs(report_contract.open(Path(report.path)).metrics)
        for name, value in shown.numbers.items():
            metrics.log_metric(name, value)
        confusion_matrix.log_confusion_matrix(shown.categories, shown.matrix)
        for artifact in (metrics, confusion_matrix):
            Path(artifact.path).write_text(json.dumps(artifact.metadata))
