"""All Prometheus metrics of the agent: of the LLM, of the constraints, and of the service's jobs.

Alerts and dashboards refer to these names. Tokens and money count what was bought, not what was remembered;
``model`` is the configured one if it has a price, else ``other``. The default registry adds what it knows of the
process.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

from prometheus_client import Counter, Gauge, Histogram

OTHER = "other"
_MOST_MODELS = 50
_LONGEST_NAME = 100
_models: set[str] = set()


def name_models(names: Iterable[str]) -> None:
    """Let metrics tell these models apart; all others are ``other``. Names for ever: so only a few, short ones."""
    for name in names:
        if len(_models) < _MOST_MODELS and len(name) <= _LONGEST_NAME:
            _models.add(name)


class _ByModel:
    """A metric whose first label is a model, which whoever asks for a round may call anything."""

    def labels(self, model: str, *rest: Any) -> Any:
        return super().labels(model if model in _models else OTHER, *rest)  # type: ignore[misc]


class _Counter(_ByModel, Counter):  # type: ignore[misc]
    pass


class _Gauge(_ByModel, Gauge):  # type: ignore[misc]
    pass


class _Histogram(_ByModel, Histogram):  # type: ignore[misc]
    pass


_MODEL = ("model",)
_SECONDS = (0.1, 0.25, 0.5, 1, 2.5, 5, 10, 20, 40, 60, 120, 300)

LLM_REQUESTS = _Counter(
    "skeletonagent_llm_requests",
    "Requests sent to the LLM, each try counted; outcome: answered, timeout, connection, body, or http_<status>",
    ("model", "outcome"),
)
LLM_RETRIES = _Counter("skeletonagent_llm_retries", "Requests sent again after a failure that may pass", _MODEL)
LLM_REFUSALS = _Counter("skeletonagent_llm_refusals", "Answers that the model or a content filter refused", _MODEL)
LLM_TOKENS = _Counter("skeletonagent_llm_tokens", "Tokens bought; kind: prompt or completion", ("model", "kind"))
LLM_COST = _Counter("skeletonagent_llm_cost", "Money spent, in the currency of the configured prices", _MODEL)
LLM_LATENCY = _Histogram(
    "skeletonagent_llm_latency_seconds", "Time of each try, failed ones too", _MODEL, buckets=_SECONDS
)
LLM_LIMIT = _Gauge(
    "skeletonagent_llm_limit",
    "Requests that may be under way at once, of all rounds together; it falls where the LLM is overloaded",
    _MODEL,
)
LLM_CACHE_HITS = _Counter(
    "skeletonagent_llm_cache_hits", "Questions that were answered before and cost nothing", _MODEL
)

CONSTRAINTS = Counter(
    "skeletonagent_agent_constraints",
    "Constraints written, by status: answered, data, kept, prior or no-prior",
    ("status",),
)

JOBS = Counter("skeletonagent_agent_jobs", "Jobs that ended here; state: done, failed or cancelled", ("state",))
JOB_SECONDS = Histogram(
    "skeletonagent_agent_job_seconds",
    "Time from taking a job up to its end",
    buckets=(1, 5, 15, 30, 60, 120, 300, 600, 1800, 3600),
)
JOBS_RUNNING = Gauge("skeletonagent_agent_jobs_running", "Jobs that are worked on")
JOBS_QUEUED = Gauge("skeletonagent_agent_jobs_queued", "Jobs that wait for their turn")
HTTP_REQUESTS = Counter(
    "skeletonagent_agent_http_requests",
    "Requests to the service by method, route (its template) and status",
    ("method", "route", "status"),
)
READY = Gauge(
    "skeletonagent_agent_ready", "1 where the part was reachable when last looked; part: store or llm", ("part",)
)
