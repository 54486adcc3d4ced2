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
    from components.evaluate.component import evaluate_component
    from components.runtime.cli import Exchange
    from components.runtime.task import task

    with task("evaluate", "evaluate", code), Exchange() as exchange:
        from typing import Any

        from kfp import dsl

        def fetched(uri):
            return dsl.Artifact(uri=str(exchange.input(uri)))

        inputs = {
            name: [fetched(uri) for uri in of] if isinstance(of, list) else fetched(of) for name, of in uris.items()
        }
        outputs = {"report": report, "page": page, "metrics": metrics, "confusion_matrix": confusion_matrix}
        component: Any = evaluate_component(rounds)
        component.python_func(stage=stage, code=code, **inputs, **outputs)
