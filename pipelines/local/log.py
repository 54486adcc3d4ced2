"""Where the output of KFP and of the tasks goes while the terminal shows the run: a log of plain text."""

from __future__ import annotations

import builtins
import contextlib
import io
import logging
import re
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

_CACHE_HIT = re.compile(r"Task (\S+?)(?:-\d+)? cache hit")
_NOISE = re.compile(r"^.*(?:Applying expression selector|After expression selector).*\n?", re.MULTILINE)
_LONG = re.compile(r"^(.{600}).+$", re.MULTILINE)
"""KFP prints the whole configuration for every task and again for each of its fields."""
_COLOUR = re.compile(r"\x1b\[[0-9;]*[A-Za-z]")


class PlainLog(io.TextIOBase):
    """A text file without what only a terminal understands, and without KFP's copies of the configuration."""

    def __init__(self, path: Path) -> None:
        self.name = str(path)
        self._file = path.open("w", encoding="utf-8", errors="replace", buffering=1)

    def write(self, text: str) -> int:
        """Write text without its colours; a line is cut after 600 characters."""
        self._file.write(_LONG.sub(r"\1 …", _NOISE.sub("", _COLOUR.sub("", text))))
        return len(text)

    def flush(self) -> None:
        """Hand on what is buffered."""
        if not self._file.closed:
            self._file.flush()

    def close(self) -> None:
        """Close the file."""
        self._file.close()
        super().close()


@contextlib.contextmanager
def everything_into(log: TextIO, cached: Counter[str]) -> Iterator[None]:
    """Send all that KFP prints into the log, and count its cache hits by task, which it only logs."""
    logger, original_print = logging.getLogger(), builtins.print
    level, handlers = logger.level, logger.handlers[:]

    def count(record: logging.LogRecord) -> bool:
        if hit := _CACHE_HIT.match(_COLOUR.sub("", record.getMessage())):
            cached[hit.group(1)] += 1
        return True

    logger.addFilter(count)
    logger.setLevel(logging.INFO)
    logger.handlers[:] = [logging.StreamHandler(log)]
    try:
        with warnings.catch_warnings(), contextlib.redirect_stdout(log), contextlib.redirect_stderr(log):
            warnings.simplefilter("ignore")
            yield
    finally:
        logger.removeFilter(count)
        logger.setLevel(level)
        logger.handlers[:] = handlers
        builtins.print = original_print  # KFP swaps it from several threads and may leave its own behind
