"""Prometheus metrics of a running stage, served while the stage works where ``METRICS_PORT`` is set."""

from __future__ import annotations

import os

from prometheus_client import start_http_server

from components.contracts.errors import InputError


def serve_metrics() -> None:
    """Serve ``/metrics`` on the port named by ``METRICS_PORT``; without the variable do nothing."""
    port = os.environ.get("METRICS_PORT", "")
    if not port:
        return
    if not port.isdigit() or not 0 < int(port) < 65536:
        raise InputError(f"METRICS_PORT: found {port!r}, expected a port number from 1 to 65535")
    start_http_server(int(port))
