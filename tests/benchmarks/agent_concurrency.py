"""How much faster a round is when its questions are asked side by side: ``make bench-agent``.

A loopback server answers every question after a fixed time. The same round, of ``--classes`` classes, is made one
question after another and with each concurrency asked for, in one run; the ratio of the times is what counts. The
ideal is the smaller of the concurrency and the number of classes; what is lost is the beginning with few questions,
our own work and the connections. The default of ``agent.concurrency`` is 16.
"""

from __future__ import annotations

import json
import logging
import multiprocessing
import tempfile
import time
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.table import Table

from components.agent.core import run_round
from components.agent.round import Round
from components.contracts import constraints
from components.contracts.config import AgentConfig, AgentStage, DataConfig
from components.runtime.logs import LOGGER

ANSWER = json.dumps({"description": "The arm swings.", "joints": ["right_hand", "right_wrist", "right_elbow"]})


def serve(latency_s: float, ready: Connection) -> None:
    """Answer every chat completion after ``latency_s`` seconds, in a process of its own."""
    message = {"role": "assistant", "content": ANSWER}
    choice = {"index": 0, "message": message, "finish_reason": "stop"}
    usage = {"prompt_tokens": 500, "completion_tokens": 50, "total_tokens": 550}
    document = {"id": "c", "object": "chat.completion", "created": 0, "model": "m", "choices": [choice], "usage": usage}
    body = json.dumps(document).encode()

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            self.rfile.read(int(self.headers["Content-Length"]))
            time.sleep(latency_s)
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *args: Any) -> None:
            pass

    class Server(ThreadingHTTPServer):
        request_queue_size = 256

    server = Server(("127.0.0.1", 0), Handler)
    ready.send(server.server_port)
    server.serve_forever()


def time_round(url: str, classes: int, concurrency: int) -> float:
    """Make a round 0 in which every class is asked once, and return its seconds; the memory of answers is on."""
    names = tuple(f"motion {number}" for number in range(classes))
    protocols = {"p": {"train": "a", "test": "b"}}
    data = DataConfig(layout="kinect20", classes=names, protocols=protocols, protocol="p")
    stage = AgentStage(data=data, agent=AgentConfig(provider="openai", base_url=url, concurrency=concurrency))
    with tempfile.TemporaryDirectory() as folder:
        started = time.perf_counter()
        run_round(Round(stage), Path(folder) / "c0", cache=Path(folder) / "memory")
        seconds = time.perf_counter() - started
        statuses = {constraint.provenance.status for constraint in constraints.open(Path(folder) / "c0").classes}
    assert statuses == {"answered"}, statuses
    return seconds


def main(
    classes: Annotated[int, typer.Option(help="Classes to ask about.")] = 60,
    latency_ms: Annotated[int, typer.Option(help="Time that the server takes for an answer.")] = 200,
    concurrency: Annotated[str, typer.Option(help="Questions at once, separated by commas.")] = "8,16,32",
) -> None:
    """Print the seconds of a round one after another and side by side, and their ratios."""
    logging.getLogger(LOGGER).setLevel(logging.ERROR)
    ours, theirs = multiprocessing.Pipe()
    server = multiprocessing.Process(target=serve, args=(latency_ms / 1000, theirs), daemon=True)
    server.start()
    url = f"http://127.0.0.1:{ours.recv()}/v1"
    table = Table(title=f"{classes} classes, an answer takes {latency_ms} ms")
    for heading in ("questions at once", "seconds", "times faster"):
        table.add_column(heading, justify="right")
    time_round(url, 2, 1)  # imports and the encoder's weights
    alone = time_round(url, classes, 1)
    table.add_row("1", f"{alone:.2f}", "1.0")
    for number in (int(part) for part in concurrency.split(",")):
        seconds = time_round(url, classes, number)
        table.add_row(str(number), f"{seconds:.2f}", f"{alone / seconds:.1f}")
    Console().print(table)
    server.terminate()


if __name__ == "__main__":
    typer.run(main)
