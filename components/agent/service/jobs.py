"""The jobs of the service: in memory, each known by the hash of its content, made oldest first by a few threads.

A job that dies with the process is posted again by its client. What it asked is remembered and costs nothing.
"""

from __future__ import annotations

import threading
import time
from concurrent.futures import Future, ThreadPoolExecutor
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryDirectory

from components.agent.core import run_round
from components.agent.llm.budget import cost
from components.agent.metrics import JOB_SECONDS, JOBS, JOBS_QUEUED, JOBS_RUNNING
from components.agent.providers import LOGGER, Reply, StoppedError
from components.agent.service.intake import Accepted
from components.agent.service.memory import Memory
from components.agent.service.messages import ENDED, JobState, RoundStatus
from components.agent.service.results import Results
from components.agent.text.fetch import encoder_at_hand
from components.contracts.errors import ResourceError, SkeletonAgentError, UnavailableError

MOST_WAITING = 256
MOST_ENDED = 10_000
"""So many ended jobs are known; who asks for an older one posts it again, and gets its result from the store."""
RETRY_S = 1.0
"""How often a store that fails is tried."""

CURRENT_JOB: ContextVar[str] = ContextVar("job", default="")
"""The job that a line of the log belongs to."""


class Job:
    """A job, and the observer of its round: it takes its progress from it, and may stop it."""

    def __init__(self, accepted: Accepted) -> None:
        self.accepted = accepted
        self.status = RoundStatus(id=accepted.id, state="queued")
        self.future: Future[None] | None = None
        self.cancelled = False
        self._told = threading.Event()
        self._tokens = [0, 0]
        self._lock = threading.Lock()

    def stop(self) -> None:
        """Send nothing more; what was sent may be answered."""
        self._told.set()

    def cancel(self) -> None:
        """Send nothing more, and wait for nothing."""
        self.cancelled = True
        self._told.set()

    def pause(self, seconds: float) -> None:
        """Wait, but no longer than until the job is told to stop.

        Raises:
            StoppedError: it was told.
        """
        if self._told.wait(seconds):
            raise StoppedError

    def planned(self, total: int) -> None:
        with self._lock:
            self._tokens = [0, 0]
            self._update(total=total, done=0)

    def replied(self, reply: Reply) -> None:
        with self._lock:
            self._tokens[0] += reply.prompt_tokens
            self._tokens[1] += reply.completion_tokens
            money = cost(self.accepted.round.stage.agent, *self._tokens)
            self._update(done=self.status.done + 1, tokens=sum(self._tokens), cost=money)

    def stopping(self) -> bool:
        return self._told.is_set()

    def dropped(self) -> bool:
        return self.cancelled

    def enter(self, state: JobState, **update: str | int | float | None) -> None:
        """Take a new state."""
        with self._lock:
            self._update(state=state, **update)

    def finish(self, result: str, about: dict[str, object]) -> None:
        """End as done, with what the result says of itself."""
        tokens, money = about.get("tokens"), about.get("cost")
        self.enter(
            "done",
            done=self.status.total,
            result=result,
            tokens=tokens if isinstance(tokens, int) else 0,
            cost=money if isinstance(money, int | float) else None,
        )

    def _update(self, **update: str | int | float | None) -> None:
        self.status = self.status.model_copy(update=update)


class Jobs:
    """Makes jobs, ``slots`` at once. ``post``, ``cancel`` and ``stop`` are for one thread."""

    def __init__(self, results: Results, memory: Memory, slots: int) -> None:
        self._results = results
        self._memory = memory
        self._jobs: dict[str, Job] = {}
        self._pool = ThreadPoolExecutor(slots, thread_name_prefix="job")
        JOBS_QUEUED.set_function(lambda: self._count("queued"))
        JOBS_RUNNING.set_function(lambda: self._count("running"))

    def find(self, job: str) -> Job | None:
        """Return a job; None if it is not known (any more)."""
        return self._jobs.get(job)

    def post(self, accepted: Accepted) -> RoundStatus:
        """Take a job, unless it is there; one that failed or was cancelled begins anew.

        Raises:
            UnavailableError: too many wait.
        """
        known = self._jobs.get(accepted.id)
        if known and known.status.state not in ("failed", "cancelled"):
            accepted.discard()
            return known.status
        if self._count("queued") >= MOST_WAITING:
            accepted.discard()
            raise UnavailableError(f"{MOST_WAITING} jobs wait already")
        self._forget_old()
        job = Job(accepted)
        self._jobs.pop(accepted.id, None)
        self._jobs[accepted.id] = job
        if accepted.about is None:
            job.future = self._pool.submit(self._work, job)
        else:
            accepted.discard()
            job.finish(self._results.shown(accepted.id), accepted.about)
        return job.status

    def cancel(self, job: Job) -> None:
        """Cancel a job that has not ended."""
        job.cancel()
        if job.future and job.future.cancel():
            self._end(job, "cancelled")

    def stop(self) -> list[Future[None]]:
        """End: nothing more is sent. Returns what is done when all that was sent is answered."""
        self._pool.shutdown(wait=False, cancel_futures=True)
        live = [job for job in list(self._jobs.values()) if job.status.state not in ENDED]
        for job in live:
            job.stop()
        return [job.future for job in live if job.future and not job.future.cancelled()]

    def _count(self, state: JobState) -> int:
        return sum(job.status.state == state for job in list(self._jobs.values()))

    def _forget_old(self) -> None:
        ended = [name for name, job in self._jobs.items() if job.status.state in ENDED]
        for name in ended[: max(0, len(ended) - MOST_ENDED + 1)]:
            del self._jobs[name]

    def _work(self, job: Job) -> None:
        CURRENT_JOB.set(job.status.id[:12])
        started = time.monotonic()
        job.enter("running")
        try:
            self._carry_out(job)
        except StoppedError:
            # A job that is not cancelled was told to stop because the service ends, and its state with it.
            self._end(job, "cancelled" if job.cancelled else "queued")
        except SkeletonAgentError as error:
            self._end(job, "failed", job.accepted.named(error))
        except Exception as error:  # a defect of ours must end this job, and no other; the log has the traceback
            LOGGER.exception("a defect")
            self._end(job, "failed", f"a defect of the agent service: {type(error).__name__}")
        else:
            self._end(job, "done")
        JOB_SECONDS.observe(time.monotonic() - started)
        CURRENT_JOB.set("")

    def _end(self, job: Job, state: JobState, error: str = "") -> None:
        if job.status.state != "done":
            job.enter(state, error=error)
        job.accepted.discard()
        JOBS.labels(state).inc()
        LOGGER.info("job %s: %s %s", job.status.id[:12], state, error)

    def _carry_out(self, job: Job) -> None:
        """Make the round and store it, however long the store fails: to make it again might have to be paid for."""
        while True:
            self._await_store(job)
            failures = self._memory.failures
            with TemporaryDirectory(prefix="skeletonagent-") as folder:
                output = Path(folder) / "constraints"
                try:
                    with encoder_at_hand(job.accepted.round) as ready:
                        run_round(ready, output, cache=self._memory, observer=job)
                except (UnavailableError, ResourceError):
                    if self._memory.failures == failures:
                        raise
                if self._memory.failures == failures:
                    self._publish(job, output)
                    return
            LOGGER.warning(
                "job %s: the memory of answers failed; it goes on when the store is back", job.status.id[:12]
            )

    def _await_store(self, job: Job) -> None:
        while True:
            job.pause(0)
            try:
                self._results.check()
                self._memory.flush()
                return
            except SkeletonAgentError as error:
                LOGGER.warning("the store fails; nothing is asked: %s", error)
            job.pause(RETRY_S)

    def _publish(self, job: Job, output: Path) -> None:
        while True:
            try:
                self._results.publish(job.status.id, output)
                about = self._results.find(job.status.id) or {}
                job.finish(self._results.shown(job.status.id), about)
                return
            except SkeletonAgentError as error:
                LOGGER.warning("the result cannot be stored: %s", error)
            job.pause(RETRY_S)
