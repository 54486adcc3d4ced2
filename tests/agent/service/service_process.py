"""The agent's service as users run it: a process of its own, on loopback and a free port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3
import uvicorn
from agent_helpers import Response, good

from components.agent.service.app import make_app
from components.agent.service.connections import LimitedProtocol
from components.agent.service.intake import Policy
from components.agent.service.jobs import Jobs
from components.agent.service.memory import Memory
from components.agent.service.messages import ENDED, ROUNDS, RoundRequest, RoundStatus, pack
from components.agent.service.results import Results
from components.contracts.config import AgentStage

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "token-0123456789"
KEY = "sk-secret-0123456789"
PATIENCE_S = 90.0


@dataclass
class Service:
    """A running service. What it logs is kept beside its store."""

    store: str
    folder: Path
    options: tuple[str, ...] = ()
    environment: dict[str, str] = field(default_factory=dict)
    url: str = ""

    def start(self) -> Service:
        """Start it and wait until it listens."""
        self.log = self.folder / f"service-{time.monotonic_ns()}.log"
        command = [sys.executable, "-m", "components.agent", "serve", "--store", self.store, "--port", "0"]
        environment = {
            **os.environ,
            "PYTHONPATH": str(ROOT),
            "SKELETONAGENT_AGENT_TOKEN": TOKEN,
            "OPENAI_API_KEY": KEY,
            "SKELETONAGENT_LOG": "DEBUG",
            **self.environment,
        }
        with self.log.open("w") as log:
            self.process = subprocess.Popen([*command, *self.options], cwd=ROOT, env=environment, stderr=log)
        until(self._listens)
        return self

    def __enter__(self) -> Service:
        return self.start()

    def __exit__(self, *_: object) -> None:
        if self.process.poll() is None:
            self.kill()
        assert "traceback" not in self.log.read_text().casefold()

    def _listens(self) -> bool:
        assert self.process.poll() is None, self.log.read_text()
        for line in self.lines():
            if "running on" in line["message"]:
                self.url = line["message"].split()[3]
                return True
        return False

    def lines(self) -> list[dict[str, Any]]:
        """Return the finished lines of its log."""
        return [json.loads(line) for line in self.log.read_text().splitlines(keepends=True) if line.endswith("\n")]

    def kill(self) -> None:
        """End it as a power cut would."""
        self.process.send_signal(signal.SIGKILL)
        self.process.wait()

    def stop(self) -> int:
        """Tell it to end; return its exit status."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
        return self.process.wait(30)

    def call(
        self,
        method: str,
        path: str,
        body: bytes | None = None,
        *,
        token: str | None = TOKEN,
        headers: dict[str, str] | None = None,
    ) -> urllib3.BaseHTTPResponse:
        """Send one request, as any client might."""
        bearer = {"Authorization": f"Bearer {token}"} if token is not None else {}
        every = {"Content-Type": "application/json", **bearer, **(headers or {})}
        return urllib3.request(method, self.url + path, body=body, headers=every, retries=False, timeout=30)

    def submit(self, body: bytes) -> RoundStatus:
        """Ask for a round."""
        response = self.call("POST", ROUNDS, body)
        assert response.status == 202, response.data
        return RoundStatus.model_validate_json(response.data)

    def status(self, job: str) -> RoundStatus:
        """Ask how a job fares."""
        response = self.call("GET", f"{ROUNDS}/{job}")
        assert response.status == 200, response.data
        return RoundStatus.model_validate_json(response.data)

    def ended(self, job: str) -> RoundStatus:
        """Wait for a job's end."""
        until(lambda: self.status(job).state in ENDED, 0.3)
        return self.status(job)

    def metric(self, name: str) -> float:
        """Return the sum of a metric over its labels."""
        lines = self.call("GET", "/metrics").data.decode().splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.partition(" ")[0].partition("{")[0] == name)


@contextmanager
def in_this_process(results: Results, memory: Memory, policy: Policy, *, slots: int = 2) -> Iterator[str]:
    """Serve with the parts given, in a thread; hand out the URL."""
    app = make_app(results, Jobs(results, memory, slots), policy, token=TOKEN, max_bytes=1_000_000)
    config = uvicorn.Config(app, port=0, http=LimitedProtocol, ws="none", log_config=None, access_log=False)  # type: ignore[arg-type]
    server = uvicorn.Server(config)
    thread = threading.Thread(target=server.run)
    thread.start()
    until(lambda: server.started)
    yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    server.should_exit = True
    thread.join(PATIENCE_S)
    assert not thread.is_alive()


@dataclass
class Gate:
    """Holds questions to an LLM until it is opened: ``gate.behaviour`` for an endpoint's script."""

    opened: threading.Event = field(default_factory=threading.Event)
    came: threading.Semaphore = field(default_factory=lambda: threading.Semaphore(0))

    def behaviour(self, request: dict[str, Any]) -> Response:
        self.came.release()
        assert self.opened.wait(PATIENCE_S)
        return good()(request)

    def arrived(self, count: int = 1) -> None:
        """Wait until so many questions more have come."""
        for _ in range(count):
            assert self.came.acquire(timeout=PATIENCE_S)


def until(condition: Any, every_s: float = 0.05) -> None:
    """Wait until a condition holds, looking now and then."""
    end = time.monotonic() + PATIENCE_S
    while not condition():
        assert time.monotonic() < end, "waited in vain"
        time.sleep(every_s)


def request_of(
    stage: AgentStage,
    *,
    stream: str = "",
    round_number: int = 0,
    confusion: Path | None = None,
    previous: Path | None = None,
) -> bytes:
    """Return the body that asks for a round."""
    request = RoundRequest(
        stage=stage,
        stream=stream,  # type: ignore[arg-type]
        round=round_number,
        confusion=pack(confusion) if confusion else None,
        previous=pack(previous) if previous else None,
    )
    return request.model_dump_json().encode()
