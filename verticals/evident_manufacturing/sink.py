"""The pages as a destination of agents: ``POST /events`` as any MES takes it, and the boards that follow."""

import json
from typing import Final

from flask import Blueprint, redirect, request, url_for
from pydantic import BaseModel
from werkzeug.datastructures import FileStorage
from werkzeug.wrappers import Response as AnyResponse

from evident_core.errors import InvalidInput, NotFound, TooLarge, UnsupportedMedia
from evident_core.web.openapi import operation
from evident_manufacturing import arrivals, station_alarms, told
from evident_manufacturing.arrivals import Received
from evident_manufacturing.told import Told, ToldAlarm

TAG: Final = "Agents"
MAX_EVENTS: Final = 1000
MAX_BODY: Final = 8 << 20
_CHUNK: Final = 1 << 16
_LINES: Final = "application/x-ndjson"
pages = Blueprint("sink", __name__)


class Receipts(BaseModel):
    """What became of each event, in the order they came."""

    results: tuple[Received, ...]


@pages.post("/events")
@operation(
    "Tell of boards that an agent inspected, and of its alarms",
    returns=Receipts,
    problems=(InvalidInput, UnsupportedMedia, TooLarge),
    tag=TAG,
)
def events() -> Receipts:
    """One event as `application/json`, or one on each line as `application/x-ndjson`.

    Their forms are `event.schema.json` and `alarm.schema.json`. A repeated event counts once. Where `wants` names the
    board, it may follow at `/events/{event_id}/board`.
    """
    body = _body()
    if request.mimetype == _LINES:
        return Receipts(results=tuple(_lines(body)))
    if not request.is_json:
        raise UnsupportedMedia(
            f"Events are sent as {request.mimetype or 'no media type'}; send application/json, or {_LINES} for several."
        )
    return Receipts(results=tuple(arrivals.receive([told.read(body)])))


class BoardForm(BaseModel):
    """The form has files alone."""


@pages.post("/events/<event_id>/board")
@operation(
    "Send the board of an event",
    form=BoardForm,
    uploads=("inspection", "image", "template"),
    returns=Received,
    problems=(InvalidInput, NotFound, TooLarge),
    tag=TAG,
)
def board(event_id: str, form: BoardForm) -> Received:  # noqa: ARG001
    """Its inspection as JSON, its picture, and the template's where it was asked for; each must be the event's."""
    files = request.files
    missing = FileStorage()
    return arrivals.complete(
        event_id, files.get("inspection") or missing, files.get("image") or missing, files.get("template")
    )


@pages.post("/alarms/<event_id>/dismiss")
def dismiss(event_id: str) -> AnyResponse:
    """Take an alarm off the line."""
    station_alarms.dismiss_alarm(event_id)
    return redirect(url_for("manufacturing.home"), 303)


def _body() -> bytes:
    body = bytearray()
    # A body that comes in chunks does not say how long it is.
    while chunk := request.stream.read(_CHUNK):
        body += chunk
        if len(body) > MAX_BODY:
            raise TooLarge(f"More than {MAX_BODY} bytes of events were sent; at most that many are read at once.")
    return bytes(body)


def _lines(body: bytes) -> list[Received]:
    """Each line by itself: one that is no event keeps none of the others out."""
    lines = [each for each in body.splitlines() if each.strip()]
    if len(lines) > MAX_EVENTS:
        raise TooLarge(f"{len(lines)} events were sent; at most {MAX_EVENTS} are taken at once.")
    events: dict[int, Told | ToldAlarm] = {}
    refused: dict[int, Received] = {}
    for number, line in enumerate(lines):
        try:
            events[number] = told.read(line)
        except InvalidInput as error:
            refused[number] = Received(event_id=_id_of(line, error), status=422, detail=error.message)
    # An event that comes twice in one body is one event.
    received = dict(zip(events, arrivals.receive(list(events.values())), strict=True))
    return [each for _, each in sorted((received | refused).items())]


def _id_of(line: bytes, error: InvalidInput) -> str:
    """The id by which a line that is no event is refused; without one the whole body is."""
    try:
        return str(json.loads(line)["event_id"])[:64]
    except (ValueError, KeyError, TypeError):
        raise error from None
