"""Queued work: who may submit it, what is known of it, and how it is told.

A job is a row of the store, and the row alone says what state it is in; Huey's queue (SQLite, or Redis by URL) only
tells a worker that it should look. A worker takes a job by changing its row, under a lease that it must renew. So a job
that the queue loses is put in again, one whose worker is killed is begun again or reported failed, and of two workers
that hold the same job, one that had fallen silent, only the holder of the lease can end it.
"""

import hashlib
import logging
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import timedelta
from importlib.util import find_spec
from typing import Any, Final, Self

from huey import Huey, RedisHuey, SqliteHuey
from huey.serializer import SignedSerializer
from pydantic import BaseModel
from sqlalchemy import func, select
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session

from evident_core.errors import Conflict, InvalidInput, MissingExtra, ModelNotReady, TooMany
from evident_core.settings import Settings
from evident_core.web.job_rows import EventView, JobView, add_event, end, move, problem_of, release, view
from evident_core.web.store import Store, owned, result_key
from evident_core.web.tables import OPEN_STATES, Input, Job, JobEvent, JobInput, Result, now

__all__ = ["EventView", "JobView", "Jobs", "Task"]

_log = logging.getLogger("evident.jobs")

FOLLOW_SECONDS: Final = 0.2


@dataclass(frozen=True)
class Task:
    """Work that a service queues: ``run`` names a :class:`~evident_core.work.Run` function as ``"module:function"``.

    Results are kept under ``version``: a new one computes everything anew. ``options`` is the model of what a request
    may choose besides its inputs; without one, nothing.
    """

    service: str
    version: str
    run: str
    options: type[BaseModel] | None = None


class Jobs:
    """The queue over one store."""

    def __init__(self, store: Store, settings: Settings) -> None:
        self.store = store
        self.settings = settings.jobs
        self.huey = _open_queue(store, settings)
        self.on_look: Callable[[str], None] = _ignore

        def look(job_id: str) -> None:
            self.on_look(job_id)

        self._look = self.huey.task()(look)

    def close(self) -> None:
        """Let go of the queue; the store stays open."""
        self.huey.storage.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def ping(self) -> None:
        """Ask the queue for an answer.

        Raises:
            ModelNotReady: There is none.
        """
        try:
            self.huey.pending_count()
        except Exception as error:
            raise ModelNotReady(f"The job queue does not answer ({error}); start it, or set jobs.url.") from None

    # --- submitting ---------------------------------------------------------------------------------------------------

    def submit(
        self,
        task: Task,
        input_ids: Sequence[str],
        *,
        owner: str,
        options: Mapping[str, Any] | None = None,
        secrets: Mapping[str, Any] | None = None,
    ) -> JobView:
        """Queue work on inputs that are stored.

        The same work that is queued or runs already is that job; work whose result is kept is a job that is done.

        Args:
            task: What to do.
            input_ids: On which inputs, in their order.
            owner: Whose the job and its result are.
            options: What else decides the result; JSON-serialisable.
            secrets: What the work needs to open its inputs; forgotten when the job ends.

        Raises:
            NotFound: An input is not there, or not this owner's.
            TooMany: The queue, or this owner's share of it, is full.
        """
        options, ids = dict(options or {}), list(dict.fromkeys(input_ids))
        while True:
            try:
                with self.store.session() as session:
                    contents = [owned(session, Input, each, owner).sha256 for each in ids]
                    key = result_key(task.service, task.version, contents, options)
                    job, new = self._find_or_create(session, task, key, owner, options, dict(secrets or {}) or None)
                    if new:
                        session.add_all(JobInput(job_id=job.id, input_id=e, position=p) for p, e in enumerate(ids))
                        add_event(session, job.id, "state", {"state": job.state})
                break
            except IntegrityError:
                continue  # The same work was submitted in this very moment: take that job.
        if new and job.state == "queued":
            self._wake([job.id])
        return self.get(job.id, owner)

    def _find_or_create(
        self,
        session: Session,
        task: Task,
        key: str,
        owner: str,
        options: dict[str, Any],
        secrets: dict[str, Any] | None,
    ) -> tuple[Job, bool]:
        mine = select(Job).where(Job.owner == owner, Job.key == key)
        if found := session.scalar(mine.where(Job.state.in_(OPEN_STATES))):
            return found, False
        result = session.scalar(select(Result.id).where(Result.owner == owner, Result.key == key))
        if result is None:
            self._refuse_if_full(session, owner)
        elif found := session.scalar(mine.where(Job.result_id == result).order_by(Job.created.desc()).limit(1)):
            return found, False
        job = Job(
            owner=owner,
            service=task.service,
            version=task.version,
            key=key,
            run=task.run,
            options=options,
            secrets=secrets,
        )
        if result is None:
            job.state, job.lease_until = "queued", now() + self._lease
        else:
            job.state, job.secrets, job.result_id, job.finished = "done", None, result, now()
        session.add(job)
        session.flush()
        return job, True

    def _refuse_if_full(self, session: Session, owner: str) -> None:
        waiting = select(func.count()).select_from(Job).where(Job.state == "queued")
        if (session.scalar(waiting) or 0) >= self.settings.max_queued:
            raise TooMany(f"{self.settings.max_queued} jobs wait already; try again in a few minutes.")
        if (session.scalar(waiting.where(Job.owner == owner)) or 0) >= self.settings.max_queued_per_owner:
            raise TooMany(
                f"{self.settings.max_queued_per_owner} of your jobs wait already; submit more when some are done."
            )

    def _wake(self, job_ids: Sequence[str]) -> None:
        try:
            for job_id in job_ids:
                self._look(job_id)
        except Exception:
            # The row is there, so the job is not lost: whoever sweeps puts it into the queue again.
            _log.exception("the queue does not answer; its jobs wait in the store")

    # --- what is known ------------------------------------------------------------------------------------------------

    def get(self, job_id: str, owner: str) -> JobView:
        """One job.

        Raises:
            NotFound: This owner has none of that id.
        """
        with self.store.reading() as session:
            return view(session, owned(session, Job, job_id, owner))

    def list(self, owner: str, service: str, *, limit: int = 100) -> tuple[JobView, ...]:
        """An owner's jobs at a service, newest first."""
        query = select(Job).where(Job.owner == owner, Job.service == service).order_by(Job.created.desc()).limit(limit)
        with self.store.reading() as session:
            return tuple(view(session, job) for job in session.scalars(query))

    def events(self, job_id: str, owner: str, *, after: int = 0) -> tuple[EventView, ...]:
        """What happened to a job since the event of that id.

        Raises:
            NotFound: This owner has none of that id.
        """
        with self.store.reading() as session:
            owned(session, Job, job_id, owner)
            query = select(JobEvent).where(JobEvent.job_id == job_id, JobEvent.id > after).order_by(JobEvent.id)
            return tuple(EventView(id=e.id, kind=e.kind, data=e.data) for e in session.scalars(query))

    def follow(self, job_id: str, owner: str, *, after: int = 0, seconds: float = 300) -> Iterator[EventView | None]:
        """Events as they happen, until the job has ended; None about once in ten seconds in which nothing happens.

        Raises:
            NotFound: This owner has none of that id, or it is deleted meanwhile.
        """
        until, quiet_since = time.monotonic() + seconds, time.monotonic()
        while time.monotonic() < until:
            final = self.get(job_id, owner).final  # asked first, so that no event after the answer is missed
            for event in self.events(job_id, owner, after=after):
                after, quiet_since = event.id, time.monotonic()
                yield event
            if final:
                return
            if time.monotonic() - quiet_since > 10:
                quiet_since = time.monotonic()
                yield None
            time.sleep(FOLLOW_SECONDS)

    def depth(self) -> int:
        """How many jobs wait."""
        with self.store.reading() as session:
            return session.scalar(select(func.count()).select_from(Job).where(Job.state == "queued")) or 0

    # --- ending -------------------------------------------------------------------------------------------------------

    def cancel(self, job_id: str, owner: str) -> JobView:
        """Take a job back, whether it waits or runs; whoever runs it stops within a second.

        Raises:
            NotFound: This owner has none of that id.
            Conflict: It has ended already.
        """
        with self.store.session() as session:
            job = owned(session, Job, job_id, owner)
            if not end(session, job_id, Job.state.in_(OPEN_STATES), state="cancelled"):
                raise Conflict(f"The job is {job.state} already; there is nothing left to cancel.", state=job.state)
        return self.get(job_id, owner)

    def sweep(self) -> None:
        """Find what was lost: jobs whose worker is silent, and jobs that wait without being in the queue.

        Every worker does this from time to time; doing it more often, or in several places, does no harm.
        """
        lost: list[str] = []
        with self.store.session() as session:
            silent = select(Job).where(Job.state == "running", Job.lease_until < now())
            for job in session.scalars(silent.with_for_update(skip_locked=True)).all():
                if self._recover(session, job):
                    lost.append(job.id)
            waiting = session.scalars(select(Job).where(Job.state == "queued")).all()
            overdue = [job.id for job in waiting if job.lease_until is None or job.lease_until < now()]
            # While the queue holds as many messages as jobs wait, theirs are among them.
            if overdue and self._messages() < len(waiting) - len(lost):
                lost += overdue
            for job_id in overdue:
                move(session, job_id, Job.state == "queued", lease_until=now() + self._lease)
        self._wake(lost)

    def _recover(self, session: Session, job: Job) -> bool:
        """Begin a job again whose worker fell silent, or, when that was the last attempt, report it failed."""
        again = job.attempts < self.settings.max_attempts
        if again:
            release(session, job.id, Job.lease == job.lease, lease_until=now() + self._lease)
            add_event(session, job.id, "state", {"state": "queued", "reason": "the worker was lost"})
        else:
            error = ModelNotReady(
                f"The worker was lost {job.attempts} times while it read this file; try again, and if it happens again "
                "report the file.",
                attempts=job.attempts,
            )
            end(session, job.id, Job.lease == job.lease, state="failed", error=problem_of(error))
        return again

    def _messages(self) -> int:
        try:
            return int(self.huey.pending_count())
        except Exception:
            _log.exception("the queue does not answer")
            return 0

    @property
    def _lease(self) -> timedelta:
        return timedelta(seconds=self.settings.lease_seconds)


def _ignore(job_id: str) -> None:
    """Only a worker looks."""


def _open_queue(store: Store, settings: Settings) -> Huey:
    # Messages are pickles: signed, so that who can write into Redis cannot make a worker run anything.
    secret = store.secret_key()
    serializer = SignedSerializer(secret=secret, salt="jobs")
    name = f"evident-{hashlib.sha256(secret).hexdigest()[:12]}"  # two installations may share one Redis
    url = settings.jobs.url.get_secret_value()
    if not url:
        return SqliteHuey(
            name, filename=str(store.folder / "queue.sqlite3"), results=False, serializer=serializer, timeout=60
        )
    if not url.startswith(("redis://", "rediss://", "unix://")):
        raise InvalidInput("jobs.url is not the URL of a queue; it looks like redis://:password@host:6379/0.")
    if find_spec("redis") is None:
        raise MissingExtra("A Redis queue needs redis, which is not installed: pip install 'evident[redis]'")
    return RedisHuey(name, url=url, results=False, serializer=serializer)
