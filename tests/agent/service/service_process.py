"""The agent's service as users run it: a process of its own, on loopback and a free port."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import urllib3

from components.agent.service.messages import ENDED, ROUNDS, RoundRequest, RoundStatus, pack
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
