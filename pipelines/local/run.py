"""Runs the pipeline on this machine: KFP's subprocess runner, made readable, interruptible and cached.

Everything lies below one folder, ``runs`` by default::

    runs/<name>/report.html, metrics.json, predictions.npz     the result
    runs/<name>/model/                              what predict and export take
    runs/<name>/run.json, uses.jsonl                what was run, when, how long; which artifacts it used
    runs/<name>/pipeline.log                        what KFP and the stages printed
    runs/<name>/resume/                             the state of rounds that were interrupted
    runs/<name>/tmp/                                temporary files, while it runs
    runs/artifacts/, runs/cache/                    the artifacts of all runs, and which inputs made them
    runs/llm/                                       what an LLM was asked and answered: the same question is free

``<name>`` is the experiment's, with a number where another run has it (``pipelines.local.folders``).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TextIO, cast

from kfp import local
from kfp.local.cache import get_local_cache
from rich.console import Console

from components.agent.llm.cache import VARIABLE as LLM_CACHE_VARIABLE
from components.contracts import report as report_contract
from components.contracts.artifact import digest_of, staged
from components.contracts.config import Experiment, load_experiment
from components.contracts.errors import InputError, ResourceError, SkeletonAgentError, UnavailableError
from components.evaluate.report.facts import RunFacts
from components.preprocess.readers.files import digest as data_digest
from components.runtime import events
from components.runtime.metrics import RUN_VARIABLE, TENSORBOARD_VARIABLE
from components.runtime.task import RESUME_VARIABLE
from pipelines.dag import make_pipeline
from pipelines.local import folders
from pipelines.local.display import Display
from pipelines.local.facts import add_facts, command, machine
from pipelines.local.log import PlainLog, everything_into
from pipelines.local.tasks import Processes, started_directly
from pipelines.platform import ALLOCATOR

PARALLEL_TASKS = 2
"""KFP's local runner never runs more tasks at once."""


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
class Result:
    """Where the artifacts lie that the pipeline gives back."""

    report: Path
    model: Path


@dataclass(frozen=True)
class Workplace:
    """Where the tasks run: KFP's runner, the agent service that they call (empty: none), and what ends them all."""

    runner: local.SubprocessRunner | local.DockerRunner
    agent_url: str
    stop: Callable[[], None]


Place = Callable[[Request, Experiment, Path], contextlib.AbstractContextManager[Workplace]]


@contextlib.contextmanager
def processes(request: Request, experiment: Experiment, home: Path) -> Iterator[Workplace]:
    """Run each task in a process of this machine; those notice themselves when nobody reads their output."""
    started = Processes()
    with started_directly(started):
        yield Workplace(local.SubprocessRunner(use_venv=False), request.agent_url, started.stop)


def run(request: Request, console: Console, place: Place = processes) -> Path:
    """Run the pipeline and return the path of the report.

    Raises:
        SkeletonAgentError: the config, the data or an answer of a stage to them is wrong, or a store fails.
        StageError: a stage failed for another reason.
    """
    experiment = load_experiment(request.config, request.overrides)
    if not request.data.exists():
        raise InputError("no such file or folder", at=request.data)
    sha256 = data_digest(request.data)
    record = folders.Record(
        experiment=experiment.name,
        identity=digest_of([experiment.model_dump(mode="json"), sha256]),
        data=str(request.data.resolve()),
        config=str(request.config.resolve()),
        settings=request.overrides,
    )
    with folders.own_folder(request.root, record) as home, contextlib.closing(PlainLog(home / "pipeline.log")) as log:
        record.write(home)
        _announce(experiment, home, console)
        _set_environment(experiment, home)
        display = Display(home / "events.jsonl", console, len(experiment.streams) * experiment.rounds)
        with _recorded(record, home, display):
            with (
                _own_temporary_folder(home),
                display,
                place(request, experiment, home) as workplace,
                everything_into(cast(TextIO, log), display.cached),
                _ends_on_signals(display, workplace.stop, home / folders.TEMPORARY),
            ):
                result = _execute(request, experiment, workplace, home, sha256)
            if result is None or display.errors:
                raise _failure(display, log.name)
            if display.cached:
                names = ", ".join(f"{name} × {count}" if count > 1 else name for name, count in display.cached.items())
                console.print(f"from the cache: {names}", highlight=False, soft_wrap=True)
            record.top1 = _publish(result, home, console)
        add_facts(home / folders.REPORT, _facts(request, place, home, record.seconds))
    return home / folders.REPORT


@contextlib.contextmanager
def _recorded(record: folders.Record, home: Path, display: Display) -> Iterator[None]:
    """Write how the run ended, and how long it took; a run that was served by the cache takes no time."""
    began = time.monotonic()
    try:
        yield
        record.state = "finished"
    except (SkeletonAgentError, StageError) as error:
        record.state, record.error = "failed", str(error)
        raise
    finally:
        if display.finished:
            record.seconds = round(record.seconds + time.monotonic() - began, 1)
        record.write(home)


def _announce(experiment: Experiment, home: Path, console: Console) -> None:
    protocol = experiment.data.chosen
    label = protocol.label or f"{protocol.train} → {protocol.test}"
    console.print(
        f"experiment {experiment.name}: {len(experiment.data.classes)} classes, {label}; "
        f"streams {', '.join(experiment.streams)}; rounds: {experiment.rounds}; log: {home / 'pipeline.log'}",
        highlight=False,
        soft_wrap=True,
    )
    if home.name != experiment.name:
        text = f"another run of this name keeps its report; this one goes to {home}"
        console.print(text, highlight=False, soft_wrap=True)


def _execute(request: Request, experiment: Experiment, workplace: Workplace, home: Path, sha256: str) -> Result | None:
    """Run the pipeline and return where its artifacts are; None if a task failed."""
    local.init(
        workplace.runner,
        pipeline_root=str(request.root / folders.ARTIFACTS),
        enable_caching=True,
        cache_root=str(request.root / folders.CACHE),
    )
    if cache := get_local_cache():
        folders.note_uses(cache, home, (request.root / folders.ARTIFACTS).resolve())
    pipeline = make_pipeline(experiment.rounds)
    arguments = {
        "data": str(request.data.resolve()),
        "data_sha256": sha256,
        "config": request.config.read_text(encoding="utf-8"),
        "overrides": request.overrides,
        "agent_url": workplace.agent_url,
    }
    try:
        outputs = pipeline(**arguments).outputs
        return Result(Path(outputs["report"].path), Path(outputs["model"].path))
    except RuntimeError as error:
        if "finished with status" in str(error):  # KFP names only the task; the task itself said why
            return None
        raise


def _failure(display: Display, log: str) -> Exception:
    if display.errors:
        error = display.errors[0]
        text = f"{error.task}: {error.text}"
        for kind in (InputError, UnavailableError, ResourceError):
            if error.status == kind.exit_status:
                return kind(text)
        return StageError(f"{text} (details: {log})")
    if display.running:
        task = next(iter(display.running))
        return StageError(f"{task}: ended without a word: killed, or out of memory? (details: {log})")
    return StageError(f"a task could not be started (details: {log})")


def _publish(result: Result, home: Path, console: Console) -> float:
    """Put the report and the model into the run's folder; return the ensemble's top-1 accuracy."""
    headline = report_contract.open(result.report).metrics.headline
    with staged(home / folders.MODEL) as scratch:
        shutil.copytree(result.model, scratch, dirs_exist_ok=True, copy_function=_link_or_copy)
    for name in (folders.REPORT, "metrics.json", report_contract.PREDICTIONS):
        shutil.copyfile(result.report / name, home / name)
    console.print(f"ensemble of {', '.join(headline.streams)}: top-1 {headline.top1:.1%}", highlight=False)
    return headline.top1


def _facts(request: Request, place: Place, home: Path, seconds: float) -> RunFacts:
    arguments = (request.data, request.config, request.overrides, request.root, request.agent_url)
    return RunFacts(
        command=command(*arguments, in_containers=place is not processes),
        machine=machine(_cores()),
        seconds=seconds or None,
        model=str(home / folders.MODEL),
    )


def _link_or_copy(source: str, target: str) -> None:
    """Give a file another name, which takes no space; copy it where the file system, or its owner, allows no other."""
    try:
        os.link(source, target)
    except OSError:
        shutil.copyfile(source, target)


def _set_environment(experiment: Experiment, home: Path) -> None:
    """Set what the tasks inherit. What the user has set stays."""
    os.environ[events.VARIABLE] = str((home / "events.jsonl").resolve())
    os.environ[RESUME_VARIABLE] = str((home / "resume").resolve())
    os.environ.setdefault(LLM_CACHE_VARIABLE, str((home.parent / folders.LLM).resolve()))
    os.environ.setdefault(RUN_VARIABLE, home.name)
    if folder := os.environ.get(TENSORBOARD_VARIABLE):
        os.environ[TENSORBOARD_VARIABLE] = str(Path(folder).resolve() / home.name)
    os.environ.setdefault("OMP_NUM_THREADS", str(threads(experiment)))
    for name, value in ALLOCATOR.items():
        os.environ.setdefault(name, value)


def threads(experiment: Experiment) -> int:
    """Return the threads of one training; their number decides the last bits of the result."""
    return max(1, _cores() // min(PARALLEL_TASKS, len(experiment.streams)))


def _cores() -> int:
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


@contextlib.contextmanager
def _own_temporary_folder(home: Path) -> Iterator[None]:
    """Let this process and the tasks keep their temporary files in the run's folder, and leave none behind.

    What a run that was killed left there goes too. The compiler of torch keeps its cache beside the runs.
    """
    folder = home / folders.TEMPORARY
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    os.environ.setdefault("TORCHINDUCTOR_CACHE_DIR", str((home.parent / folders.CACHE / "compiled").resolve()))
    before = os.environ.get("TMPDIR")
    os.environ["TMPDIR"], tempfile.tempdir = str(folder.resolve()), None
    try:
        yield
    finally:
        tempfile.tempdir = None
        os.environ.pop("TMPDIR")
        if before is not None:
            os.environ["TMPDIR"] = before
        shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def _ends_on_signals(display: Display, stop: Callable[[], None], temporary: Path) -> Iterator[None]:
    """On Ctrl-C or SIGTERM end the tasks and this at once: KFP would first start every stream that is waiting."""

    def end(number: int, _frame: Any) -> None:
        stop()
        display.stop()
        shutil.rmtree(temporary, ignore_errors=True)
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
