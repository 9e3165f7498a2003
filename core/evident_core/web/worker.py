"""The process that does queued jobs, each in a sandbox of its own."""

import logging
import signal
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from types import FrameType
from typing import Final

from sqlalchemy import select
from sqlalchemy.exc import OperationalError

from evident_core import sandbox
from evident_core.errors import EvidentError
from evident_core.progress import Progress
from evident_core.services import installed
from evident_core.settings import SandboxSettings, Settings
from evident_core.web.job_rows import add_event, end, move, problem_of, release
from evident_core.web.jobs import Jobs
from evident_core.web.store import Store
from evident_core.web.tables import Input, Job, JobInput, new_id, now
from evident_core.work import Work, WorkInput, perform

_log = logging.getLogger("evident.jobs")

_RENEW_SECONDS: Final = 0.4
_LONG: Final = {"memory_mib": 1 << 20, "cpu_seconds": 10**8, "wall_seconds": 7 * 86400.0}
"""What a job that takes hours may cost: no more than a week, so that one that hangs ends at last."""


class _Lost(Exception):
    """The job is no longer this worker's: cancelled, deleted, or given to another after too long a silence."""


class _Stopping(Exception):
    """The worker was asked to stop."""


class Worker:
    """Takes jobs and does them. Several may run over one store, on several machines."""

    def __init__(self, jobs: Jobs, settings: Settings, stop: threading.Event) -> None:
        self._jobs, self._store, self._settings, self._stop = jobs, jobs.store, settings, stop
        self._lease = timedelta(seconds=settings.jobs.lease_seconds)
        jobs.on_look = self.look

    def run(self) -> None:
        """Work until asked to stop; jobs that run then are put back into the queue."""
        modules = (module for vertical in installed().values() for module in vertical.preload)
        sandbox.preload((perform.__module__, *modules))
        self._store.tidy()
        consumer = self._jobs.huey.create_consumer(
            workers=self._settings.jobs.workers, periodic=False, max_delay=0.5, check_worker_health=True
        )
        consumer.start()
        for signum in (signal.SIGTERM, signal.SIGINT):
            signal.signal(signum, self._asked_to_stop)
        between = min(self._settings.jobs.lease_seconds / 3, 10)
        while True:
            try:
                self._jobs.sweep()
            except OperationalError:
                _log.exception("the store does not answer; trying again")
            consumer.check_worker_health()
            if self._stop.wait(between):
                break
        consumer.stop(graceful=True)

    def _asked_to_stop(self, _signum: int, _frame: FrameType | None) -> None:
        # Setting takes the lock that the wait which a signal interrupts may hold: another thread can wait for it.
        threading.Thread(target=self._stop.set, name="stop").start()

    def look(self, job_id: str) -> None:
        """Do a job if it still waits."""
        token = new_id()
        with self._store.session() as session:
            taken = move(
                session,
                job_id,
                Job.state == "queued",
                state="running",
                lease=token,
                lease_until=now() + self._lease,
                attempts=Job.attempts + 1,
                started=now(),
            )
            if not taken:
                return  # Cancelled, deleted, or done by another worker: a message may come twice.
            add_event(session, job_id, "state", {"state": "running"})
        _Doing(self._jobs, self._settings, job_id, token, self._stop.is_set).do()


class _Doing:
    """One job in the hands of a worker that holds its lease."""

    def __init__(self, jobs: Jobs, settings: Settings, job_id: str, token: str, stopping: Callable[[], bool]) -> None:
        self._store, self._settings = jobs.store, settings
        self._id, self._mine = job_id, (Job.state == "running") & (Job.lease == token)
        self._lease = timedelta(seconds=settings.jobs.lease_seconds)
        self._stopping = stopping
        self._renewed = time.monotonic()
        self._last: Progress | None = None
        self._untold: Progress | None = None

    def do(self) -> None:
        """Do it, and leave it in a final state, or waiting again, unless it is no longer this worker's."""
        try:
            job, work = self._work()
            body = sandbox.run(
                perform, job.run, work, limits=self._limits(job), on_progress=self._report, on_tick=self._tick
            )
            self._renew(self._untold)
            self._keep(job, work, body)
        except _Lost:
            _log.info("job %s was taken back", self._id)
        except _Stopping:
            with self._store.session() as session:
                if release(session, self._id, self._mine, attempts=Job.attempts - 1, lease_until=now()):
                    add_event(session, self._id, "state", {"state": "queued", "reason": "the worker was stopped"})
        except EvidentError as error:
            self._fail(error)
        except OperationalError:
            _log.exception("the store does not answer; job %s will be begun again", self._id)
        except sandbox.Defect as error:
            _log.error("defect", extra={"job": self._id, "exception": error.kind, "frames": error.frames})
            self._fail(
                EvidentError("The service failed on this file by a defect of its own; please report it.", job=self._id)
            )

    def _work(self) -> tuple[Job, Work]:
        with self._store.reading() as session:
            job = session.scalar(select(Job).where(Job.id == self._id, self._mine))
            if job is None:
                raise _Lost
            query = select(Input).join(JobInput).where(JobInput.job_id == self._id).order_by(JobInput.position)
            inputs = tuple(
                WorkInput(
                    id=row.id,
                    path=self._store.input_path(row),
                    name=row.name,
                    sha256=row.sha256,
                    media_type=row.media_type,
                )
                for row in session.scalars(query)
            )
        return job, Work(inputs=inputs, options=job.options, secrets=job.secrets or {}, data_dir=self._store.folder)

    def _limits(self, job: Job) -> SandboxSettings:
        vertical = installed().get(job.service)
        long = vertical is not None and job.run in vertical.long_runs
        return self._settings.sandbox.model_copy(update=_LONG) if long else self._settings.sandbox

    def _report(self, progress: Progress) -> None:
        at_once = progress.partial is not None or self._last is None or progress.stage != self._last.stage
        self._last, before = progress, self._untold
        self._untold = progress
        if at_once:
            self._renew(before)
            self._renew(self._untold)
            self._untold = None

    def _tick(self) -> None:
        if self._stopping():
            raise _Stopping
        if time.monotonic() - self._renewed > _RENEW_SECONDS:
            self._renew(self._untold)
            self._untold = None

    def _renew(self, progress: Progress | None) -> None:
        """Tell the progress and keep the lease."""
        self._renewed = time.monotonic()
        with self._store.session() as session:
            if not move(session, self._id, self._mine, lease_until=now() + self._lease):
                raise _Lost
            if progress is not None:
                add_event(session, self._id, "progress", progress.model_dump(mode="json", exclude_none=True))

    def _keep(self, job: Job, work: Work, body: bytes) -> None:
        """The result and the end of the job are kept together, or neither is."""
        with self._store.session() as session:
            if not move(session, self._id, self._mine, lease_until=now() + self._lease):
                raise _Lost
            result = self._store.put_result(
                session,
                body,
                owner=job.owner,
                service=job.service,
                version=job.version,
                key=job.key,
                options=job.options,
                input_ids=[each.id for each in work.inputs],
            )
            end(session, self._id, self._mine, state="done", result_id=result.id)

    def _fail(self, error: EvidentError) -> None:
        with self._store.session() as session:
            end(session, self._id, self._mine, state="failed", error=problem_of(error))


def run_worker(settings: Settings, stop: threading.Event | None = None) -> None:
    """Be a worker process, until SIGTERM, SIGINT or ``stop``. Main thread only."""
    with Store(settings) as store, Jobs(store, settings) as jobs:
        Worker(jobs, settings, stop or threading.Event()).run()
