"""What can be watched of a running round from outside: Prometheus gauges."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from prometheus_client import Gauge

from components.contracts.history import EpochRecord
from components.runtime.metrics import serve_metrics

_LABELS = ("stream", "round")
EPOCH = Gauge("skeletonagent_train_epoch", "Epochs done of the whole schedule", _LABELS)
LOSS = Gauge("skeletonagent_train_loss", "Training loss, mean of the last epoch", _LABELS)
TOP1 = Gauge("skeletonagent_train_top1_ratio", "Training top-1 accuracy of the last epoch", _LABELS)
RATE = Gauge("skeletonagent_train_samples_per_second", "Training samples per second in the last epoch", _LABELS)

Seen = Callable[[EpochRecord, int], None]


@contextmanager
def watch(stream: str, round_number: int) -> Iterator[Seen]:
    """Serve the gauges (if ``METRICS_PORT`` is set) and yield a function that takes each epoch's record."""
    serve_metrics()
    labels = (stream, str(round_number))
    last = time.monotonic()

    def seen(record: EpochRecord, samples: int) -> None:
        nonlocal last
        now = time.monotonic()
        EPOCH.labels(*labels).set(record.epoch)
        LOSS.labels(*labels).set(record.loss)
        TOP1.labels(*labels).set(record.top1)
        RATE.labels(*labels).set(samples / max(now - last, 1e-9))
        last = now

    yield seen
