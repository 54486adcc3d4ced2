"""Prometheus metrics of a running stage, served while the stage works where ``METRICS_PORT`` is set."""

from __future__ import annotations

import os

from prometheus_client import start_http_server

from components.contracts.errors import InputError

TENSORBOARD_VARIABLE, MLFLOW_VARIABLE = "SKELETONAGENT_TENSORBOARD", "MLFLOW_TRACKING_URI"
"""A folder, and an MLflow server or folder, that get the epochs of every training in a pipeline."""
RUN_VARIABLE = "SKELETONAGENT_RUN"
"""Name of the pipeline's run, by which its trainings are told from others there."""


def serve_metrics() -> None:
    """Serve ``/metrics`` on the port named by ``METRICS_PORT``; without the variable do nothing."""
    port = os.environ.get("METRICS_PORT", "")
    if not port:
        return
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"METRICS_PORT: found {port!r}, expected a port number from 1 to 65535")
    start_http_server(int(port))
