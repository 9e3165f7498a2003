"""From an inspection or an alarm to the event that a MES gets: compact JSON, bounded, with text that is safe to show.

An inspection has the form ``data/event.schema.json``. Its event's id is a function of the station, the part's id and
the revision, so that the same part reported twice is the same event, by whichever agent and after whatever crash.

What a person must see to at the station itself, a full disk or a camera that froze, is an event too, of the form
``data/alarm.schema.json``.
"""

import hashlib
import json
import unicodedata
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from evident_core.errors import InvalidInput
from evident_core.evidence import Frozen
from evident_manufacturing.inspection.schema import Defect, Inspection, Quantity, Reason

FORM: Final = "evident.inspection/1"
ALARM_FORM: Final = "evident.alarm/1"
SCHEMA: Final = Path(__file__).with_name("data") / "event.schema.json"
ALARM_SCHEMA: Final = SCHEMA.with_name("alarm.schema.json")
ALARM_CODES: Final = (
    "outbox_full",
    "model_not_ready",
    "source_lost",
    "frozen_camera",
    "half_scan",
    "image_refused",
    "calibration_expired",
)
MAX_TEXT: Final = 128
MAX_MESSAGE: Final = 500
MAX_DEFECTS: Final = 500
_NAMESPACE: Final = uuid.UUID("6c0b3f9e-6f0c-5a5e-9a55-2f6d1d0a7c11")
_MARK: Final = 9
_ALARM_BEGINS: Final = f'{{"form":"{ALARM_FORM}"'.encode()


class Event(Frozen):
    """What is put in an outbox: the event's id, whose it is, what it says, and what tells a repeat from a conflict.

    Attributes:
        part_id: As it is written in the body.
        fingerprint: The same for the same image of the same part; another for another image.
        body: JSON in UTF-8.
    """

    event_id: str
    part_id: str
    fingerprint: str
    body: bytes


def event_id(station: str, part_id: str, revision: int = 1) -> str:
    """The id of a part's event: a UUID (RFC 9562, version 5) of where it was inspected, its id, and the revision.

    The station is in it because two stations of one line report the same part, each once.
    """
    return str(uuid.uuid5(_NAMESPACE, json.dumps([station, part_id, revision])))


def plain_text(text: str, limit: int = MAX_TEXT) -> str:
    r"""The text without what a terminal, a log or a page obeys: controls, bidi overrides, line ends as ``\uXXXX``.

    What had to be changed or cut ends in ``~`` and eight digits of its SHA-256, so that two ids stay two.
    """
    shown = "".join(_escaped(character) for character in text)
    if shown == text and len(text) <= limit:
        return text
    digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[: _MARK - 1]
    return f"{shown[: limit - _MARK]}~{digest}"


def event_of(inspection: Inspection, *, station: str, inspected: datetime, revision: int = 1) -> Event:
    """The event of an inspection.

    Args:
        inspection: What was found.
        station: The inspection point on the line; it stays when an agent or its computer is replaced.
        inspected: When the inspection ended, with its time zone. It is told, and never decides order or expiry.
        revision: From 1; a higher one says that the part was inspected again on purpose, and stands after the lower.

    Raises:
        InvalidInput: A revision below 1, or a time without its zone.
    """
    if revision < 1:
        raise InvalidInput(f"Revision {revision} is below 1; the first report of a part is revision 1.")
    part, verdict = inspection.part, inspection.verdict
    identity = event_id(station, part.part_id, revision)
    defects = inspection.defects[:MAX_DEFECTS]
    body: dict[str, Any] = {
        "form": FORM,
        "event_id": identity,
        "revision": revision,
        "station": plain_text(station),
        "part_id": plain_text(part.part_id),
        "lot": plain_text(part.lot),
        "product": plain_text(part.product),
        "camera": plain_text(part.camera),
        "decision": verdict.decision.value,
        "weak": verdict.weak,
        "specification": plain_text(verdict.specification),
        "reasons": [_reason(each) for each in verdict.reasons],
        "defects": [_defect(each) for each in defects],
        "defects_total": len(inspection.defects),
        "model": plain_text(inspection.model),
        "version": plain_text(inspection.version),
        "calibration": plain_text(inspection.calibration.id) if inspection.calibration else None,
        "image": {
            "sha256": inspection.input.sha256,
            "width": inspection.width,
            "height": inspection.height,
        },
        "template_sha256": inspection.template.sha256 if inspection.template else None,
        "taken": _utc(part.taken) if part.taken else None,
        "inspected": _utc(inspected),
        "milliseconds": {plain_text(step): round(spent, 3) for step, spent in inspection.milliseconds.items()},
    }
    return Event(
        event_id=identity,
        part_id=body["part_id"],
        fingerprint=inspection.input.sha256,
        body=json.dumps(body, ensure_ascii=False, separators=(",", ":"), allow_nan=False).encode(),
    )


def alarm_of(
    code: str,
    *,
    station: str,
    number: int,
    raised: bool,
    message: str,
    at: datetime,
    part_id: str = "",
    images: int = 1,
) -> Event:
    """The event of an alarm at a station.

    Args:
        code: One of :data:`ALARM_CODES`.
        station: The inspection point.
        number: Of the event, never one twice at a station; it stands for time, which a clock may set back.
        raised: Whether the trouble began, or is over.
        message: A sentence for a person.
        at: When that was seen, with its time zone.
        part_id: The part that showed it; empty: none.
        images: How many it is about that no event told of before, of refused ones.

    Raises:
        InvalidInput: A time without its zone.
    """
    identity = str(uuid.uuid5(_NAMESPACE, json.dumps([station, "alarm", code, number])))
    body = {
        "form": ALARM_FORM,
        "event_id": identity,
        "station": plain_text(station),
        "code": code,
        "state": "raised" if raised else "cleared",
        "message": plain_text(message, MAX_MESSAGE),
        "part_id": plain_text(part_id),
        "at": _utc(at),
    } | ({"images": images} if images > 1 else {})
    text = json.dumps(body, ensure_ascii=False, separators=(",", ":"))
    # Its own part of the queue: alarms of a code keep their order, and wait for nothing else.
    return Event(event_id=identity, part_id=f"alarm:{code}", fingerprint="", body=text.encode())


def is_alarm(body: bytes) -> bool:
    """Whether the body of an event is an alarm's."""
    return body.startswith(_ALARM_BEGINS)


def _reason(reason: Reason) -> dict[str, Any]:
    return {
        "rule": plain_text(reason.rule),
        "decision": reason.decision.value if reason.decision else None,
        "defects": list(reason.defects[:MAX_DEFECTS]),
        "limit": plain_text(reason.limit),
    }


def _defect(defect: Defect) -> dict[str, Any]:
    sizes = {}
    if defect.size is not None:
        named = {name: getattr(defect.size, name) for name in ("length", "width", "area", "gap", "gap_over")}
        sizes = {name: _quantity(value) for name, value in named.items() if value is not None}
    return {
        "number": defect.number,
        "class": plain_text(defect.kind),
        "bbox_px": [round(edge, 2) for edge in defect.bbox],
        "score": round(defect.score, 4),
        "seen": defect.seen.value,
        **sizes,
    }


def _quantity(quantity: Quantity) -> dict[str, Any]:
    # A double holds every decimal of at most 15 digits unchanged, which is more than a measured size has.
    return {"value": float(quantity.value), "u": float(quantity.uncertainty), "unit": quantity.unit}


def _utc(time: datetime) -> str:
    if time.tzinfo is None:
        raise InvalidInput(f"The time {time.isoformat()} has no time zone; give one, UTC where the line states none.")
    return time.astimezone(UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")


def _escaped(character: str) -> str:
    # Cc controls, Cf bidi overrides and joiners, Cs halves of pairs, Co and Cn without meaning, Zl and Zp line ends.
    if unicodedata.category(character) not in ("Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"):
        return character
    return f"\\u{ord(character):04x}"
