"""The stages one by one, each in a container that shares nothing with the others but a bucket.

No folder of this machine is mounted anywhere: data and experiment are uploaded, every stage is its own command line
on ``s3://`` URIs, and the report is fetched at the end. What works so works on a cluster of any kind.
"""

from __future__ import annotations

import os
import secrets
import shutil
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml
from rich.console import Console

from components.agent.service.messages import TOKEN_VARIABLE, URL_VARIABLE
from components.contracts import report as report_contract
from components.contracts.config import Experiment, load_experiment
from components.contracts.errors import InputError
from components.contracts.store import store_for
from components.runtime.task import image
from pipelines.containers import AGENT_URL, agent_service
from pipelines.engine import Engine
from pipelines.images import STAGES
from pipelines.local import Request, StageError, threads

_STORE = (
    "S3_ENDPOINT",
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "AWS_SESSION_TOKEN",
    "AWS_REGION",
    "S3_PATH_STYLE",
)


def compose(request: Request, bucket: str, console: Console) -> Path:
    """Run the pipeline through the bucket and return the path of the report.

    Args:
        request: what to run; its ``root`` gets the report and the log, and nothing else.
        bucket: ``s3://bucket/prefix`` of the server that the environment names, which containers must reach too.

    Raises:
        InputError: there is no engine, image or bucket, or the config or the data are wrong.
        StageError: a stage failed.
    """
    experiment = load_experiment(request.config, request.overrides)
    prefix = f"{bucket.rstrip('/')}/{experiment.name}"
    home = request.root / experiment.name
    home.mkdir(parents=True, exist_ok=True)
    environment = {name: os.environ[name] for name in _STORE if name in os.environ}
    token = secrets.token_hex(16)
    with Engine(f"compose {home.resolve()}") as engine, (home / "compose.log").open("w", encoding="utf-8") as log:
        engine.check_images(*STAGES)
        data = _upload(request, experiment, prefix)
        with agent_service(engine, experiment, token, [], f"{prefix}/agent", **environment):
            # Threads decide the last bits of a sum: as many as the local run has.
            environment |= {"OMP_NUM_THREADS": os.environ.get("OMP_NUM_THREADS") or str(threads(experiment))}
            called = environment | {URL_VARIABLE: AGENT_URL, TOKEN_VARIABLE: token}
            _Stages(engine, experiment, prefix, data, environment, called, log, console).run()
    return _fetch(prefix, home)


def _upload(request: Request, experiment: Experiment, prefix: str) -> str:
    """Put data and experiment into the bucket; return the URI of the data."""
    if not request.data.is_file():
        raise InputError(f"{request.data}: no such file; a folder of recordings goes into the bucket as an archive")
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


@dataclass(frozen=True)
class _Stages:
    """The pipeline's tasks in their order, each a container."""

    engine: Engine
    experiment: Experiment
    prefix: str
    data: str
    environment: dict[str, str]
    called: dict[str, str]
    log: Any
    console: Console

    def run(self) -> None:
        prefix, rounds = self.prefix, range(1, self.experiment.rounds + 1)
        self._stage("preprocess", "preprocess", "run", self.data, "--output", f"{prefix}/dataset")
        self._stage("agent prior", "agent", "run", "--output", f"{prefix}/constraints-0")
        for stream in self.experiment.streams:
            for number in rounds:
                self._train(stream, number)
                if number < self.experiment.rounds:
                    self._ask(stream, number)
        results = [(stream, number) for stream in self.experiment.streams for number in rounds]
        inputs = [
            word
            for kind in ("scores", "confusion")
            for stream, number in results
            for word in (f"--{kind}", f"{prefix}/{stream}-{number}/{kind}")
        ]
        constraints = ["constraints-0", *(f"constraints-{s}-{n}" for s, n in results if n < self.experiment.rounds)]
        inputs += [word for name in constraints for word in ("--constraints", f"{prefix}/{name}")]
        inputs += ["--dataset", f"{prefix}/dataset"]
        self._stage("evaluate", "evaluate", "run", *inputs, "--output", f"{prefix}/report")

    def _constraints(self, stream: str, number: int) -> str:
        return f"{self.prefix}/constraints-{stream}-{number}" if number else f"{self.prefix}/constraints-0"

    def _train(self, stream: str, number: int) -> None:
        prefix = self.prefix
        arguments = ["run", "--stream", stream, "--round", str(number), "--dataset", f"{prefix}/dataset"]
        arguments += ["--constraints", self._constraints(stream, number - 1), "--output", f"{prefix}/{stream}-{number}"]
        if number > 1:
            arguments += ["--previous", f"{prefix}/{stream}-{number - 1}/checkpoint"]
        self._stage(f"train {stream} round {number}", "train", *arguments)

    def _ask(self, stream: str, number: int) -> None:
        arguments = ["run", "--stream", stream, "--round", str(number)]
        arguments += ["--confusion", f"{self.prefix}/{stream}-{number}/confusion"]
        arguments += ["--previous", self._constraints(stream, number - 1)]
        arguments += ["--output", self._constraints(stream, number)]
        self._stage(f"agent {stream} round {number}", "agent", *arguments)

    def _stage(self, name: str, stage: str, *arguments: str) -> None:
        started = time.monotonic()
        environment = self.called if stage == "agent" else self.environment
        command = ["python3", "-m", f"components.{stage}", *arguments, "--config", f"{self.prefix}/config.yaml"]
        status, output = self.engine.run(image(stage), command, **self.engine.confined(environment))
        self.log.write(f"--- {name}\n{output}")
        if status:
            last = (output.strip().splitlines() or ["ended without a word"])[-1].removeprefix("error: ")
            raise StageError(f"{name}: {last} (details: {self.log.name})")
        self.console.print(f"[bold]{name:<18}[/] done in {time.monotonic() - started:.1f} s", highlight=False)
