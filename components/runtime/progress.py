"""Progress of long work: a bar on a terminal, events inside a local pipeline run, else a log line now and then."""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Protocol

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from components.runtime import events

LINE_EVERY_S = 10.0
EVENT_EVERY_S = 0.5


class Reporter(Protocol):
    """Takes the number of finished items and what to show beside the bar."""

    def __call__(self, done: int, note: str = "") -> None: ...


@contextmanager
def progress(title: str, total: int, logger: logging.Logger, done: int = 0) -> Iterator[Reporter]:
    """Yield a reporter for ``total`` items. Nothing is printed for work that ends within seconds.

    Args:
        done: so many were finished by an earlier process, and say nothing about the speed of this one.
    """
    if events.listening():
        yield _events(title, total, done)
    elif sys.stderr.isatty():
        with _bar(title, total, done) as reporter:
            yield reporter
    else:
        yield _lines(title, total, logger, done)


@contextmanager
def _bar(title: str, total: int, first: int) -> Iterator[Reporter]:
    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TimeRemainingColumn(),
        TextColumn("{task.fields[note]}"),
    )
    with Progress(*columns, console=Console(stderr=True), transient=True) as bars:
        task = bars.add_task(title, total=total, completed=first, note="")

        def report(done: int, note: str = "") -> None:
            bars.update(task, completed=done, note=note)

        yield report


def _events(title: str, total: int, first: int) -> Reporter:
    last = time.monotonic()

    def report(done: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last >= EVENT_EVERY_S or done == total:
            last = now
            events.emit("progress", title=title, done=done, total=total, note=note)

    events.emit("progress", title=title, done=first, total=total, note="")
    return report


def _lines(title: str, total: int, logger: logging.Logger, first: int) -> Reporter:
    started = last = time.monotonic()

    def report(done: int, note: str = "") -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < LINE_EVERY_S:
            return
        last = now
        left = (now - started) / max(done - first, 1) * (total - done)
        logger.info("%s: %d/%d, about %.0f s left %s", title, done, total, left, note)

    return report
