"""The tasks of a run, put together from what KFP reports and from the run's pods.

KFP lists every node of Argo's workflow (drivers, loops, retries and all), with neither parents nor pods, and reports
their states every half a minute. The names of nodes are those of the tasks in the compiled pipeline: ``train-2`` is the
second round of each stream. Which stream it is, only the pod's own inputs say, as long as the pod is there.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from typing import Any

from pipelines.cluster.pods import Pod

OVER = ("SUCCEEDED", "SKIPPED", "FAILED", "CANCELED")
"""States of a run that do not change any more."""
FAILED = "failed"

_NAMES = "configure|preprocess|agent-prior|agent|train-job|train|baseline|model|evaluate|importer"
_OURS = re.compile(rf"({_NAMES})(?:-(\d+))?")
_DRIVER = re.compile(rf"({_NAMES})(?:-(\d+))?-driver")
_PHASES = {"Pending": "waiting", "Running": "running", "Succeeded": "succeeded", "Failed": FAILED}
_STATES = {"PENDING": "waiting", "RUNNING": "running", "SUCCEEDED": "succeeded", "FAILED": FAILED, "SKIPPED": "skipped"}
_ORDER = ("importer", "configure", "preprocess", "agent-prior")

Key = tuple[str, int]
"""Name of a task without its number, and the number: 1 for the first of that name."""


@dataclass(frozen=True)
class Task:
    """A task of ours. ``stream`` is empty where it has none or nobody knows it, ``round`` 0 where it has none; ``pods``
    are those of all tries, the newest last; ``alike``: how many streams' tasks this one stands for."""

    name: str
    round: int
    stream: str
    state: str
    start: datetime | None
    seconds: float
    pods: tuple[Pod, ...] = ()
    alike: int = 1
    of_driver: bool = False

    @property
    def label(self) -> str:
        """What people call it, such as ``train j round 1``."""
        name = self.name.replace("-", " ").removesuffix(" job")
        words = [name, self.stream, f"round {self.round}" if self.round else ""]
        more = f" ({self.alike} streams)" if self.alike > 1 and self.round else ""
        return " ".join(word for word in words if word) + more


def tasks_of(run: Any, pods: Iterable[Pod] = (), now: datetime | None = None) -> list[Task]:
    """Return a run's tasks in the order of their start.

    Args:
        run: KFP's ``V2beta1Run``.
        pods: of the run, those that are gone included if they were seen; the oldest first.
        now: the present, for the times of tasks that still run.
    """
    moment = now or datetime.now(UTC)
    details = (run.run_details.task_details if run.run_details else None) or []
    entries = _entries(details)
    of_key: dict[Key, dict[str, list[Pod]]] = defaultdict(lambda: defaultdict(list))
    for pod in pods:
        if pod.stage:
            of_key[_key_of(pod)][str(pod.inputs.get("stream", ""))].append(pod)
    found: list[Task] = []
    for key in {*entries, *of_key}:
        found += _of_key(key, entries.get(key, []), of_key.get(key, {}), moment)
    found += _failed_drivers(details, moment)
    found = [_rounds_of(task, whole="configure" in {name for name, _ in (*entries, *of_key)}) for task in found]
    if run.state in OVER:
        ended = "succeeded" if run.state == "SUCCEEDED" else "stopped"
        found = [replace(task, state=ended) if task.state in ("waiting", "running") else task for task in found]
    rank = {name: number for number, name in enumerate(_ORDER)}
    return sorted(found, key=lambda task: (task.start or moment, rank.get(task.name, 9), task.round, task.stream))


def is_stale(run: Any) -> bool:
    """Tell whether KFP's list of tasks is older than the run's end, as it stays where its reports ended early."""
    details = (run.run_details.task_details if run.run_details else None) or []
    return run.state in OVER and any(task.state in ("RUNNING", "PENDING") for task in details)


def _entries(details: list[Any]) -> dict[Key, list[Any]]:
    """Return the nodes that are tasks of ours and were started."""
    found: dict[Key, list[Any]] = defaultdict(list)
    for task in details:
        named = _OURS.fullmatch(task.display_name or "")
        if named and task.state:
            found[named[1], int(named[2] or 1)].append(task)
    return found


def _key_of(pod: Pod) -> Key:
    name = "agent-prior" if pod.stage == "agent" and "stream" not in pod.inputs else pod.stage
    return name, int(pod.inputs.get("round_number", 1))


def _of_key(key: Key, entries: list[Any], streams: dict[str, list[Pod]], now: datetime) -> list[Task]:
    """Return the tasks of one name and number: one for each stream whose pods are known, one for all others."""
    left, found = list(entries), []
    for stream, tries in streams.items():
        first, last = tries[0].created, tries[-1]
        if left:  # KFP's entry of this stream is the one that began with the first pod
            left.remove(min(left, key=lambda entry: abs(((entry.start_time or now) - first).total_seconds())))
        seconds = ((last.ended or now) - first).total_seconds()
        found.append(Task(*key, stream, _PHASES.get(last.phase, "unknown"), first, seconds, tuple(tries)))
    of_state: dict[str, list[Any]] = defaultdict(list)
    for entry in left:
        of_state[_state(entry)].append(entry)
    for state, alike in of_state.items():
        start = min((entry.start_time or now for entry in alike), default=now)
        seconds = max(
            (((_end(entry) or now) - (entry.start_time or now)).total_seconds() for entry in alike), default=0
        )
        found.append(Task(*key, "", state, start, seconds, alike=len(alike)))
    return found


def _state(entry: Any) -> str:
    if entry.state == "SUCCEEDED" and entry.start_time == entry.end_time:
        return "cached"  # no pod was started: Argo passed over the node as soon as it came to it
    return _STATES.get(entry.state, entry.state.lower())


def _failed_drivers(details: list[Any], now: datetime) -> list[Task]:
    """Return a task for each of ours that did not come to be, since KFP's driver for it failed."""
    found = []
    for entry in details:
        named = _DRIVER.fullmatch(entry.display_name or "")
        if named and entry.state == "FAILED":
            seconds = ((_end(entry) or now) - (entry.start_time or now)).total_seconds()
            key = named[1], int(named[2] or 1)
            found.append(Task(*key, "", FAILED, entry.start_time, seconds, of_driver=True))
    return found


def _rounds_of(task: Task, *, whole: bool) -> Task:
    """Return a task with its round: in the whole pipeline the number of its name, else what its pod says."""
    in_rounds = task.name in ("train", "train-job", "agent")
    return task if in_rounds and (whole or task.pods) else replace(task, round=0)


def _end(entry: Any) -> datetime | None:
    """KFP says the year 1 (of a run: 1970) for what has not ended."""
    return entry.end_time if entry.end_time and entry.end_time.year > 1970 else None
