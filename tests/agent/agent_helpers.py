"""What the agent's tests share: small experiments, and a loopback server that speaks chat completions."""

from __future__ import annotations

import json
import socket
import struct
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import numpy as np
from http_servers import served_at

from components.agent.llm.chat import ChatProvider
from components.agent.providers import Question, Reply, Rival
from components.contracts import confusion as confusions
from components.contracts.config import AgentConfig, AgentStage, DataConfig, ModelConfig, TrainConfig, TrainStage
from components.contracts.confusion import Confusion
from components.contracts.skeleton import load_layout

NW_UCLA = (
    "pick up with one hand",
    "pick up with two hands",
    "drop trash",
    "walk around",
    "sit down",
    "stand up",
    "donning",
    "doffing",
    "throw",
    "carry",
)

QUESTION = Question(
    label=8,
    name="throw",
    description="An arm swings.",
    joints=("right_hand", "right_wrist"),
    rivals=(Rival(2, "drop trash", "A hand opens.", ("left_hand",)),),
    layout="kinect20",
    dimensions="3d",
    max_persons=1,
    max_joints=12,
)


@dataclass
class Scene:
    """Makes stages and the confusion artifacts that go with them."""

    root: Path

    def stage(
        self,
        *,
        classes: tuple[str, ...] = NW_UCLA,
        layout: str = "kinect20",
        priors: str | None = "nw_ucla",
        **agent: Any,
    ) -> AgentStage:
        protocols = {"p": {"train": "a", "test": "b"}}
        data = DataConfig(layout=layout, classes=classes, protocols=protocols, protocol="p")
        return AgentStage(data=data, agent=AgentConfig(priors=priors, **agent))

    def confusion(
        self,
        stage: AgentStage,
        mistakes: dict[tuple[str, str], int],
        *,
        stream: str = "j",
        round_number: int = 1,
        validation: int = 0,
        tells: dict[str, tuple[str, ...]] | None = None,
    ) -> Path:
        """Write a confusion artifact: 50 right answers per class and the given (true, predicted) mistakes.

        ``tells``: per class the joints that tell it from all others and that the network looks at; without it nothing
        was measured.
        """
        names = list(stage.data.classes)
        counts = 50 * np.eye(len(names), dtype=np.int64)
        for (true, predicted), count in mistakes.items():
            counts[names.index(true), names.index(predicted)] = count
        path = self.root / f"confusion-{len(list(self.root.iterdir()))}"
        train = TrainStage(seed=0, rounds=2, data=stage.data, model=ModelConfig(), train=TrainConfig(epochs=2))
        measured = {} if tells is None else _measured(stage, counts, tells)
        artifact = Confusion(stream, round_number, counts, np.full_like(counts, validation), **measured)
        confusions.write(path, artifact, made_from={}, config=train)
        return path


def _measured(stage: AgentStage, counts: np.ndarray, tells: dict[str, tuple[str, ...]]) -> dict[str, np.ndarray]:
    names, layout = list(stage.data.classes), load_layout(stage.data.layout)
    rows = np.full((len(names), len(layout.joints)), 0.02, dtype=np.float32)
    for name, joints in tells.items():
        for rank, joint in enumerate(joints):
            rows[names.index(name), layout.number(joint)] = 0.9 - 0.01 * rank
    pairs = np.argwhere(np.triu(counts + counts.T, k=1))
    return {"separability": rows, "evidence": rows - 0.05, "activity": np.full_like(rows, 0.5)} | {
        "pairs": pairs,
        "pair_separability": rows[pairs].max(axis=1).reshape(-1, rows.shape[1]),
    }


Response = tuple[int, dict[str, str], bytes | Iterator[bytes]]
"""Status, headers and the body, which may be one without end."""
Behaviour = Callable[[dict[str, Any]], Response]


def completion(content: str | None, *, finish: str = "stop", refusal: str | None = None) -> Behaviour:
    """Answer with one chat completion."""
    message = {"role": "assistant", "content": content, "refusal": refusal}
    document = {
        "id": "c",
        "object": "chat.completion",
        "created": 0,
        "model": "model-2024",
        "system_fingerprint": "fp_1",
        "choices": [{"index": 0, "message": message, "finish_reason": finish, "logprobs": None}],
        "usage": {"prompt_tokens": 100, "completion_tokens": 20, "total_tokens": 120},
    }
    return raw(200, json.dumps(document))


def document(answer: Any, usage: Any = None, **message: Any) -> Behaviour:
    """Answer with a completion whose message has these fields, and ``content`` if ``answer`` is not ``None``."""
    content = {} if answer is None else {"content": answer}
    choice = {"index": 0, "message": {"role": "assistant", **content, **message}, "finish_reason": "stop"}
    return raw(200, json.dumps({"object": "chat.completion", "choices": [choice], "usage": usage}))


def good(
    description: str = "The arm moves.", joints: tuple[str, ...] = ("left_hand", "right_hand", "head")
) -> Behaviour:
    return completion(json.dumps({"description": description, "joints": joints}))


def raw(status: int, body: str, headers: dict[str, str] | None = None, kind: str = "application/json") -> Behaviour:
    return lambda request: (status, {"Content-Type": kind, **(headers or {})}, body.encode())


def stalling(endpoint: Endpoint, name: str) -> threading.Event:
    """Have the first question about a class wait for 20 s, the next answered; the event is set once it has come."""
    stuck = threading.Event()

    def stall(request: dict[str, Any]) -> Response:
        stuck.set()
        endpoint.over.wait(20)
        return good()(request)

    endpoint.script[name] = [stall, good()]
    return stuck


def failure(
    status: int, message: str = "no", code: str | None = None, headers: dict[str, str] | None = None
) -> Behaviour:
    return raw(status, json.dumps({"error": {"message": message, "code": code, "type": "t"}}), headers)


@dataclass
class Endpoint:
    """A chat-completions server on loopback. ``script``: per class name, what happens to each request in turn.

    The last behaviour of a script repeats; classes without one get ``default``.
    """

    url: str = ""
    default: Behaviour = field(default_factory=good)
    script: dict[str, list[Behaviour]] = field(default_factory=dict)
    requests: list[tuple[str, dict[str, Any], dict[str, str]]] = field(default_factory=list)
    lock: threading.Lock = field(default_factory=threading.Lock)
    over: threading.Event = field(default_factory=threading.Event)
    """Set when the server ends: what waits in a behaviour should end with it."""

    def respond(self, request: dict[str, Any], headers: dict[str, str]) -> Response:
        name = request["messages"][1]["content"].splitlines()[0].removeprefix("Action class: ")
        with self.lock:
            self.requests.append((name, request, {key.lower(): value for key, value in headers.items()}))
            behaviours = self.script.get(name, [self.default])
            behaviour = behaviours.pop(0) if len(behaviours) > 1 else behaviours[0]
        return behaviour(request)

    def asked(self, name: str) -> list[dict[str, Any]]:
        """Return the requests about one class, in order."""
        return [request for asked, request, _ in self.requests if asked == name]


@contextmanager
def serving() -> Iterator[Endpoint]:
    """Run an endpoint; a behaviour that raises ``ConnectionResetError`` hangs up."""
    served = Endpoint()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            try:
                status, headers, content = served.respond(body, dict(self.headers))
            except ConnectionResetError:
                self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
                self.close_connection = True
                return
            self.send_response(status)
            length = {"Content-Length": str(len(content))} if isinstance(content, bytes) else {}
            for key, value in {**length, **headers}.items():
                self.send_header(key, value)
            self.end_headers()
            with suppress(ConnectionError):  # a client that ran out of patience
                for part in [content] if isinstance(content, bytes) else content:
                    self.wfile.write(part)

        def log_message(self, *args: Any) -> None:
            pass

    with served_at(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        served.url = f"{url}/v1"
        yield served
        served.over.set()


def ask(endpoint: Endpoint, *questions: Question, cache: Path | None = None, **config: Any) -> list[Reply]:
    """Put questions, by default ``QUESTION``, to an endpoint."""
    settings = AgentConfig(provider="openai", base_url=endpoint.url, **config)
    provider = ChatProvider(settings, cache=cache, backoff_s=0.01)
    return provider.ask(questions or [QUESTION], lambda done, note="": None)
