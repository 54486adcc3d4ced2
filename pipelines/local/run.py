"""Runs the pipeline on this machine: KFP's subprocess runner, made readable, interruptible and cached.

Everything lies below one folder, ``runs`` by default::

    runs/<experiment>/report.html, metrics.json, predictions.npz     the result
    runs/<experiment>/pipeline.log                  everything that KFP and the stages printed
    runs/<experiment>/resume/                       the state of rounds that were interrupted
    runs/artifacts/, runs/cache/                    the artifacts of all runs, and which inputs made them
    runs/llm/                                       what an LLM was asked and answered: the same question is free
"""

from __future__ import annotations

import builtins
import contextlib
import fcntl
import logging
import os
import re
import shutil
import signal
import sys
import warnings
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO

from kfp import local
from rich.console import Console

from components.agent.llm.cache import VARIABLE as LLM_CACHE_VARIABLE
from components.contracts import report as report_contract
from components.contracts.config import Experiment, load_experiment
from components.contracts.errors import InputError
from components.preprocess.readers.files import digest as data_digest
from components.runtime import events
from components.runtime.task import RESUME_VARIABLE
from pipelines.dag import make_pipeline
from pipelines.local.display import Display
from pipelines.platform import ALLOCATOR

PARALLEL_TASKS = 2
"""KFP's local runner never runs more tasks at once."""

_CACHE_HIT = re.compile(r"Task (\S+?)(?:-\d+)? cache hit")


class StageError(Exception):
    """A stage failed by a defect, or was killed: one line; the details are in the log."""


@dataclass(frozen=True)
class Request:
    """What to run.

    ``data``: a file or folder that preprocess reads; ``overrides``: dotted keys that replace values of the config;
    ``agent_url``: the agent service that does the agent's work, empty for none.
    """

    data: Path
    config: Path
    overrides: dict[str, Any]
    root: Path = Path("runs")
    agent_url: str = ""


@dataclass(frozen=True)
class Workplace:
    """Where the tasks run: KFP's runner, the agent service that they call (empty: none), and what ends them all."""

    runner: local.SubprocessRunner | local.DockerRunner
    agent_url: str
    stop: Callable[[], None]


Place = Callable[[Request, Experiment], contextlib.AbstractContextManager[Workplace]]


@contextlib.contextmanager
def processes(request: Request, experiment: Experiment) -> Iterator[Workplace]:
    """Run each task in a process of this machine; those notice themselves when nobody reads their output."""
    yield Workplace(local.SubprocessRunner(use_venv=False), request.agent_url, lambda: None)


def run(request: Request, console: Console, place: Place = processes) -> Path:
    """Run the pipeline and return the path of the report.

    Raises:
        InputError: the config, the data or an answer of a stage to them is wrong.
        StageError: a stage failed for another reason.
    """
    experiment = load_experiment(request.config, request.overrides)
    if not request.data.exists():
        raise InputError("no such file or folder", at=request.data)
    home = request.root / experiment.name
    with only_run(home, experiment.name), (home / "pipeline.log").open("w", encoding="utf-8", buffering=1) as log:
        _announce(experiment, log, console)
        _set_environment(experiment, home)
        with (
            Display(home / "events.jsonl", console) as display,
            place(request, experiment) as workplace,
            _quiet(log, display),
            _ends_on_signals(display, workplace.stop),
        ):
            report = _execute(request, experiment, workplace)
        if report is None or display.errors:
            raise _failure(display, log)
    if display.cached:
        names = ", ".join(f"{name} × {count}" if count > 1 else name for name, count in display.cached.items())
        console.print(f"from the cache: {names}", highlight=False, soft_wrap=True)
    return _publish(report, home, console)


def _announce(experiment: Experiment, log: TextIO, console: Console) -> None:
    protocol = experiment.data.chosen
    label = protocol.label or f"{protocol.train} → {protocol.test}"
    console.print(
        f"experiment {experiment.name}: {len(experiment.data.classes)} classes, {label}; "
        f"streams {', '.join(experiment.streams)}; rounds: {experiment.rounds}; log: {log.name}",
        highlight=False,
        soft_wrap=True,
    )


def _execute(request: Request, experiment: Experiment, workplace: Workplace) -> Path | None:
    """Run the pipeline; None if a task failed."""
    local.init(
        workplace.runner,
        pipeline_root=str(request.root / "artifacts"),
        enable_caching=True,
        cache_root=str(request.root / "cache"),
    )
    pipeline = make_pipeline(experiment.rounds)
    arguments = {
        "data": str(request.data.resolve()),
        "data_sha256": data_digest(request.data),
        "config": request.config.read_text(encoding="utf-8"),
        "overrides": request.overrides,
        "agent_url": workplace.agent_url,
    }
    try:
        return Path(pipeline(**arguments).outputs["report"].path)
    except RuntimeError as error:
        if "finished with status" in str(error):  # KFP names only the task; the task itself said why
            return None
        raise


def _failure(display: Display, log: TextIO) -> Exception:
    if display.errors:
        error = display.errors[0]
        text = f"{error.task}: {error.text}"
        return InputError(text) if error.input else StageError(f"{text} (details: {log.name})")
    if display.running:
        task = next(iter(display.running))
        return StageError(f"{task}: ended without a word: killed, or out of memory? (details: {log.name})")
    return StageError(f"a task could not be started (details: {log.name})")


def _publish(artifact: Path, home: Path, console: Console) -> Path:
    headline = report_contract.open(artifact).metrics.headline
    for name in ("report.html", "metrics.json", report_contract.PREDICTIONS):
        shutil.copyfile(artifact / name, home / name)
    console.print(f"ensemble of {', '.join(headline.streams)}: top-1 {headline.top1:.1%}", highlight=False)
    return home / "report.html"


def _set_environment(experiment: Experiment, home: Path) -> None:
    """Set what the tasks inherit. What the user has set stays."""
    os.environ[events.VARIABLE] = str((home / "events.jsonl").resolve())
    os.environ[RESUME_VARIABLE] = str((home / "resume").resolve())
    os.environ.setdefault(LLM_CACHE_VARIABLE, str((home.parent / "llm").resolve()))
    os.environ.setdefault("OMP_NUM_THREADS", str(threads(experiment)))
    for name, value in ALLOCATOR.items():
        os.environ.setdefault(name, value)


def threads(experiment: Experiment) -> int:
    """Return the threads of one training; their number decides the last bits of the result."""
    return max(1, _cores() // min(PARALLEL_TASKS, len(experiment.streams)))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def only_run(home: Path, name: str) -> Iterator[None]:
    """Make the folder of a run; refuse a second run of the same experiment there, which would get in its way."""
    try:
        home.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"--root: {home.parent}: cannot be written: {error.strerror}") from None
    with (home / "lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError:
            raise InputError(f"another run of {name!r} is in progress in {home}; use --set name=… beside it") from None
        yield


@contextlib.contextmanager
def _quiet(log: TextIO, display: Display) -> Iterator[None]:
    """Send all that KFP prints into the log, and count its cache hits, which it only logs."""
    logger, original_print = logging.getLogger(), builtins.print
    level, handlers = logger.level, logger.handlers[:]

    def count(record: logging.LogRecord) -> bool:
        if hit := _CACHE_HIT.match(record.getMessage()):
            display.cached[hit.group(1)] += 1
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


@contextlib.contextmanager
def _ends_on_signals(display: Display, stop: Callable[[], None]) -> Iterator[None]:
    """On Ctrl-C or SIGTERM end the tasks and this at once: KFP would first start every stream that is waiting."""

    def end(number: int, _frame: Any) -> None:
        stop()
        display.stop()
        display.line("interrupted", "the same command goes on from here", "yellow")
        sys.stdout.flush()
        os._exit(128 + number)

    before: dict[signal.Signals, Callable[..., Any] | int | None] = {}
    for which in (signal.SIGINT, signal.SIGTERM):
        before[which] = signal.signal(which, end)
    try:
        yield
    finally:
        for which, handler in before.items():
            signal.signal(which, handler)
