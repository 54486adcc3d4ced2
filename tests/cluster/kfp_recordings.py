"""What a real KFP answered (``../shared/kfp``), whole and as it stood at a moment before the run's end."""

from __future__ import annotations

import copy
import functools
import json
from collections.abc import Iterator
from datetime import datetime, timedelta
from pathlib import Path
from typing import Any

FOLDER = Path(__file__).resolve().parents[3] / "shared" / "kfp"
ABSENT = "the recordings of a real KFP (../shared/kfp) are not here"
REPORTED_S = 30
"""KFP's persistence agent reports the states of nodes about so often."""
NOT_ENDED, RUN_NOT_ENDED = "0001-01-01T00:00:00Z", "1970-01-01T00:00:00Z"

Answer = dict[str, Any]


def there() -> bool:
    return (FOLDER / "README.md").is_file()


@functools.cache
def _read(name: str) -> Answer:
    document: Answer = json.loads((FOLDER / f"{name}.json").read_text())
    return document


def recorded(name: str) -> Answer:
    """Return an answer as it came, to be changed at will."""
    return copy.deepcopy(_read(name))


def absent() -> tuple[int, Answer]:
    """Return status and answer for a run that KFP does not know."""
    body, status = (FOLDER / "run-absent.txt").read_text().strip().rsplit("\n", 1)
    return int(status), json.loads(body)


def moment(text: str) -> datetime:
    return datetime.fromisoformat(text.replace("Z", "+00:00"))


def reports(name: str) -> Iterator[Answer]:
    """Yield a run as KFP reported it, from its creation to its end."""
    whole = recorded(name)
    now, end = moment(whole["created_at"]), moment(whole["finished_at"])
    while now < end:
        yield at(whole, now)
        now += timedelta(seconds=REPORTED_S)
    yield whole


def at(whole: Answer, now: datetime) -> Answer:
    """Return a run as it stood at a moment: of every node what had been reported by then."""
    run = copy.deepcopy(whole)
    run["state_history"] = [entry for entry in run["state_history"] if moment(entry["update_time"]) <= now]
    run["state"] = ([entry["state"] for entry in run["state_history"] if "state" in entry] or ["PENDING"])[-1]
    run["finished_at"] = RUN_NOT_ENDED
    run.pop("plugins_output", None)
    tasks = []
    for task in run.pop("run_details")["task_details"]:
        history = [entry for entry in task.get("state_history", []) if moment(entry["update_time"]) <= now]
        if not history:
            continue
        if moment(task["end_time"]) > now:
            task["end_time"] = NOT_ENDED
        task["state_history"] = history
        task.pop("state", None)
        if state := history[-1].get("state"):
            task["state"] = state
        tasks.append(task)
    if tasks:
        run["run_details"] = {"task_details": tasks}
    return run


def fields(value: Any, path: str = "") -> set[str]:
    """Return the paths of all fields within an answer; free-form values (parameters) count as one."""
    if path.endswith(".runtime_config.parameters") or path.endswith("plugins_output"):
        return {path}
    if isinstance(value, dict):
        return set().union(*(fields(inner, f"{path}.{key}") for key, inner in value.items())) | (
            {path} if path else set()
        )
    if isinstance(value, list):
        return set().union(*(fields(inner, f"{path}[]") for inner in value)) | {path}
    return {path}
