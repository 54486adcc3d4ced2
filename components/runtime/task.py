"""What every pipeline task does around its stage: report, fail with one line, resume, describe its artifacts.

The KFP components of the stages (``component.py``) share this; it knows no KFP itself.
"""

from __future__ import annotations

import logging
import os
import select
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from components.contracts.artifact import MANIFEST, Manifest, digest, digest_of
from components.contracts.errors import InputError, SkeletonAgentError
from components.runtime import events
from components.runtime.logs import LOGGER, setup_logging, stage_logger
from components.runtime.signals import end_on_sigterm
from components.runtime.source import source_digest
from components.runtime.store import S3_SCHEMES, store_for

RESUME_VARIABLE = "SKELETONAGENT_RESUME"
_log = stage_logger("task")
_OTHER_CODE = (
    "the code here is not the code that the pipeline was compiled from; of images: build them anew, or compile from "
    "their commit; without images: files were changed during the run, start it again"
)


def image(stage: str) -> str:
    """Return the container image of a stage; ``SKELETONAGENT_IMAGES`` is its prefix, registry included."""
    prefix = os.environ.get("SKELETONAGENT_IMAGES", "skeletonagent")
    return f"{prefix}-{stage}:0.1.0"


@contextmanager
def task(name: str, stage: str = "", code: str = "") -> Iterator[None]:
    """Surround the body of a pipeline task called ``name``.

    Args:
        name: what people see.
        stage: whose code it runs; empty: only the contracts'.
        code: digest of the source that the pipeline was compiled from. Other code here (an image that is older or
            newer than the pipeline) is refused: its results would be cached as those of the pipeline's code. Empty:
            any code will do.

    Raises:
        SystemExit: the body raised an error of the tree; its message was printed as one line.
    """
    setup_logging()
    end_on_sigterm()
    events.name_task(name)
    if events.listening():
        _follow_starter()
    started = time.monotonic()
    events.emit("start")
    with _logged_events():
        try:
            if code and code != source_digest(stage):
                raise InputError(_OTHER_CODE)
            yield
        except SkeletonAgentError as error:
            events.emit("error", text=str(error), input=True, status=error.exit_status)
            print(f"error: {error}", file=sys.stderr)
            sys.exit(error.exit_status)
        except Exception as error:
            events.emit("error", text=f"{type(error).__name__}: {error}", input=False)
            raise
    events.emit("end", seconds=time.monotonic() - started)


@contextmanager
def _logged_events() -> Iterator[None]:
    logger, handler = logging.getLogger(LOGGER), events.EventHandler()
    logger.addHandler(handler)
    try:
        yield
    finally:
        logger.removeHandler(handler)


def _follow_starter() -> None:
    """End this process as soon as the one that reads its output is gone.

    A local run that is killed must not leave trainings behind: the next run takes up the same round.
    """
    poll = select.poll()
    poll.register(1, 0)  # hang-ups are reported whether asked for or not

    def watch() -> None:
        poll.poll()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def resume_place(name: str, *identity: Any, beside: str = "") -> str | None:
    """Return where this task may keep what survives a kill, or None where nothing is kept.

    That is below ``SKELETONAGENT_RESUME``, a folder or an ``s3://`` URI; without it beside the output ``beside``
    if that lies in the object store: another attempt at the same task has the same outputs, on whatever node.

    Args:
        name: what people see in the place's name, such as ``j-r2``.
        identity: JSON values that decide the result; another identity is another place.
    """
    root = os.environ.get(RESUME_VARIABLE)
    if root:
        return f"{root.rstrip('/')}/{name}-{digest_of(identity)[:16]}"
    if beside.partition("://")[0] not in S3_SCHEMES or not os.environ.get("AWS_ACCESS_KEY_ID"):
        return None
    place = f"{beside.rstrip('/')}-unfinished"
    try:
        store_for(place).check(place)
    except (
        SkeletonAgentError
    ) as error:  # nobody asked for it: our credentials may be for another store than the outputs'
        _log.warning("%s; nothing is kept there in case this task is interrupted", error)
        return None
    return place


def describe(artifact: str) -> dict[str, Any]:
    """Return what an artifact says of itself, with its digest: the metadata that the KFP UI shows."""
    path = Path(artifact)
    manifest = Manifest.model_validate_json((path / MANIFEST).read_bytes())
    return {**manifest.about, "schema": f"{manifest.artifact} {manifest.version}", "digest": digest(path)}
