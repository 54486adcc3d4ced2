"""The HTTP interface of the service (OpenAPI at ``/openapi.json``, a page at ``/docs``)."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Annotated, Any, TypeVar

from fastapi import Depends, FastAPI, Request, Response
from fastapi.exceptions import RequestValidationError
from fastapi.responses import JSONResponse
from fastapi.security import HTTPBearer
from fastapi_offline import FastAPIOffline
from prometheus_client import CONTENT_TYPE_LATEST, generate_latest
from pydantic import ValidationError
from starlette.routing import Match, Route

from components.agent.providers import LOGGER
from components.agent.service.book import Book
from components.agent.service.guard import App, Guard
from components.agent.service.health import OK, Checkup
from components.agent.service.intake import accept
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
from components.agent.service.worker import Workers
from components.contracts.errors import SkeletonAgentError

PARK_S = 5.0
"""For how long what was sent to an LLM may still be answered once the service is told to end."""

T = TypeVar("T")

_PROBLEMS: dict[int, str] = {
    400: "The request is not HTTP as it should be.",
    401: "The bearer token is missing or wrong.",
    404: "There is no such job.",
    409: "The job has no result (yet).",
    413: "The body is too long.",
    422: "The round cannot be made from this; `detail` says why.",
    503: "The store fails; try again.",
}


class _StoreError(Exception):
    """The store fails, which is not the client's fault."""


def make_app(book: Book, endpoints: tuple[str, ...], *, token: str, slots: int, max_bytes: int) -> App:
    """Return the application.

    Args:
        book: the jobs.
        endpoints: base URLs of the LLM endpoints that requests may name.
        token: what clients must bear.
        slots: how many jobs are worked on at once.
        max_bytes: the longest body of a request.
    """
    workers = Workers(book, slots, endpoints)

    @asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        workers.start()
        yield
        await asyncio.to_thread(workers.stop, PARK_S)

    app = FastAPIOffline(  # its page of documentation needs nothing from the net
        redoc_url=None,
        title="SkeletonAgent: the agent",
        version="1",
        summary="Makes the constraints of training rounds: what tells the classes apart that a recogniser confuses.",
        lifespan=lifespan,
    )
    _add_rounds(app, book, endpoints, workers)
    _add_probes(app, Checkup(book, endpoints), workers)
    app.add_exception_handler(RequestValidationError, _on_invalid)
    app.add_exception_handler(SkeletonAgentError, _on_input)
    app.add_exception_handler(_StoreError, _on_store)
    app.add_exception_handler(405, _on_method)
    return Guard(app, token=token, max_bytes=max_bytes)


def _add_rounds(app: FastAPI, book: Book, endpoints: tuple[str, ...], workers: Workers) -> None:
    bearer = [Depends(HTTPBearer(auto_error=False))]  # for the document; the guard has looked already

    @app.post(ROUNDS, status_code=202, dependencies=bearer, responses=_responses(400, 401, 413, 422, 503))
    def submit(request: Annotated[RoundRequest, Depends(_strictly)], response: Response) -> RoundStatus:
        """Ask for the constraints of a round. The same request is the same job, however often it is made."""
        status, complete = accept(request, endpoints)
        known = _stored(lambda: book.submit(status, complete))
        workers.wake()
        response.headers["Location"] = f"{ROUNDS}/{known.id}"
        return known

    @app.get(f"{ROUNDS}/{{job}}", dependencies=bearer, responses=_responses(400, 401, 404, 422, 503))
    def status(job: JobId) -> RoundStatus:
        """Say how a job fares."""
        return _known(book, workers, job)

    @app.get(
        f"{ROUNDS}/{{job}}/result",
        dependencies=bearer,
        responses=_responses(400, 401, 404, 409, 422, 503),
    )
    def result(job: JobId) -> Files:
        """Return the constraints artifact of a job that is done."""
        found = _known(book, workers, job)
        if found.state != "done":
            raise _RefusedError(409, f"the job is {found.state}: it has no result")
        return _stored(lambda: book.result(job))

    @app.post(
        f"{ROUNDS}/{{job}}/cancel",
        status_code=202,
        dependencies=bearer,
        responses=_responses(400, 401, 404, 422, 503),
    )
    def cancel(job: JobId) -> RoundStatus:
        """Cancel a job. One that is under way first takes the answers to what it has sent; one that ended stays."""
        found = _known(book, workers, job)
        if found.state not in ENDED:
            _stored(lambda: book.cancel(job))
            workers.cancel(job)
            workers.wake()
        return found

    @app.exception_handler(_RefusedError)
    async def refused(request: Request, error: _RefusedError) -> Response:
        return JSONResponse({"detail": error.detail}, error.status)


def _add_probes(app: FastAPI, checkup: Checkup, workers: Workers) -> None:
    # Without ``async`` these two would wait for a thread while all threads wait for a store that stalls.
    @app.get("/healthz", responses={503: {"model": Problem, "description": "Only a new process helps."}})
    async def healthz() -> dict[str, str]:
        """Say that the process lives, and works on jobs."""
        if not workers.lives():
            raise _RefusedError(503, "no jobs are looked for any more; the log says why")
        return {"status": OK}

    @app.get("/readyz", responses={422: {"model": Problem}, 503: {"model": Health, "description": "A part fails."}})
    def readyz(response: Response, part: Part | None = None) -> Health:
        """Say whether the store and the LLM endpoints can be reached; with `part`, that one decides the status.

        Without its LLM a round still ends, with the constraints there are: whoever should get through to it then
        asks for `part=store`.
        """
        health = checkup()
        found = [health.store, health.llm] if part is None else [getattr(health, part)]
        response.status_code = 200 if all(one == OK for one in found) else 503
        return health

    @app.get("/metrics", response_class=Response, responses={200: {"content": {"text/plain": {}}}})
    async def metrics() -> Response:
        """Return the metrics for Prometheus."""
        return Response(generate_latest(), media_type=CONTENT_TYPE_LATEST)


class _RefusedError(Exception):
    def __init__(self, status: int, detail: str) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail


def _known(book: Book, workers: Workers, job: str) -> RoundStatus:
    found = workers.status(job) or _stored(lambda: book.status(job))
    if found is None:
        raise _RefusedError(404, "there is no such job")
    return found


def _stored(action: Callable[[], T]) -> T:
    """Return what the store gives."""
    try:
        return action()
    except SkeletonAgentError as error:
        raise _StoreError(str(error)) from None


def _responses(*statuses: int) -> dict[int | str, dict[str, Any]]:
    return {status: {"model": Problem, "description": _PROBLEMS[status]} for status in statuses}


async def _strictly(request: Request, body: RoundRequest) -> RoundRequest:
    """Read the body as its schema says, where FastAPI alone would take ``false`` for 0."""
    try:
        return RoundRequest.model_validate_json(await request.body(), strict=True)
    except ValidationError as error:
        problems: list[Any] = [{**problem, "loc": ("body", *problem["loc"])} for problem in error.errors()]
        raise RequestValidationError(problems) from None


async def _on_invalid(request: Request, error: Exception) -> Response:
    assert isinstance(error, RequestValidationError)
    parts = [f"{'.'.join(str(part) for part in problem['loc'])}: {problem['msg']}" for problem in error.errors()]
    return JSONResponse({"detail": "; ".join(parts)[:2000]}, 422)


async def _on_input(request: Request, error: Exception) -> Response:
    return JSONResponse({"detail": str(error)}, 422)


async def _on_method(request: Request, error: Exception) -> Response:
    """Name all methods of the resource: each route of ours knows only its own."""
    routes = [route for route in request.app.routes if isinstance(route, Route)]
    found = [route.methods or set() for route in routes if route.matches(request.scope)[0] is not Match.NONE]
    allowed = ", ".join(sorted(set[str]().union(*found)))
    return JSONResponse({"detail": "Method Not Allowed"}, 405, {"Allow": allowed})


async def _on_store(request: Request, error: Exception) -> Response:
    LOGGER.warning("the store fails: %s", error)
    return JSONResponse({"detail": f"the store fails: {error}"}, 503)
