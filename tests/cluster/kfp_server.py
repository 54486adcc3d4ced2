"""A Kubeflow Pipelines API on the loopback interface, after the v2beta1 REST interface of kfp-server-api.

Runs, pipelines and experiments are answered as a real server answered them (``kfp_recordings``): the same fields, the
same absences, the same names; with every question a run goes on by one report, which are half a minute apart. What was
not recorded (versions of a pipeline, health) is made from the generated models of ``kfp-server-api`` and goes through
their serialisation, so that a field which the real API does not have cannot be answered. Requests are remembered.
"""

from __future__ import annotations

import json
import re
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from email import message_from_bytes
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import parse_qs, unquote, urlsplit

import kfp_recordings
import kfp_server_api as models
import yaml
from click.testing import Result
from http_servers import served_at
from kfp_recordings import Answer

Command = Callable[..., Result]
"""``python -m pipelines`` with these arguments."""
NOW = datetime(2026, 1, 1, tzinfo=UTC)


class Backend:
    """What the server knows. ``recording``: how the next run goes; ``pages``: whether it serves the user interface too;
    ``fault``: (status, body) instead of the next answers; ``delay_s``: before them; ``asked``: called for each question
    about a run."""

    def __init__(self) -> None:
        self.pipelines: dict[str, models.V2beta1Pipeline] = {}
        self.versions: dict[str, models.V2beta1PipelineVersion] = {}
        self.experiments: dict[str, models.V2beta1Experiment] = {}
        self.runs: dict[str, Answer] = {}
        self.reports: dict[str, list[Answer]] = {}
        self.recording = "run-succeeded"
        self.answered: list[tuple[str, Any]] = []
        self.requests: list[tuple[str, str]] = []
        self.tokens: set[str] = set()
        self.tag = "2.17.0"
        self.pages = False
        self.multi_user = False
        self.fault: tuple[int, bytes] | None = None
        self.delay_s = 0.0
        self.asked: Callable[[], None] = lambda: None

    def answer(self, method: str, path: str, query: dict[str, str], body: bytes, kind: str) -> tuple[int, Any]:
        """Return status and model (or plain data) for a request."""
        if path == "/apis/v1beta1/healthz":
            return 200, {"tag_name": self.tag, "multi_user": self.multi_user}
        for pattern, verb, handler in self._routes():
            match = re.fullmatch(pattern, path)
            if match and verb == method:
                return handler(*map(unquote, match.groups()), query=query, body=body, kind=kind)
        return 404, {"code": 5, "message": "Not Found"}

    def _routes(self) -> list[tuple[str, str, Callable[..., tuple[int, Any]]]]:
        api = "/apis/v2beta1"
        return [
            (f"{api}/healthz", "GET", self._health),
            (f"{api}/pipelines", "GET", self._list_pipelines),
            (f"{api}/pipelines", "POST", self._create_pipeline),
            (f"{api}/pipelines/upload_version", "POST", self._upload),
            (f"{api}/pipelines/([^/]+)/versions", "GET", self._list_versions),
            (f"{api}/pipelines/([^/]+)/versions/([^/]+)", "GET", self._get_version),
            (f"{api}/experiments", "GET", self._list_experiments),
            (f"{api}/experiments", "POST", self._create_experiment),
            (f"{api}/runs", "POST", self._create_run),
            (f"{api}/runs", "GET", self._list_runs),
            (f"{api}/runs/([^/]+)", "GET", self._get_run),
        ]

    def _health(self, **_: Any) -> tuple[int, Any]:
        return 200, models.V2beta1GetHealthzResponse(multi_user=self.multi_user)

    def _list_pipelines(self, query: dict[str, str], **_: Any) -> tuple[int, Any]:
        found = [item for item in self.pipelines.values() if item.display_name == wanted(query)]
        return 200, models.V2beta1ListPipelinesResponse(pipelines=found or None, total_size=len(found))

    def _create_pipeline(self, body: bytes, **_: Any) -> tuple[int, Any]:
        given = {name: value for name, value in json.loads(body).items() if value}  # as protobuf's JSON leaves out ""
        made = models.V2beta1Pipeline(pipeline_id=new_id(), created_at=NOW, **known(models.V2beta1Pipeline, given))
        self.pipelines[made.pipeline_id] = made
        return 200, made

    def _upload(self, query: dict[str, str], body: bytes, kind: str, **_: Any) -> tuple[int, Any]:
        if query["pipelineid"] not in self.pipelines:
            return 404, {"code": 5, "message": "pipeline not found"}
        documents = list(yaml.safe_load_all(uploaded_file(kind, body)))
        spec = {"pipeline_spec": documents[0], "platform_spec": documents[1]} if documents[1:] else documents[0]
        made = models.V2beta1PipelineVersion(
            pipeline_id=query["pipelineid"],
            pipeline_version_id=new_id(),
            display_name=query["name"],
            description=query.get("description"),
            created_at=NOW,
            pipeline_spec=spec,
        )
        self.versions[made.pipeline_version_id] = made
        return 200, made

    def _list_versions(self, pipeline: str, query: dict[str, str], **_: Any) -> tuple[int, Any]:
        found = [v for v in self.versions.values() if v.pipeline_id == pipeline and v.display_name == wanted(query)]
        return 200, models.V2beta1ListPipelineVersionsResponse(pipeline_versions=found or None, total_size=len(found))

    def _get_version(self, _pipeline: str, version: str, **_: Any) -> tuple[int, Any]:
        found = self.versions.get(version)
        return (200, found) if found else (404, {"code": 5, "message": "version not found"})

    def _list_experiments(self, query: dict[str, str], **_: Any) -> tuple[int, Any]:
        found = [item for item in self.experiments.values() if item.display_name == wanted(query)]
        return 200, models.V2beta1ListExperimentsResponse(experiments=found or None, total_size=len(found))

    def _create_experiment(self, body: bytes, **_: Any) -> tuple[int, Any]:
        sent = {name: value for name, value in json.loads(body).items() if value}
        given = known(models.V2beta1Experiment, sent)
        if self.multi_user and not given.get("namespace"):
            return 400, {"code": 3, "message": "Namespace is empty: invalid input"}
        made = models.V2beta1Experiment(experiment_id=new_id(), created_at=NOW, **given)
        self.experiments[made.experiment_id] = made
        return 200, made

    def _create_run(self, body: bytes, **_: Any) -> tuple[int, Any]:
        given = json.loads(body)
        version = self.versions[given["pipeline_version_reference"]["pipeline_version_id"]]
        values = given["runtime_config"].get("parameters", {})
        if problem := mistaken(version.pipeline_spec, values):
            return 400, {"code": 3, "message": f"Failed to create a new run: {problem}", "details": []}
        run_id = new_id()
        ours = {
            "run_id": run_id,
            "experiment_id": given["experiment_id"],
            "display_name": given["display_name"],
            "pipeline_version_reference": given["pipeline_version_reference"],
            "runtime_config": known_as_sent(models.V2beta1RuntimeConfig, given["runtime_config"]),
        }
        self.reports[run_id] = [{**report, **ours} for report in kfp_recordings.reports(self.recording)]
        for report in self.reports[run_id]:
            for task in report.get("run_details", {}).get("task_details", []):
                task["run_id"] = run_id
        self.runs[run_id] = self.reports[run_id][0]
        return 200, self.runs[run_id]

    def _list_runs(self, query: dict[str, str], **_: Any) -> tuple[int, Any]:
        found = list(self.runs.values())[::-1][: int(query.get("page_size", 10))]
        return 200, {**({"runs": found} if found else {}), "total_size": len(self.runs)}

    def _get_run(self, run_id: str, **_: Any) -> tuple[int, Any]:
        if run_id not in self.runs:
            return kfp_recordings.absent()
        self.asked()
        reports = self.reports[run_id]
        self.runs[run_id] = reports.pop(0) if len(reports) > 1 else reports[0]
        return 200, self.runs[run_id]


def mistaken(spec: dict[str, Any], values: dict[str, Any]) -> str:
    """Return why the backend would refuse a run: an unknown parameter, a missing one, or one of the wrong type."""
    spec = spec.get("pipeline_spec", spec)
    declared = spec["root"].get("inputDefinitions", {}).get("parameters", {})
    types = {"STRING": str, "NUMBER_INTEGER": int | float, "STRUCT": dict, "LIST": list}
    for name, value in values.items():
        if name not in declared:
            return f"unknown parameter {name}"
        if not isinstance(value, types[declared[name]["parameterType"]]):
            return f"parameter {name} requires type {declared[name]['parameterType']}, found {value!r}"
    lacking = [
        n for n, about in declared.items() if n not in values and not {"isOptional", "defaultValue"} & about.keys()
    ]
    return f"parameter {lacking[0]} is required" if lacking else ""


def wanted(query: dict[str, str]) -> str:
    (predicate,) = json.loads(query["filter"])["predicates"]
    assert (predicate["operation"], predicate["key"]) in ((1, "display_name"), ("EQUALS", "display_name"))
    return str(predicate.get("stringValue") or predicate["string_value"])


def known_as_sent(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    known(model, given)
    return given


def known(model: Any, given: dict[str, Any]) -> dict[str, Any]:
    names = {wire: name for name, wire in model.attribute_map.items()}
    assert given.keys() <= names.keys(), f"{model.__name__} has no {sorted(given.keys() - names.keys())}"
    return {names[wire]: value for wire, value in given.items()}


def uploaded_file(kind: str, body: bytes) -> bytes:
    message = message_from_bytes(f"Content-Type: {kind}\r\n\r\n".encode() + body)
    (part,) = message.get_payload()
    assert part.get_param("name", header="content-disposition") == "uploadfile"
    content = part.get_payload(decode=True)
    assert isinstance(content, bytes)
    return content


def new_id() -> str:
    return str(uuid.uuid4())


@contextmanager
def serving(backend: Backend) -> Iterator[str]:
    """Serve a backend and yield its address."""
    serialise = models.ApiClient().sanitize_for_serialization

    class Handler(BaseHTTPRequestHandler):
        def _handle(self) -> None:
            parts = urlsplit(self.path)
            backend.requests.append((self.command, parts.path))
            body = self.rfile.read(int(self.headers.get("Content-Length", 0)))
            time.sleep(backend.delay_s)
            type_ = "application/json"
            token = self.headers.get("Authorization", "").removeprefix("Bearer ")
            if backend.fault:
                status, content = backend.fault
            elif backend.tokens and token not in backend.tokens:
                status, content = 401, b"Unauthorized"
            else:
                query = {name: values[-1] for name, values in parse_qs(parts.query).items()}
                kind = self.headers.get("Content-Type", "")
                status, answer = backend.answer(self.command, parts.path, query, body, kind)
                answer = serialise(answer)
                backend.answered.append((parts.path, answer))
                content = json.dumps(answer).encode()
            if parts.path == "/":
                # The user interface passes the API on and serves pages beside it; the API alone answers so.
                status, content = (200, b"<!doctype html>") if backend.pages else (404, b"404 page not found\n")
                type_ = "text/html" if backend.pages else "text/plain; charset=utf-8"
            self.send_response(status)
            self.send_header("Content-Type", type_)
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        do_GET = do_POST = _handle  # noqa: N815

        def log_message(self, *_: Any) -> None:
            """Say nothing."""

    with served_at(ThreadingHTTPServer(("127.0.0.1", 0), Handler)) as url:
        yield url
