"""Works on the jobs of the book: several at once, each in a thread, none beside another replica.

A job that was left behind, by a replica that died or was told to end, is open still: whoever gets its claim makes
the round again, and the memory of answers makes what was asked before free.
"""

from __future__ import annotations

import threading
import time
from contextvars import ContextVar
from pathlib import Path
from tempfile import TemporaryDirectory

from components.agent.core import run_round
from components.agent.llm.budget import cost
from components.agent.metrics import JOB_SECONDS, JOBS, JOBS_QUEUED, JOBS_RUNNING
from components.agent.providers import LOGGER, Reply, StoppedError
from components.agent.service.book import Book, DamagedError
from components.agent.service.intake import check_endpoint, local_inputs
from components.agent.service.messages import JobState, RoundRequest, RoundStatus
from components.agent.text.fetch import encoder_at_hand
from components.contracts.config import AgentConfig
from components.contracts.errors import SkeletonAgentError
from components.runtime.store import Claim

CURRENT_JOB: ContextVar[str] = ContextVar("job", default="")
"""The job that a line of the log belongs to."""


class Job:
    """A job under way: the observer of its round, which takes its progress from it, and may stop it."""

    def __init__(self, status: RoundStatus, claim: Claim) -> None:
        self.claim = claim
        self.cancelled = False
        self.parked = False
        self.pen = threading.Lock()  # whoever writes this job's status has it
        self.over = False
        self.written: RoundStatus | None = None
        self._status = status.model_copy(update={"state": "running", "done": 0, "tokens": 0, "cost": None})
        self._config = AgentConfig()
        self._tokens = [0, 0]
        self._lock = threading.Lock()

    @property
    def status(self) -> RoundStatus:
        return self._status

    def begin(self, request: RoundRequest) -> None:
        """Take the prices by which answers are counted."""
        self._config = request.stage.agent

    def planned(self, total: int) -> None:
        self._status = self._status.model_copy(update={"total": total})

    def replied(self, reply: Reply) -> None:
        with self._lock:
            self._tokens[0] += reply.prompt_tokens
            self._tokens[1] += reply.completion_tokens
            done = self._status.done + 1
            money = cost(self._config, *self._tokens)
            update = {"done": done, "tokens": sum(self._tokens), "cost": money}
            self._status = self._status.model_copy(update=update)

    def stopping(self) -> bool:
        return self.cancelled or self.parked

    def ended(self, state: JobState, **update: str | int | float | None) -> RoundStatus:
        """Return the last status of this job here."""
        return self._status.model_copy(update={"state": state, **update})


class Workers:
    """Takes jobs up as they come, ``slots`` at once, of endpoints that are ``allowed``."""

    def __init__(self, book: Book, slots: int, allowed: tuple[str, ...]) -> None:
        self._book = book
        self._slots = slots
        self._allowed = allowed
        self._live: dict[str, Job] = {}
        self._threads: dict[str, threading.Thread] = {}
        self._lock = threading.Lock()
        self._news = threading.Event()
        self._ending = False
        self._looking: threading.Thread | None = None

    def start(self) -> None:
        """Begin to look for jobs."""
        self._looking = threading.Thread(target=self._look, name="jobs", daemon=True)
        self._looking.start()

    def lives(self) -> bool:
        """Tell whether jobs are looked for; if not, only a new process helps."""
        return self._looking is not None and self._looking.is_alive()

    def wake(self) -> None:
        """Look at once: a job has come."""
        self._news.set()

    def status(self, job: str) -> RoundStatus | None:
        """Return how a job fares that is under way here; None if it is not."""
        live = self._live.get(job)
        return live.status if live else None

    def cancel(self, job: str) -> None:
        """Stop a job if it is under way here."""
        if live := self._live.get(job):
            live.cancelled = True

    def stop(self, patience_s: float) -> bool:
        """End: nothing more is sent, what was sent may be answered, and jobs go back to the queue.

        Returns:
            Whether all did so in time. The claims of the others end with this process.
        """
        deadline = time.monotonic() + patience_s
        with self._lock:
            self._ending = True
            for job in self._live.values():
                job.parked = True
            threads = [*self._threads.values(), *([self._looking] if self._looking else [])]
        self._news.set()
        for thread in threads:
            thread.join(max(0.0, deadline - time.monotonic()))
        if self._live:
            LOGGER.warning("%d jobs did not stop in time; they stay open for another replica", len(self._live))
        return not self._live

    def _look(self) -> None:
        while not self._ending:
            self._news.wait(self._book.poll_s)
            self._news.clear()
            self._park_lost()
            try:
                self._take_jobs()
                self._tend_jobs()
            except SkeletonAgentError as error:
                LOGGER.warning("the store fails: %s", error)
                time.sleep(1.0)
            except Exception:  # ``lives`` then says so; an exception that nobody catches would not be in the log
                LOGGER.exception("a defect")
                raise

    def _take_jobs(self) -> None:
        waiting = 0
        for job in self._book.open_jobs():
            if job in self._live or self._ending:
                continue
            if len(self._live) >= self._slots:
                status = self._book.status(job)
                waiting += status is not None and status.state == "queued"
                continue
            if claim := self._book.claim(job):
                self._take(job, claim)
        JOBS_QUEUED.set(waiting)

    def _take(self, job: str, claim: Claim) -> None:
        try:
            status = self._book.status(job) or RoundStatus(id=job, state="queued")
        except SkeletonAgentError:
            claim.release()
            raise
        taken = Job(status, claim)
        thread = threading.Thread(target=self._work, args=(taken,), name=f"job-{job[:12]}", daemon=True)
        with self._lock:
            taken.parked = self._ending
            self._live[job], self._threads[job] = taken, thread
            JOBS_RUNNING.set(len(self._live))
        thread.start()

    def _park_lost(self) -> None:
        """Stop jobs that are ours no longer; that shows without the store, which may be what fails."""
        for number, job in list(self._live.items()):
            if not job.parked and not job.claim.held():
                LOGGER.warning("job %s: its claim is lost; it is left to another replica", number[:12])
                job.parked = True

    def _tend_jobs(self) -> None:
        """Tell the others how our jobs fare, and hear whether they are still wanted."""
        for number, job in list(self._live.items()):
            if job.parked:
                continue
            if self._book.is_cancelled(number):
                job.cancelled = True
            else:
                with job.pen:
                    now = job.status
                    if not job.over and now != job.written:
                        self._book.write(now)
                        job.written = now

    def _work(self, job: Job) -> None:
        number = job.status.id
        CURRENT_JOB.set(number[:12])
        started = time.monotonic()
        try:
            last = self._carry_out(job)
        except Exception as error:  # a defect of ours must end this job, and no other; the log has the traceback
            LOGGER.exception("a defect")
            last = job.ended("failed", error=f"a defect of the agent service: {type(error).__name__}")
        with self._lock:
            del self._live[number], self._threads[number]
            JOBS_RUNNING.set(len(self._live))
        self._close(job, last)
        LOGGER.info("job %s: %s %s", number[:12], last.state, last.error)
        if last.state != "queued":  # else whatever kept it from its end must have time to pass
            JOBS.labels(last.state).inc()
            JOB_SECONDS.observe(time.monotonic() - started)
            self._news.set()

    def _close(self, job: Job, last: RoundStatus) -> None:
        """Write a job's last status and give it back, each whether or not the other can be done."""
        job.over = True
        for step in (lambda: self._write_last(job, last), job.claim.release):
            try:
                step()
            except SkeletonAgentError as error:
                LOGGER.warning("the store fails; the job stays open: %s", error)

    def _write_last(self, job: Job, last: RoundStatus) -> None:
        with job.pen:
            if job.claim.held():
                self._book.write(last)

    def _carry_out(self, job: Job) -> RoundStatus:
        """Make the round and return the job's last status; ``queued`` where another must go on."""
        number = job.status.id
        try:
            known = self._book.status(number)
            if known and known.state in ("done", "failed"):
                return known
            if self._book.is_cancelled(number):
                return job.ended("cancelled")
            if self._book.has_result(number):  # whoever made it died before it could say so
                return self._finished(job)
            request = self._book.request(number)
            self._book.write(job.status)  # where this cannot be written, answers could not be kept either
        except DamagedError as error:
            return job.ended("failed", error=str(error))
        except SkeletonAgentError as error:
            LOGGER.warning("the store fails: %s", error)
            return job.ended("queued")
        job.begin(request)
        with TemporaryDirectory(prefix="skeletonagent-") as folder:
            output = Path(folder) / "constraints"
            try:
                self._make(request, output, job)
            except StoppedError:
                return job.ended("cancelled" if job.cancelled else "queued")
            except SkeletonAgentError as error:
                return self._failed(job, error)
            return self._published(job, output)

    def _failed(self, job: Job, error: SkeletonAgentError) -> RoundStatus:
        """Return the last status of a job that an error ended; where the store fails it may be the store's fault."""
        try:
            self._book.check()
        except SkeletonAgentError:
            LOGGER.warning("the store fails: %s", error)
            return job.ended("queued")
        return job.ended("failed", error=str(error))

    def _published(self, job: Job, output: Path) -> RoundStatus:
        """Store a result, however long that takes: to make it again might have to be paid for again."""
        while True:
            try:
                self._book.publish(job.status.id, output)
                return self._finished(job)
            except SkeletonAgentError as error:
                LOGGER.warning("the result cannot be stored: %s", error)
            if job.stopping():
                return job.ended("cancelled" if job.cancelled else "queued")
            time.sleep(self._book.poll_s)

    def _make(self, request: RoundRequest, output: Path, job: Job) -> None:
        check_endpoint(request.stage.agent, self._allowed)  # another replica may have let it in
        with local_inputs(request) as inputs, encoder_at_hand(inputs) as ready:
            run_round(ready, output, cache=self._book.memory, observer=job)

    def _finished(self, job: Job) -> RoundStatus:
        number = job.status.id
        about = self._book.about(number)
        return job.ended(
            "done",
            done=job.status.total,
            tokens=int(about.get("tokens", 0)),
            cost=about.get("cost"),
            result=self._book.place_of(number),
        )
