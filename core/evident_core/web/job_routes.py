"""The API of queued work, the same in every service: upload, follow, cancel, fetch, delete.

``POST /jobs`` answers 202 with the job's address in ``Location``; ``GET /jobs/<id>/events`` tells its progress as
server-sent events, and resumes after ``Last-Event-ID``; ``DELETE /jobs/<id>`` deletes the upload and what came of it,
but for files that other jobs read too.
"""

import json
import threading
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import Any, Final

from flask import Blueprint, Response, request, url_for
from pydantic import BaseModel, ConfigDict, Field, Json, ValidationError
from werkzeug.datastructures import FileStorage

from evident_core.errors import Conflict, InvalidInput, NotFound, PasswordNeeded, ResourceExceeded, TooLarge, TooMany
from evident_core.settings import MIB
from evident_core.web import gunicorn_conf
from evident_core.web.deletion import delete_job
from evident_core.web.frame import current_frame
from evident_core.web.job_rows import EventView, JobView
from evident_core.web.jobs import Jobs, Task
from evident_core.web.openapi import operation

TAG: Final = "Jobs"
_RETRY_MS: Final = 1000
# Each stream occupies a thread. Beyond these, one ends with what has happened so far and its browser asks again after
# _RETRY_MS, so that however many follow, threads are left for everybody else.
_STREAMS: Final = threading.BoundedSemaphore(gunicorn_conf.threads * 3 // 4)


class Submission(BaseModel):
    """What comes with the files of an upload."""

    model_config = ConfigDict(extra="forbid")

    password: str = Field("", description="Opens an encrypted file; forgotten when the job ends.")
    options: Json[dict[str, Any]] = Field(default_factory=dict, description="The service's options, as JSON.")


class JobList(BaseModel):
    """Jobs, newest first."""

    jobs: tuple[JobView, ...]


class EventQuery(BaseModel):
    """Where to begin; the header ``Last-Event-ID`` wins."""

    after: int = Field(0, ge=0, description="Id of the last event that is known.")


def current_jobs() -> Jobs:
    """The queue of the service that answers the present request."""
    return current_frame().jobs


def submit_upload(
    task: Task, files: Sequence[FileStorage], *, options: Mapping[str, Any] | None = None, password: str = ""
) -> JobView:
    """Keep the files of the present request and queue work on them, in the caller's name.

    Raises:
        InvalidInput: There is no file, or an option is wrong.
        TooLarge: A file is.
        TooMany: The queue is full.
    """
    frame = current_frame()
    files = [file for file in files if file.filename]
    if not files:
        raise InvalidInput("There is no file in the form; send it as a part named file.")
    chosen = _options(task, options or {})
    inputs = [
        frame.store.put_input(
            file.stream,  # type: ignore[arg-type]  # it reads as a binary file does
            name=file.filename or "",
            owner=frame.caller.id,
            media_type=file.mimetype,
            max_bytes=frame.settings.web.max_upload_mib * MIB,
        )
        for file in files
    ]
    job = current_jobs().submit(
        task,
        [each.id for each in inputs],
        owner=frame.caller.id,
        options=chosen,
        secrets={"password": password} if password else None,
    )
    frame.record("job.submit", job.id, inputs=[each.sha256 for each in inputs], service=task.service)
    return job


def delete_upload(job_id: str, *, keep: Collection[str] = ()) -> None:
    """Delete a job of the caller's, what came of it and its files that no other job refers to; the audit log says so.

    Args:
        job_id: The job.
        keep: Ids of inputs that stay all the same.

    Raises:
        NotFound: The caller has none of that id.
    """
    frame = current_frame()
    with frame.store.session() as session:
        gone = delete_job(frame.store, session, job_id, frame.caller.id, keep=keep)
        frame.audit.append(session, frame.caller.id, "job.delete", job_id)
        for row in gone:
            frame.audit.append(session, frame.caller.id, "input.delete", row.id, sha256=row.sha256)


def job_routes(task: Task | Callable[[], Task]) -> Blueprint:
    """The routes of one service's work; a function is asked at each request, where the version changes meanwhile."""
    blueprint = Blueprint("jobs", __name__, url_prefix="/jobs")

    def current() -> Task:
        return task() if callable(task) else task

    @blueprint.post("")
    @operation(
        "Upload files and queue the work",
        form=Submission,
        uploads=("file",),
        returns=JobView,
        status=202,
        problems=(InvalidInput, TooLarge, TooMany),
        tag=TAG,
    )
    def submit(form: Submission) -> Response:
        """The same files with the same options are the same job; where the result is kept, it is done at once.

        The part `file` may come several times, for services that read several files together.
        """
        job = submit_upload(current(), request.files.getlist("file"), options=form.options, password=form.password)
        response = Response(job.model_dump_json(), 202, mimetype="application/json")
        response.headers["Location"] = url_for(".show", job_id=job.id)
        return response

    @blueprint.get("")
    @operation("List your jobs", returns=JobList, tag=TAG)
    def index() -> JobList:
        return JobList(jobs=current_jobs().list(current_frame().caller.id, current().service))

    @blueprint.get("/<job_id>")
    @operation("Show a job", returns=JobView, problems=(NotFound,), tag=TAG)
    def show(job_id: str) -> JobView:
        return current_jobs().get(job_id, current_frame().caller.id)

    @blueprint.get("/<job_id>/events")
    @operation("Follow a job", query=EventQuery, returns="text/event-stream", problems=(NotFound,), tag=TAG)
    def events(job_id: str, query: EventQuery) -> Response:
        """Server-sent events named `state` and `progress`; a first fact comes as `partial` of a progress.

        The stream ends with the job. Asked again for what follows its end, it answers 204, so that a browser rests.
        """
        given = request.headers.get("Last-Event-ID", "")
        after = int(given) if given.isascii() and given.isdigit() else query.after
        jobs, owner = current_jobs(), current_frame().caller.id
        if jobs.get(job_id, owner).final and not jobs.events(job_id, owner, after=after):
            return Response(status=204)
        response = Response(_stream(jobs, job_id, owner, after), mimetype="text/event-stream")
        response.headers.update({"Cache-Control": "no-store", "X-Accel-Buffering": "no"})
        return response

    @blueprint.get("/<job_id>/result")
    @operation(
        "Fetch the result",
        returns="application/json",
        problems=(NotFound, Conflict, PasswordNeeded, ResourceExceeded),
        tag=TAG,
    )
    def result(job_id: str) -> Response:
        frame = current_frame()
        job = current_jobs().get(job_id, frame.caller.id)
        if job.result_id is None:
            reason = job.error["message"] if job.error else "its result comes when it is done."
            raise Conflict(f"The job is {job.state}: {reason}", state=job.state, error=job.error)
        kept = frame.store.result(job.result_id, frame.caller.id)
        response = Response(kept.body, mimetype=kept.media_type)
        response.set_etag(kept.key)
        response.make_conditional(request)
        return response

    @blueprint.post("/<job_id>/cancel")
    @operation("Cancel a job", returns=JobView, problems=(NotFound, Conflict), tag=TAG)
    def cancel(job_id: str) -> JobView:
        frame = current_frame()
        job = current_jobs().cancel(job_id, frame.caller.id)
        frame.record("job.cancel", job_id)
        return job

    @blueprint.delete("/<job_id>")
    @operation("Delete your files and all that came of them", status=204, problems=(NotFound,), tag=TAG)
    def remove(job_id: str) -> Response:
        """Bytes, results, corrections and jobs go; the audit log keeps that they were deleted, and their hashes.

        A file that another job of yours reads too stays until that one is deleted.
        """
        delete_upload(job_id)
        return Response(status=204)

    return blueprint


def _options(task: Task, given: Mapping[str, Any]) -> dict[str, Any]:
    if task.options is None:
        if given:
            raise InvalidInput(f"{task.service} has no options; {next(iter(given))!r} is not one.")
        return {}
    try:
        return task.options.model_validate(dict(given)).model_dump(mode="json")
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        name = ".".join(str(part) for part in first["loc"]) or "options"
        raise InvalidInput(f"The option {name} is wrong: {first['msg']}.", option=name) from None


def _stream(jobs: Jobs, job_id: str, owner: str, after: int) -> Iterator[str]:
    yield f"retry: {_RETRY_MS}\n\n"
    staying = _STREAMS.acquire(blocking=False)
    try:
        for event in (jobs.follow if staying else jobs.events)(job_id, owner, after=after):
            yield _sent(event) if event else ": still here\n\n"
    except NotFound:
        yield _sent(EventView(id=after, kind="state", data={"state": "deleted"}))
    finally:
        if staying:
            _STREAMS.release()


def _sent(event: EventView) -> str:
    return f"id: {event.id}\nevent: {event.kind}\ndata: {json.dumps(event.data, ensure_ascii=False)}\n\n"
