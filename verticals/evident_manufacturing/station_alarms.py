"""Alarms that agents raise at their stations, as the pages are told of them; and the images that they refuse."""

import hashlib
from datetime import datetime
from typing import Final

from sqlalchemy import Select, select
from sqlalchemy.orm import Session

from evident_core.errors import InvalidInput, NotFound
from evident_core.web.frame import current_frame
from evident_core.web.tables import Job, Result, now
from evident_manufacturing.alarms import Alarm
from evident_manufacturing.delivery.events import ALARM_CODES
from evident_manufacturing.desk import ARRIVED, TASK, Options
from evident_manufacturing.told import ToldAlarm

_ALARM: Final = "alarm"


def keep_alarm(session: Session, told: ToldAlarm) -> bool:
    """Keep the newest word of a station's alarm, whose agent tells its words in their order; whether it is new."""
    owner = current_frame().caller.id
    key = key_of("alarm", f"{told.station} {told.code}")
    row = session.scalar(select(Result).where(Result.owner == owner, Result.key == key).with_for_update())
    if row is not None and row.options["event_id"] == told.event_id:
        return False
    body, options = told.model_dump_json().encode(), told.model_dump(mode="json")
    if row is None:
        values = {"owner": owner, "service": TASK.service, "version": _ALARM, "key": key}
        session.add(Result(**values, options=options, body=body))
    else:
        row.options, row.body, row.created = options, body, now()
    if told.code == "image_refused" and told.state == "raised":
        _refused(session, told)
    session.flush()
    return True


def _refused(session: Session, told: ToldAlarm) -> None:
    """Keep what could not be inspected at a station beside what could not be here, once."""
    owner, key = current_frame().caller.id, key_of("refused", told.event_id)
    if session.scalar(select(Job.id).where(Job.owner == owner, Job.run == ARRIVED, Job.key == key)):
        return
    part_id = told.part_id or told.station
    error = {"code": InvalidInput.code, "title": InvalidInput.title, "message": told.message}
    session.add(
        Job(
            owner=owner,
            service=TASK.service,
            version=TASK.version[:64],
            key=key,
            run=ARRIVED,
            options=Options(part_id=part_id).model_dump(mode="json"),
            state="failed",
            error=error | {"images": told.images, "part_id": part_id},
            finished=not_later(told.at),
        )
    )


def dismiss_alarm(event_id: str) -> None:
    """Take an alarm off the line whose agent will not clear it, for one that was taken down; a new one is shown again.

    Raises:
        NotFound: No alarm that is raised has this id.
    """
    frame = current_frame()
    with frame.store.session() as session:
        for row in session.scalars(_alarms().with_for_update()):
            if row.options["event_id"] == event_id and row.options["state"] == "raised":
                row.options = row.options | {"state": "cleared"}
                frame.audit.append(session, frame.caller.id, "alarm.dismiss", event_id, station=row.options["station"])
                return
    raise NotFound(f"No alarm {event_id[:64]!r} is raised; it may be over already.", event_id=event_id[:64])


def station_alarms() -> tuple[Alarm, ...]:
    """The alarms that the caller's agents have raised and not cleared, the newest first."""
    with current_frame().store.reading() as session:
        raised = [each.options for each in session.scalars(_alarms()) if each.options["state"] == "raised"]
    return tuple(
        Alarm(
            code=f"station_{each['code']}" if each["code"] in ALARM_CODES else "station",
            level="alarm",
            values={"station": each["station"], "message": each["message"], "event_id": each["event_id"]},
            message=f"{each['station']}: {each['message']}",
        )
        for each in raised
    )


def _alarms() -> Select[Result]:
    """The newest word of each alarm of the caller's agents, the newest first."""
    mine = Result.owner == current_frame().caller.id, Result.service == TASK.service, Result.version == _ALARM
    return select(Result).where(*mine).order_by(Result.created.desc())


def key_of(what: str, name: str) -> str:
    """The key under which something that was told is kept."""
    return hashlib.sha256(f"{what} {name}".encode()).hexdigest()


def not_later(inspected: datetime) -> datetime:
    """An agent's clock may be ahead; nothing was inspected after it was told."""
    return min(inspected, now())
