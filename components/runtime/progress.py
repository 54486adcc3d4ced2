"""Progress of long work: a bar on a terminal, a log line now and then where there is none."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

LINE_EVERY_S = 10.0


class Reporter(Protocol):
    """Takes the number of finished items and what to show beside the bar."""

    def __call__(self, done: int, note: str = "") -> None: ...


@contextmanager
def progress(title: str, total: int, logger: logging.Logger) -> Iterator[Reporter]:
    """Yield a reporter for ``total`` items. Nothing is printed for work that ends within seconds."""
    if sys.stderr.isatty():
        with _bar(title, total) as reporter:
            yield reporter
    else:
        yield _lines(title, total, logger)


@contextmanager
def _bar(title: str, total: int) -> Iterator[Reporter]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=total, note="")

        def report(done: int, note: str = "") -> None:
            bars.update(task, completed=done, note=note)

        yield report


def _lines(title: str, total: int, logger: logging.Logger) -> Reporter:
    started = last = time.monotonic()

    def report(done: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LINE_EVERY_S:
            return
        last = now
        left = (now - started) / max(done, 1) * (total - done)
        logger.info("%s: %d/%d, about %.0f s left %s", title, done, total, left, note)

    return report
