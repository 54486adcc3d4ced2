"""A round's epochs in MLflow, where ``MLFLOW_TRACKING_URI`` names a server or folder: one MLflow run for each round."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager

from components.contracts.errors import InputError
from components.runtime.metrics import MLFLOW_VARIABLE, RUN_VARIABLE

DEFAULT_EXPERIMENT = "skeletonagent"

LogEpoch = Callable[[Mapping[str, float], int], None]
"""Takes an epoch's values by name, and the epoch's number."""


def wanted() -> bool:
    """Tell whether the environment asks for it."""
    return bool(os.environ.get(MLFLOW_VARIABLE))


@contextmanager
def mlflow_run(name: str, parameters: Mapping[str, object]) -> Iterator[LogEpoch]:
    """Yield what logs an epoch into a new MLflow run; ``MLFLOW_EXPERIMENT_NAME`` is its experiment.

    Raises:
        InputError: the package is missing, or the server refuses.
    """
    os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")  # nobody was asked for it
    try:
        import mlflow
    except ImportError:
        raise InputError("needs the package mlflow-skinny: pip install mlflow-skinny", at=MLFLOW_VARIABLE) from None
    prefix = os.environ.get(RUN_VARIABLE, "")
    try:
        if not os.environ.get("MLFLOW_EXPERIMENT_NAME"):
            mlflow.set_experiment(DEFAULT_EXPERIMENT)
        run = mlflow.start_run(run_name=f"{prefix} {name}".strip())
        mlflow.log_params(dict(parameters))
    except mlflow.exceptions.MlflowException as error:
        raise InputError(f"refused: {' '.join(str(error).split())}", at=MLFLOW_VARIABLE) from None
    with run:
        yield lambda values, epoch: mlflow.log_metrics(dict(values), step=epoch)
