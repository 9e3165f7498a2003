"""Past defects by likeness: an index of the vectors that each board's record begins with, and the page's answer.

The vectors stand first in a record, so that the index reads the beginnings of many records and not their reports. They
are made where a board is inspected; a request only compares.
"""

import re
from collections.abc import Sequence
from threading import Lock
from typing import Any, Final

import numpy as np
from flask import Blueprint
from pydantic import BaseModel
from sqlalchemy import LargeBinary, func, select
from sqlalchemy.orm import Session, aliased

from evident_core.errors import EvidentError, InvalidInput, NotFound
from evident_core.evidence import Frozen
from evident_core.web.frame import current_frame
from evident_core.web.job_routes import current_jobs
from evident_core.web.openapi import operation
from evident_core.web.tables import Job, JobInput, Result
from evident_manufacturing.desk import ARRIVED, TASK, Desk, light, open_desk
from evident_manufacturing.inspection.perceive.aligner import Whole, unpack
from evident_manufacturing.inspection.perceive.naming import similar
from evident_manufacturing.inspection.schema import Decision, Defect
from evident_manufacturing.labels import Label, labels_of, said

TOP: Final = 5
BOARDS: Final = 12_500
"""Past boards that are searched, the newest: with eight defects each, 100,000."""
_FIRST_BYTES: Final = 16_384
_AT_ONCE: Final = 500
_START: Final = re.compile(rb'\{"vectors":"([A-Za-z0-9+/=]*)"')
pages = Blueprint("likeness", __name__)


class Alike(Frozen):
    """A past defect that looks like the one in question.

    Attributes:
        likeness: Cosine of the two pictures, -1 to 1.
        decision: On its board.
        label: What a person decided on it; None: nobody has.
        clean: A person called its whole board clean.
        pictured: Its picture is here.
    """

    job_id: str
    part_id: str
    defect: Defect
    width: int
    height: int
    likeness: float
    decision: Decision
    label: Label | None
    clean: bool
    pictured: bool


class AlikeDefects(BaseModel):
    """The past defects that are most alike, best first."""

    similar: tuple[Alike, ...]


@pages.get("/boards/<job_id>/defects/<int:number>/similar")
@operation(
    "Find past defects that look like one", returns=AlikeDefects, problems=(NotFound, InvalidInput), tag="Boards"
)
def similar_defects(job_id: str, number: int) -> AlikeDefects:
    """The five most alike on other boards, by their pictures, each with what was decided on it."""
    return AlikeDefects(similar=alike(open_desk(job_id), number))


def alike(desk: Desk, number: int, top: int = TOP) -> tuple[Alike, ...]:
    """The caller's past defects that look most like one, on boards of other pictures.

    Args:
        desk: The board in question.
        number: Of the defect on it.
        top: How many at most.

    Raises:
        NotFound: The board has no such defect.
        InvalidInput: It was not embedded: inspected without a template, by an agent that sent no picture, or before
            vectors were kept.
    """
    rows = [each.number for each in desk.inspection.defects]
    if number not in rows:
        raise NotFound(f"There is no defect {number} on this board.", defect=number)
    mine = unpack(desk.record.vectors)
    if len(mine) != len(rows):
        raise InvalidInput(
            "This board cannot be compared with others: that needs its picture and its template, inspected here.",
            defect=number,
        )
    past = [(job, result, inputs) for job, result, inputs in _past(desk) if len(inputs)]
    if not past:
        return ()
    found = []
    of = np.concatenate([np.full(len(vectors), at) for at, (_, _, vectors) in enumerate(past)])
    first = np.cumsum([0, *(len(vectors) for _, _, vectors in past)])
    everything = np.concatenate([vectors for _, _, vectors in past])
    query = mine[rows.index(number)].astype(np.float32)
    for row, likeness in similar(query, everything, top):
        job_id, result_id, _ = past[int(of[row])]
        found.append(_alike(job_id, result_id, row - int(first[of[row]]), likeness))
    return tuple(found)


def vectors_of(result_ids: Sequence[str]) -> dict[str, Whole]:
    """The vectors of the caller's results, read once and then remembered; none where a board has none."""
    with _lock:
        missing = [each for each in dict.fromkeys(result_ids) if each not in _held]
    with current_frame().store.reading() as session:
        for at in range(0, len(missing), _AT_ONCE):
            read = _read(session, missing[at : at + _AT_ONCE])
            with _lock:
                _held.update(read)
    with _lock:
        found = {each: _held[each] for each in result_ids if each in _held}
        if len(_held) > 2 * BOARDS:
            _held.clear()
            _held.update(found)
    return found


def _read(session: Session, result_ids: Sequence[str]) -> dict[str, Whole]:
    beginning = func.substr(Result.body, 1, _FIRST_BYTES, type_=LargeBinary)
    query = select(Result.id, beginning).where(Result.id.in_(result_ids), Result.owner == current_frame().caller.id)
    found: dict[str, Whole] = {}
    for result_id, start in session.execute(query):
        data = bytes(start)
        if data.startswith(b'{"vectors":"') and not _START.match(data):  # more defects than the beginning holds
            data = session.scalar(select(Result.body).where(Result.id == result_id)) or b""
        match = _START.match(data)
        found[result_id] = unpack(match[1]) if match else unpack("")
    return found


def _past(desk: Desk) -> list[tuple[str, str, Whole]]:
    """Job, result and vectors of the caller's boards but this one; a picture that was inspected twice counts once."""
    frame, first = current_frame(), aliased(JobInput)
    query = (
        select(Job.id, Job.result_id, first.input_id)
        .outerjoin(first, (first.job_id == Job.id) & (first.position == 0))
        .where(Job.owner == frame.caller.id, Job.service == TASK.service, Job.run.in_((TASK.run, ARRIVED)))
        .where(Job.result_id.is_not(None))
        .order_by(Job.created.desc())
        .limit(BOARDS)
    )
    own = current_jobs().get(desk.job_id, frame.caller.id).input_ids[:1]
    with frame.store.reading() as session:
        rows: Sequence[Any] = session.execute(query).all()
    boards: dict[str, tuple[str, str]] = {}
    for job_id, result_id, input_id in rows:
        if job_id != desk.job_id and result_id != desk.result_id and input_id not in own:
            boards.setdefault(input_id or job_id, (job_id, result_id))
    known = vectors_of([result_id for _, result_id in boards.values()])
    return [(job_id, result_id, known[result_id]) for job_id, result_id in boards.values() if result_id in known]


def _alike(job_id: str, result_id: str, row: int, likeness: float) -> Alike:
    inspection = light(result_id).inspection
    defect, labels = inspection.defects[row], said(labels_of(result_id).labels)
    return Alike(
        job_id=job_id,
        part_id=inspection.part.part_id,
        defect=defect,
        width=inspection.width,
        height=inspection.height,
        likeness=round(likeness, 4),
        decision=inspection.verdict.decision,
        label=labels.defects.get(defect.number),
        clean=labels.clean,
        pictured=bool(current_jobs().get(job_id, current_frame().caller.id).input_ids),
    )


def chosen(desk: Desk, number: int) -> tuple[Alike, ...] | None:
    """The same for a page: None where no defect is chosen, or it cannot be compared."""
    try:
        return alike(desk, number) if number else None
    except EvidentError:
        return None


_lock: Final = Lock()
_held: Final[dict[str, Whole]] = {}
