"""One logger for all stages: short lines on stderr, so that stdout stays free for results."""

from __future__ import annotations

import logging
import os
import sys

LOGGER = "skeletonagent"


def setup_logging() -> None:
    """Send the project's log lines to stderr at the level of ``SKELETONAGENT_LOG`` (default ``INFO``)."""
    logger = logging.getLogger(LOGGER)
    if logger.handlers:
        return
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(logging.Formatter("%(asctime)s %(levelname).1s %(name)s: %(message)s", "%H:%M:%S"))
    logger.addHandler(handler)
    logger.setLevel(os.environ.get("SKELETONAGENT_LOG", "INFO").upper())
    logger.propagate = False


def stage_logger(stage: str) -> logging.Logger:
    """Return the logger of a stage."""
    return logging.getLogger(f"{LOGGER}.{stage}")
