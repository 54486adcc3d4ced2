"""What can be watched of a running round: a bar or log lines, Prometheus gauges, a JSONL log, TensorBoard, MLflow.

``SKELETONAGENT_TENSORBOARD`` and ``MLFLOW_TRACKING_URI`` ask for the last two where no option can, as in a pipeline.

Times and speeds stand here only: an artifact holds nothing that differs between two equal runs.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Protocol

import torch
from prometheus_client import Gauge

from components.contracts.errors import InputError
from components.contracts.history import EpochRecord
from components.runtime.logs import stage_logger
from components.runtime.metrics import TENSORBOARD_VARIABLE, serve_metrics
from components.runtime.progress import progress
from components.train.training import mlflow_run

LOG = stage_logger("train")
_LABELS = ("stream", "round")
EPOCH = Gauge("skeletonagent_train_epoch", "Epochs done of the whole schedule", _LABELS)
LOSS = Gauge("skeletonagent_train_loss", "Training loss, mean of the last epoch", _LABELS)
TOP1 = Gauge("skeletonagent_train_top1_ratio", "Training top-1 accuracy of the last epoch", _LABELS)
TEST_TOP1 = Gauge("skeletonagent_train_test_top1_ratio", "Test top-1 accuracy, where epochs are tested", _LABELS)
RATE = Gauge("skeletonagent_train_samples_per_second", "Training samples per second in the last epoch", _LABELS)
LEARNING_RATE = Gauge("skeletonagent_train_learning_rate", "Learning rate at the end of the last epoch", _LABELS)
GPU_MEMORY = Gauge("skeletonagent_train_gpu_memory_bytes", "Most GPU memory in use so far, 0 on a CPU", _LABELS)


@dataclass(frozen=True)
class Loggers:
    """Where else epochs are written: ``log``, a JSONL file that is appended to; ``tensorboard``, a folder."""

    log: Path | None = None
    tensorboard: Path | None = None


NO_LOGGERS = Loggers()


@dataclass(frozen=True)
class RoundInfo:
    """What is watched: the round's epochs (so many are done before the first), their steps, samples per epoch."""

    stream: str
    round: int
    epochs: range
    steps: int
    samples: int


class Callback:
    """Takes every step, and the record of every epoch."""

    def step(self) -> None:
        """Note that a step is done."""

    def epoch(self, record: EpochRecord) -> None:
        """Note that an epoch is done."""


@dataclass(frozen=True)
class EpochMetrics:
    """An epoch's record with what is no part of any artifact: seconds, samples per second, bytes on the GPU."""

    record: EpochRecord
    seconds: float
    rate: float
    gpu_memory: int


Sink = Callable[[EpochMetrics], None]


@contextmanager
def watch(info: RoundInfo, done: int, loggers: Loggers) -> Iterator[Callback]:
    """Show a round from epoch ``done`` on, and yield what takes its steps and epochs.

    Raises:
        InputError: the log or the TensorBoard files cannot be written.
    """
    serve_metrics()
    with ExitStack() as stack:
        sinks: list[Sink] = [_gauges(info)]
        if loggers.log is not None:
            sinks.append(stack.enter_context(_jsonl(info, loggers.log)))
        if folder := loggers.tensorboard or os.environ.get(TENSORBOARD_VARIABLE):
            sinks.append(stack.enter_context(_tensorboard(info, Path(folder))))
        if mlflow_run.wanted():
            sinks.append(stack.enter_context(_mlflow(info)))
        title = f"train {info.stream} round {info.round}"
        report = stack.enter_context(
            progress(title, len(info.epochs) * info.steps, LOG, (done - info.epochs.start) * info.steps)
        )
        yield _Shown(info, done, report, sinks)


class _Report(Protocol):
    def __call__(self, done: int, note: str = "") -> None: ...


class _Shown(Callback):
    def __init__(self, info: RoundInfo, done: int, report: _Report, sinks: list[Sink]) -> None:
        self._info, self._report, self._sinks = info, report, sinks
        self._steps = (done - info.epochs.start) * info.steps
        self._note = f"epoch {done + 1}/{info.epochs.stop}"
        self._began = time.monotonic()

    def step(self) -> None:
        self._steps += 1
        self._report(self._steps, self._note)

    def epoch(self, record: EpochRecord) -> None:
        now = time.monotonic()
        seconds, self._began = max(now - self._began, 1e-9), now
        memory = torch.cuda.max_memory_allocated() if torch.cuda.is_available() else 0
        measured = EpochMetrics(record, seconds, self._info.samples / seconds, memory)
        for sink in self._sinks:
            sink(measured)
        tested = "" if record.test_top1 is None else f", test {record.test_top1:.1%}"
        self._note = (
            f"epoch {record.epoch}/{self._info.epochs.stop}: loss {record.loss:.3f}, "
            f"train top-1 {record.top1:.1%}{tested}, {measured.rate:.0f} clips/s"
        )
        self._report(self._steps, self._note)


def _gauges(info: RoundInfo) -> Sink:
    labels = (info.stream, str(info.round))

    def seen(measured: EpochMetrics) -> None:
        record = measured.record
        EPOCH.labels(*labels).set(record.epoch)
        LOSS.labels(*labels).set(record.loss)
        TOP1.labels(*labels).set(record.top1)
        RATE.labels(*labels).set(measured.rate)
        LEARNING_RATE.labels(*labels).set(record.learning_rate)
        GPU_MEMORY.labels(*labels).set(measured.gpu_memory)
        if record.test_top1 is not None:
            TEST_TOP1.labels(*labels).set(record.test_top1)

    return seen


@contextmanager
def _jsonl(info: RoundInfo, path: Path) -> Iterator[Sink]:
    """Append one line per epoch. After a kill the epoch that was not saved any more stands there twice."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        stream = path.open("a", encoding="utf-8", buffering=1)
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", at=path) from None

    def seen(measured: EpochMetrics) -> None:
        line: dict[str, Any] = {"time": datetime.now(UTC).isoformat(timespec="milliseconds"), "stream": info.stream}
        line |= measured.record.model_dump()
        line |= {"seconds": round(measured.seconds, 3), "clips_per_second": round(measured.rate, 1)}
        stream.write(json.dumps(line | {"gpu_memory_bytes": measured.gpu_memory}) + "\n")

    with stream:
        yield seen


@contextmanager
def _tensorboard(info: RoundInfo, folder: Path) -> Iterator[Sink]:
    try:
        from tensorboardX import SummaryWriter
    except ImportError:
        raise InputError("TensorBoard: needs the package tensorboardX: pip install tensorboardX") from None
    try:
        writer = SummaryWriter(str(folder / f"{info.stream}-r{info.round}"))
    except OSError as error:
        raise InputError(f"cannot be written: {error.strerror}", at=folder) from None

    def seen(measured: EpochMetrics) -> None:
        for name, value in _values(measured).items():
            writer.add_scalar(f"train/{name}", value, measured.record.epoch)
        writer.flush()

    try:
        yield seen
    finally:
        writer.close()


@contextmanager
def _mlflow(info: RoundInfo) -> Iterator[Sink]:
    about = {"stream": info.stream, "round": info.round, "samples": info.samples}
    with mlflow_run.mlflow_run(f"{info.stream}-r{info.round}", about) as log:
        yield lambda measured: log(_values(measured), measured.record.epoch)


def _values(measured: EpochMetrics) -> dict[str, float]:
    values = measured.record.model_dump(exclude={"epoch", "round"}, exclude_none=True)
    return values | {"clips_per_second": measured.rate}
