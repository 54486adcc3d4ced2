"""The stages one by one, each in a container that shares nothing with the others but a bucket.

No folder of this machine is mounted anywhere: data and experiment are uploaded, every stage is its own command line
on ``s3://`` URIs, and the report is fetched at the end. What works so works on a cluster of any kind.

    S3_ENDPOINT=http://172.17.0.1:8333 python tests/containers/bucket_run.py --to s3://lab/trial
"""

from __future__ import annotations

import argparse
import contextlib
import os
import secrets
import shutil
import signal
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO
from urllib.parse import urlsplit

import yaml
from command_lines import CommandLine, command_lines
from rich.console import Console
from rich.markup import escape

from components.agent.service.messages import TOKEN_VARIABLE, URL_VARIABLE
from components.contracts import report as report_contract
from components.contracts.config import Experiment, load_experiment
from components.contracts.errors import InputError, SkeletonAgentError
from components.runtime.cli import parse_settings
from components.runtime.store import store_for
from components.runtime.task import image
from pipelines.__main__ import DEMO_CONFIG
from pipelines.demo import write_demo
from pipelines.images import STAGES
from pipelines.local.containers import AGENT_URL, agent_service
from pipelines.local.engine import Engine
from pipelines.local.folders import only_run
from pipelines.local.run import Request, StageError, threads

_STORE = (
    "S3_ENDPOINT",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "S3_PATH_STYLE",
)


def run_in_bucket(request: Request, bucket: str, console: Console) -> Path:
    """Run the pipeline through the bucket and return the path of the report.

    Args:
        request: what to run; its ``root`` gets the report and the log, and nothing else.
        bucket: ``s3://bucket/prefix`` of the server that the environment names, which containers must reach too.

    Raises:
        InputError: there is no engine, image or bucket, or the config, the data or an answer of a stage to them is
            wrong.
        StageError: a stage failed for another reason.
    """
    experiment = load_experiment(request.config, request.overrides)
    prefix = f"{bucket.rstrip('/')}/{experiment.name}"
    home = request.root / experiment.name
    environment = _store_settings()
    token = secrets.token_hex(16)
    with (
        only_run(home, experiment.name),
        _unwinding_on_sigterm(),
        Engine(f"bucket {home.resolve()}") as engine,
        (home / "bucket.log").open("wb", buffering=0) as log,
    ):
        engine.check_images(*STAGES)
        data = _upload(request, experiment, prefix)
        with agent_service(engine, experiment, token, [], f"{prefix}/agent", **environment):
            # Threads decide the last bits of a sum: as many as the local run has.
            environment |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(threads(experiment))}
            called = environment | {URL_VARIABLE: AGENT_URL, TOKEN_VARIABLE: token}
            place = _Place(engine, f"{prefix}/config.yaml", log, console)
            for line in command_lines(experiment, data, prefix):
                place.run(line, called if line.stage == "agent" else environment)
    return _fetch(prefix, home)


def _store_settings() -> dict[str, str]:
    endpoint = os.environ.get("S3_ENDPOINT", "")
    if urlsplit(endpoint).hostname in ("localhost", "127.0.0.1", "::1"):
        raise InputError(f"S3_ENDPOINT: found {endpoint}, which in a container is itself; expected one of a network")
    return {name: os.environ[name] for name in _STORE if name in os.environ}


def _upload(request: Request, experiment: Experiment, prefix: str) -> str:
    """Put data and experiment into the bucket; return the URI of the data."""
    if request.data.is_dir():
        raise InputError("a folder; put its recordings into an archive, which can be uploaded", at=request.data)
    if not request.data.is_file():
        raise InputError("no such file", at=request.data)
    store = store_for(prefix)
    with tempfile.TemporaryDirectory() as folder:
        config = Path(folder) / "config.yaml"
        document = experiment.model_dump(mode="json", exclude_defaults=True)
        config.write_text(yaml.safe_dump(document, sort_keys=False), encoding="utf-8")
        store.publish(config, f"{prefix}/config.yaml")
    data = f"{prefix}/in/{request.data.name}"
    store.publish(request.data, data)
    return data


def _fetch(prefix: str, home: Path) -> Path:
    uri = f"{prefix}/report"
    with tempfile.TemporaryDirectory() as folder:
        fetched = store_for(uri).fetch(uri, Path(folder))
        report_contract.open(fetched)
        for name in ("report.html", "metrics.json", report_contract.PREDICTIONS):
            shutil.copyfile(fetched / name, home / name)
    return home / "report.html"


@contextlib.contextmanager
def _unwinding_on_sigterm() -> Iterator[None]:
    """Let SIGTERM end this as Ctrl-C does, so that no container is left behind."""
    before = signal.signal(signal.SIGTERM, lambda number, _frame: sys.exit(128 + number))
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


@dataclass(frozen=True)
class _Place:
    """Where the tasks run: containers, whose output goes into the log and in part to the console."""

    engine: Engine
    config: str
    log: BinaryIO
    console: Console

    def run(self, line: CommandLine, environment: dict[str, str]) -> None:
        started, last = time.monotonic(), ""
        self.log.write(f"--- {line.name}\n".encode())
        with self.console.status(line.name) as shown:

            def show(output: bytes) -> None:
                nonlocal last
                self.log.write(output)
                last = (output.decode(errors="replace").strip().splitlines() or [last])[-1]
                shown.update(f"{line.name}: {escape(last)}")

            options = self.engine.confined(environment)
            status = self.engine.run(image(line.stage), line.words("python3", self.config), show, **options)
        if status:
            said = f"{line.name}: {last.removeprefix('error: ') or 'ended without a word'}"
            if status == InputError.exit_status:
                raise InputError(said)
            raise StageError(f"{said} (details: {self.log.name})")
        self.console.print(f"[bold]{line.name:<18}[/] done in {time.monotonic() - started:.1f} s", highlight=False)


def main() -> None:
    """Run it as the command line says, and print the report's path."""
    parser = argparse.ArgumentParser(description="The stages in containers that share only a bucket.")
    parser.add_argument("--to", required=True, help="Prefix for everything: s3://bucket/prefix")
    parser.add_argument("--data", type=Path, help="Pickle of skeletons; none: the synthetic demo.")
    parser.add_argument("--config", type=Path, default=DEMO_CONFIG)
    parser.add_argument("--set", dest="settings", action="append", default=[], metavar="KEY=VALUE")
    parser.add_argument("--root", type=Path, default=Path("runs/bucket"), help="Folder for the report and the log.")
    arguments = parser.parse_args()
    data = arguments.data or arguments.root / "demo" / "demo.pkl"
    if arguments.data is None:
        write_demo(data)
    request = Request(data, arguments.config, parse_settings(arguments.settings), arguments.root)
    try:
        print(run_in_bucket(request, arguments.to, Console(file=sys.stderr)))
    except (SkeletonAgentError, StageError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(getattr(error, "exit_status", 1))


if __name__ == "__main__":
    main()
