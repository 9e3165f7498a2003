"""Boards that agents inspected, as the pages are told of them: each event once, and then what the agent holds of it.

The event alone makes a board with its boxes, sizes and verdict. Its inspection and picture may follow; then the board
is as one that was sent to the pages. Both are kept as results of a job that is done, so that all else finds them.
"""

import hashlib
from collections.abc import Mapping, Sequence
from contextlib import suppress
from typing import Final

from pydantic import ValidationError
from sqlalchemy import delete, select, update
from sqlalchemy.exc import IntegrityError
from sqlalchemy.orm import Session
from werkzeug.datastructures import FileStorage

from evident_core import sandbox
from evident_core.errors import InvalidInput, NotFound
from evident_core.evidence import Frozen
from evident_core.settings import MIB
from evident_core.web.frame import current_frame
from evident_core.web.store import owned
from evident_core.web.tables import Input, Job, JobInput, Result, Revision
from evident_core.work import WorkInput
from evident_manufacturing import versions
from evident_manufacturing.desk import ARRIVED, TASK, Options, Record, looked_at
from evident_manufacturing.inspection.schema import Inspection
from evident_manufacturing.station_alarms import keep_alarm, key_of, not_later
from evident_manufacturing.told import Told, ToldAlarm

MAX_INSPECTION: Final = 16 * MIB
_TRIES: Final = 3


class Received(Frozen):
    """What became of one event.

    Attributes:
        status: As HTTP has it: 201 taken, 200 taken before, 409 another picture under a known id, 422 no event.
        wants: What may follow: ``board``, and ``template`` where its picture is not here.
        detail: Why it is not taken.
    """

    event_id: str
    status: int
    wants: tuple[str, ...] = ()
    detail: str = ""


def receive(events: Sequence[Told | ToldAlarm]) -> list[Received]:
    """Keep events, each once whatever its agent repeats; all of them, or, where the store fails, none."""
    named = {each.specification for each in events if isinstance(each, Told)}
    specifications = {each: _specification(each) for each in named}
    for _ in range(_TRIES - 1):
        # The same event may come by another way in this very moment: then look once more.
        with suppress(IntegrityError):
            return _receive_all(events, specifications)
    return _receive_all(events, specifications)


def complete(event_id: str, inspection: FileStorage, image: FileStorage, template: FileStorage | None) -> Received:
    """Add to an event's board what its agent holds of it; a second time changes nothing.

    Raises:
        NotFound: The caller has no such event.
        InvalidInput: A part is missing, or is not that of the event.
        TooLarge: A part is.
    """
    frame, owner = current_frame(), current_frame().caller.id
    with frame.store.reading() as session:
        job = _job(session, owner, event_id)
        if job is None or job.result_id is None:
            raise NotFound(f"There is no event {event_id[:64]!r}; tell it first.", event_id=event_id[:64])
        done, result_id, job_id = job.key == key_of("board", event_id), job.result_id, job.id
    if done:
        return Received(event_id=event_id, status=200)
    told = Record.model_validate_json(frame.store.result(result_id, owner).body).event
    if told is None:
        raise NotFound(f"There is no event {event_id[:64]!r}; tell it first.", event_id=event_id[:64])
    held = _inspection(inspection)
    told.refuse_another(held)
    part = held.part.model_copy(update={"revision": told.revision})  # an agent tells it beside the inspection
    held = held.model_copy(update={"part": part})
    rows = [_picture(image, held.input.sha256, held.input.name)]
    if held.template:
        known = _template(held.template.sha256)
        if known is None and template is not None and template.filename:
            known = _picture(template, held.template.sha256, held.template.name)
        rows += [known] if known else []
    files = [WorkInput(id=row.id, path=frame.store.input_path(row), name=row.name, sha256=row.sha256) for row in rows]
    record = sandbox.run(looked_at, held, told, files, limits=frame.settings.sandbox)
    with frame.store.session() as session:
        job = owned(session, Job, job_id, owner, lock=True)
        if job.result_id is None or job.key == key_of("board", event_id):
            return Received(event_id=event_id, status=200)
        before, job.key = job.result_id, key_of("board", event_id)
        input_ids = list(dict.fromkeys(row.id for row in rows))  # the golden sample may itself come down the line
        after = _put(session, record, job.key, job.options, input_ids)
        # Under a new id, since what is read of a result is remembered by it. Labels given meanwhile go along.
        session.execute(update(Revision).where(Revision.result_id == before).values(result_id=after.id))
        session.add_all(JobInput(job_id=job_id, input_id=each, position=at) for at, each in enumerate(input_ids))
        job.result_id = after.id
        session.flush()
        session.execute(delete(Result).where(Result.id == before))
        frame.audit.append(session, owner, "board.receive", job_id, inputs=[row.sha256 for row in rows])
    return Received(event_id=event_id, status=201)


def _receive_all(events: Sequence[Told | ToldAlarm], specifications: Mapping[str, str]) -> list[Received]:
    frame = current_frame()
    with frame.store.session() as session:
        found = [
            _receive(session, each, specifications[each.specification])
            if isinstance(each, Told)
            else Received(event_id=each.event_id, status=201 if keep_alarm(session, each) else 200)
            for each in events
        ]
        if new := [each.event_id for each in found if each.status == 201]:
            stations = sorted({each.station for each in events})
            frame.audit.append(session, frame.caller.id, "event.receive", new[0], events=len(new), stations=stations)
    return found


def _receive(session: Session, told: Told, specification: str) -> Received:
    frame = current_frame()
    owner = frame.caller.id
    wants: tuple[str, ...] = ("board",)
    if told.template_sha256 and _template(told.template_sha256, session) is None:
        wants += ("template",)
    if job := _job(session, owner, told.event_id):
        known = session.scalar(select(Result.body).where(Result.id == job.result_id))
        event = Record.model_validate_json(known).event if known else None
        if event is not None and event.image.sha256 != told.image.sha256:
            detail = f"Event {told.event_id} is known already, of another picture."
            return Received(event_id=told.event_id, status=409, detail=detail)
        whole = job.key == key_of("board", told.event_id)
        return Received(event_id=told.event_id, status=200, wants=() if whole else wants)
    options = Options(
        part_id=told.part_id,
        product=told.product,
        lot=told.lot,
        camera=told.camera,
        taken=told.taken,
        specification=specification,
    ).model_dump(mode="json")
    key = key_of("event", told.event_id)
    record = Record(inspection=told.inspection(), statistics=None, pixels=f"file {told.image.sha256}", event=told)
    result = _put(session, record, key, options, [])
    session.add(
        Job(
            owner=owner,
            service=TASK.service,
            version=result.version,
            key=key,
            run=ARRIVED,
            options=options,
            state="done",
            result_id=result.id,
            finished=not_later(told.inspected),
        )
    )
    session.flush()
    return Received(event_id=told.event_id, status=201, wants=wants)


def _job(session: Session, owner: str, event_id: str) -> Job | None:
    keys = [key_of("event", event_id), key_of("board", event_id)]
    return session.scalar(select(Job).where(Job.owner == owner, Job.run == ARRIVED, Job.key.in_(keys)))


def _put(session: Session, record: Record, key: str, options: dict[str, object], input_ids: Sequence[str]) -> Result:
    frame = current_frame()
    return frame.store.put_result(
        session,
        record.model_dump_json().encode(),
        owner=frame.caller.id,
        service=TASK.service,
        version=record.inspection.version[:64],
        key=key,
        options=options,
        input_ids=input_ids,
    )


def _specification(name: str) -> str:
    """The text of the specification that a verdict cites, where that version is kept here; else empty."""
    try:
        return versions.text_of("specification", name) if name else ""
    except NotFound:
        return ""


def _inspection(sent: FileStorage) -> Inspection:
    data = sent.stream.read(MAX_INSPECTION + 1)
    if len(data) > MAX_INSPECTION:
        raise InvalidInput(f"The inspection has more than {MAX_INSPECTION // MIB} MiB.")
    try:
        return Inspection.model_validate_json(data).model_copy(update={"report": None})  # it is written here
    except ValidationError as error:
        first = error.errors(include_url=False, include_context=False, include_input=False)[0]
        raise InvalidInput(f"inspection.{'.'.join(map(str, first['loc']))}: {first['msg']}.") from None


def _picture(sent: FileStorage, sha256: str, name: str) -> Input:
    """Keep a picture, which must be the one that is meant."""
    frame = current_frame()
    if hashlib.file_digest(sent.stream, "sha256").hexdigest() != sha256:  # type: ignore[arg-type]  # reads as a file
        raise InvalidInput(f"The picture {name!r} is not the one that was inspected (SHA-256 {sha256[:16]}…).")
    sent.stream.seek(0)
    return frame.store.put_input(
        sent.stream,  # type: ignore[arg-type]  # it reads as a binary file does
        name=name,
        owner=frame.caller.id,
        max_bytes=frame.settings.web.max_upload_mib * MIB,
    )


def _template(sha256: str, session: Session | None = None) -> Input | None:
    query = select(Input).where(Input.owner == current_frame().caller.id, Input.sha256 == sha256)
    if session is not None:
        return session.scalar(query)
    with current_frame().store.reading() as reading:
        return reading.scalar(query)
