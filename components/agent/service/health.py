"""Whether the service could do its work now: is its store there, and do its LLM endpoints answer?"""

from __future__ import annotations

import os
import threading
import time

import certifi
import urllib3
from urllib3.exceptions import HTTPError

from components.agent.llm.endpoint import KEY_VARIABLE
from components.agent.metrics import READY
from components.agent.service.messages import Health
from components.agent.service.results import Results
from components.contracts.errors import SkeletonAgentError

OK = "ok"
FRESH_S = 5.0
"""For so long a finding stands: probes come often, and from everywhere."""


class Checkup:
    """Looks after the store and the LLM endpoints."""

    def __init__(self, results: Results, endpoints: tuple[str, ...]) -> None:
        self._results = results
        self._endpoints = endpoints
        self._pool = urllib3.PoolManager(timeout=urllib3.Timeout(total=3.0), retries=False, ca_certs=certifi.where())
        self._lock = threading.Lock()
        self._found: tuple[float, Health] | None = None

    def __call__(self) -> Health:
        """Return what was found a moment ago, or look again."""
        with self._lock:
            if self._found is None or time.monotonic() - self._found[0] > FRESH_S:
                health = Health(store=self._store(), llm=self._llm())
                READY.labels("store").set(health.store == OK)
                READY.labels("llm").set(health.llm == OK)
                self._found = time.monotonic(), health
            return self._found[1]

    def _store(self) -> str:
        try:
            self._results.check()
        except SkeletonAgentError as error:
            return error.what  # without the place, which may be a path of this machine
        return OK

    def _llm(self) -> str:
        """Ask each endpoint for its models, which costs nothing; any sensible answer will do, even that it has none."""
        key = os.environ.get(KEY_VARIABLE, "").strip()
        headers = {"Authorization": f"Bearer {key}"} if key else {}
        for url in self._endpoints:
            try:
                status = self._pool.request("GET", f"{url.rstrip('/')}/models", headers=headers, redirect=False).status
            except HTTPError as error:
                return f"{url}: no connection: {type(error).__name__}"
            if status in (401, 403, 500, 502, 503, 504):
                return f"{url}: HTTP {status}"
        return OK
