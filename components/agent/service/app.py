"""The HTTP interface of the service (OpenAPI at ``/openapi.json``, a page at ``/docs``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import asynccontextmanager
from typing import Any, TypeVar, cast

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from starlette.routing import Match, Route

from components.agent.providers import LOGGER
from components.agent.service.auth import App, AuthMiddleware
from components.agent.service.health import OK, Checkup
from components.agent.service.intake import Accepted, Policy, accept, read_request
from components.agent.service.jobs import Job, Jobs
from components.agent.service.messages import (
    ENDED,
    ROUNDS,
    Files,
    Health,
    JobId,
    Part,
    Problem,
    RoundRequest,
    RoundStatus,
)
from components.agent.service.results import Results
from components.contracts.errors import SkeletonAgentError

PARK_S = 5.0
"""For how long what was sent to an LLM may still be answered once the service is told to end."""
RETRY_AFTER_S = 5
"""When whoever was told that something fails may ask again."""
INTAKE_THREADS = 2
"""Requests that are read at once: each may take some hundred megabytes for a moment."""

T = TypeVar("T")

_PROBLEMS: dict[int, str] = {
    400: "The request is not HTTP as it should be.",
    401: "The bearer token is missing or wrong.",
    404: "There is no such job (any more): post it again.",
    408: "The body did not arrive in time.",
    409: "The job has no result (yet).",
    413: "The body is too long.",
    422: "The round cannot be made from this; `detail` says why.",
    503: "The store fails, or too many jobs wait; try again after `Retry-After` seconds.",
    507: "This machine's disk is full; try again after `Retry-After` seconds.",
}


def make_app(results: Results, jobs: Jobs, policy: Policy, *, token: str, max_bytes: int) -> App:
    """Return the application.

    Args:
        results: where results lie.
        jobs: what works on the jobs.
        policy: what requests may name.
        token: what clients must bear.
        max_bytes: the longest body of a request.
    """

    threads = ThreadPoolExecutor(INTAKE_THREADS, thread_name_prefix="intake")

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        yield
        await _answered(jobs.stop())
        threads.shutdown(wait=False, cancel_futures=True)

    app = FastAPIOffline(  # its page of documentation needs nothing from the net
        redoc_url=None,
        title="SkeletonAgent: the agent",
        version="1",
        summary="Makes the constraints of training rounds: what tells the classes apart that a recogniser confuses.",
        lifespan=lifespan,
    )
    _add_rounds(app, results, jobs, policy, threads)
    _add_probes(app, Checkup(results, policy.endpoints))
    _describe_body(app)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(SkeletonAgentError, _on_error)
    app.add_exception_handler(_RefusedError, _on_refused)
    app.add_exception_handler(405, _on_method)
    return AuthMiddleware(app, token=token, max_bytes=max_bytes)


async def _answered(sent: list[Future[None]]) -> None:
    """Wait for them, but no longer than ``PARK_S``.

    No thread does it: where memory has run out none can be started, and Python may wait for its start for ever.
    """
    if waiting := [asyncio.wrap_future(one) for one in sent]:
        _, late = await asyncio.wait(waiting, timeout=PARK_S)
        for one in late:
            one.cancel()


def _add_rounds(app: FastAPI, results: Results, jobs: Jobs, policy: Policy, threads: ThreadPoolExecutor) -> None:
    bearer = [Depends(HTTPBearer(auto_error=False))]  # for the document; the middleware has looked already

    async def in_thread(action: Callable[[], T]) -> T:
        return await asyncio.get_running_loop().run_in_executor(threads, action)

    @app.post(
        ROUNDS,
        status_code=202,
        dependencies=bearer,
        responses=_responses(400, 401, 408, 413, 422, 503, 507),
        openapi_extra={"requestBody": {"required": True, "content": {"application/json": {"schema": _BODY}}}},
    )
    async def submit(request: Request, response: Response) -> RoundStatus:
        """Ask for the constraints of a round. The same request is the same job, however often it is made."""
        body = await request.body()

        def taken_in() -> Accepted:
            return accept(read_request(body, policy), results)

        status = jobs.post(await in_thread(taken_in))
        response.headers["Location"] = f"{ROUNDS}/{status.id}"
        return status

    @app.get(f"{ROUNDS}/{{job}}", dependencies=bearer, responses=_responses(400, 401, 404, 408, 413, 422))
    async def status(job: JobId) -> RoundStatus:
        """Say how a job fares."""
        return _known(jobs, job).status

    @app.get(
        f"{ROUNDS}/{{job}}/result",
        dependencies=bearer,
        response_model=Files,
        responses=_responses(400, 401, 404, 408, 409, 413, 422, 503, 507),
    )
    async def result(job: JobId) -> Response:
        """Return the constraints artifact of a job that is done."""
        found = _known(jobs, job).status
        if found.state != "done":
            raise _RefusedError(409, f"the job is {found.state}: it has no result")
        # Made here and not by FastAPI, which would read and check every byte of it on the event loop.
        content = await in_thread(lambda: _read(results, job).model_dump_json())
        return Response(content, media_type="application/json")

    @app.post(
        f"{ROUNDS}/{{job}}/cancel",
        status_code=202,
        dependencies=bearer,
        responses=_responses(400, 401, 404, 408, 413, 422),
    )
    async def cancel(job: JobId) -> RoundStatus:
        """Cancel a job: what it has sent to an LLM is broken off. One that has ended stays as it is."""
        found = _known(jobs, job)
        if found.status.state not in ENDED:
            jobs.cancel(found)
        return found.status


def _add_probes(app: FastAPI, checkup: Checkup) -> None:
    @app.get("/healthz")
    async def healthz() -> dict[str, str]:
        """Say that the process lives, and answers."""
        return {"status": OK}

    @app.get("/readyz", responses={422: {"model": Problem}, 503: {"model": Health, "description": "A part fails."}})
    def readyz(response: Response, part: Part | None = None) -> Health:
        """Say whether the store can be written and the LLM endpoints reached; with `part`, that one decides the status.

        Without its LLM a round still ends, with the constraints there are: whoever should get through to it then
        asks for `part=store`.
        """
        health = checkup()
        found = [health.store, health.llm] if part is None else [getattr(health, part)]
        if not all(one == OK for one in found):
            response.status_code = 503
            response.headers["Retry-After"] = str(RETRY_AFTER_S)
        return health

    # Without ``async`` it would wait for a thread while all threads wait for a store that stalls.
    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Return the metrics for Prometheus."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


_BODY = {"$ref": "#/components/schemas/RoundRequest"}


def _describe_body(app: FastAPI) -> None:
    """Put the schema of a request into the document: its body is measured before FastAPI could read it."""
    describe = app.openapi

    def described() -> dict[str, Any]:
        document = describe()
        schema = RoundRequest.model_json_schema(ref_template="#/components/schemas/{model}")
        schemas = document.setdefault("components", {}).setdefault("schemas", {})
        schemas.update({**schema.pop("$defs", {}), "RoundRequest": schema})
        return document

    app.openapi = described  # type: ignore[method-assign]


class _RefusedError(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def _known(jobs: Jobs, job: str) -> Job:
    found = jobs.find(job)
    if found is None:
        raise _RefusedError(404, "there is no such job")
    return found


def _read(results: Results, job: str) -> Files:
    try:
        return results.read(job)
    except SkeletonAgentError as error:
        raise error.renamed({results.place: "the store"}) from None


def _responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem, "description": _PROBLEMS[status]} for status in statuses}


async def _on_invalid(request: Request, error: Exception) -> Response:
    invalid = cast(RequestValidationError, error)
    parts = [f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in invalid.errors()]
    return JSONResponse({"detail": "; ".join(parts)[:2000]}, 422)


async def _on_error(request: Request, error: Exception) -> Response:
    status = cast(SkeletonAgentError, error).http_status
    headers = {"Retry-After": str(RETRY_AFTER_S)} if status in (503, 507) else {}
    if headers:
        LOGGER.warning("%s", error)
    return JSONResponse({"detail": str(error)}, status, headers)


async def _on_refused(request: Request, error: Exception) -> Response:
    refusal = cast(_RefusedError, error)
    return JSONResponse({"detail": refusal.detail}, refusal.status)


async def _on_method(request: Request, error: Exception) -> Response:
    """Name all methods of the resource: each route of ours knows only its own."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    found = [route.methods or set() for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    allowed = ", ".join(sorted(set[str]().union(*found)))
    return JSONResponse({"detail": "Method Not Allowed"}, 405, {"Allow": allowed})
