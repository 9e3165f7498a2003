"""The row of a job: how its owner sees it, and how it may change. Each change happens in the caller's transaction."""

import json
from collections.abc import Mapping
from datetime import datetime
from typing import Any, cast

from sqlalchemy import ColumnElement, CursorResult, func, select, update
from sqlalchemy.orm import Session

from evident_core.errors import EvidentError
from evident_core.evidence import Frozen
from evident_core.web.tables import FINAL_STATES, Job, JobEvent, JobInput, now


class JobView(Frozen):
    """A job as its owner sees it. ``stage``, ``done`` and ``total`` are those of the last progress."""

    id: str
    service: str
    state: str
    created: datetime
    started: datetime | None = None
    finished: datetime | None = None
    attempts: int = 0
    stage: str = ""
    done: int = 0
    total: int = 1
    ahead: int = 0
    input_ids: tuple[str, ...] = ()
    result_id: str | None = None
    error: dict[str, Any] | None = None

    @property
    def final(self) -> bool:
        """Whether nothing more will happen to it."""
        return self.state in FINAL_STATES


class EventView(Frozen):
    """Something that happened to a job: ``kind`` is ``state`` or ``progress``; ``id`` is where to resume after."""

    id: int
    kind: str
    data: dict[str, Any]


def move(session: Session, job_id: str, condition: ColumnElement[bool], **values: Any) -> bool:
    """Change a job if the condition holds at this moment; returns whether it did."""
    done = cast(CursorResult[Any], session.execute(update(Job).where(Job.id == job_id, condition).values(**values)))
    return done.rowcount == 1


def release(session: Session, job_id: str, condition: ColumnElement[bool], **values: Any) -> bool:
    """Take a job from its worker and let it wait again."""
    return move(session, job_id, condition, state="queued", lease=None, **values)


def end(session: Session, job_id: str, condition: ColumnElement[bool], *, state: str, **values: Any) -> bool:
    """Bring a job to a final state and forget its secrets; returns whether the condition allowed it."""
    ended = {"finished": now(), "lease": None, "lease_until": None, "secrets": None}
    if not move(session, job_id, condition, state=state, **ended, **values):
        return False
    told: dict[str, Any] = {name: values[name] for name in ("error", "result_id") if name in values}
    add_event(session, job_id, "state", {"state": state, **told})
    return True


def add_event(session: Session, job_id: str, kind: str, data: Mapping[str, Any]) -> None:
    """Tell what happened. The job's row was changed in this transaction before, which puts its events in order."""
    session.add(JobEvent(job_id=job_id, kind=kind, data=dict(data)))


def problem_of(error: EvidentError) -> dict[str, Any]:
    """An error as it is kept with a job."""
    details = json.loads(json.dumps(error.details, default=str))
    return {
        "code": error.code,
        "title": error.title,
        "status": error.status,
        "message": error.message,
        "details": details,
    }


def view(session: Session, job: Job) -> JobView:
    """A job as its owner sees it."""
    last = session.scalar(
        select(JobEvent.data)
        .where(JobEvent.job_id == job.id, JobEvent.kind == "progress")
        .order_by(JobEvent.id.desc())
        .limit(1)
    )
    ahead = 0
    if job.state == "queued":
        before = select(func.count()).select_from(Job).where(Job.state == "queued", Job.created < job.created)
        ahead = session.scalar(before) or 0
    inputs = select(JobInput.input_id).where(JobInput.job_id == job.id).order_by(JobInput.position)
    return JobView(
        id=job.id,
        service=job.service,
        state=job.state,
        created=job.created,
        started=job.started,
        finished=job.finished,
        attempts=job.attempts,
        **{name: last[name] for name in ("stage", "done", "total") if last},
        ahead=ahead,
        input_ids=tuple(session.scalars(inputs)),
        result_id=job.result_id,
        error=job.error,
    )
