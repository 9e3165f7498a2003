"""What an edge node tells by Sparkplug: the metrics of a station, their types and aliases, and their values."""

import json
from collections.abc import Callable, Mapping
from datetime import datetime
from typing import Any, Final

from evident_manufacturing.delivery.events import is_alarm
from evident_manufacturing.delivery.outbox import Queued
from evident_manufacturing.delivery.sparkplug_payload import Born, DataType, Metric, Payload, Value, born

REBIRTH: Final = "Node Control/Rebirth"
ACKNOWLEDGE: Final = "Device Control/Acknowledge"
BDSEQ: Final = "bdSeq"
EVENT: Final = "Inspection/Event"
ALARM: Final = "Alarm/Event"
SEQUENCE: Final = "Inspection/Sequence"
Read = Callable[[dict[str, Any]], Value]
_INSPECTION: Final[dict[str, tuple[DataType, Read]]] = {
    "Inspection/Event Id": (DataType.UUID, lambda event: event["event_id"]),
    "Inspection/Revision": (DataType.INT32, lambda event: event["revision"]),
    "Inspection/Part Id": (DataType.STRING, lambda event: event["part_id"]),
    "Inspection/Lot": (DataType.STRING, lambda event: event["lot"]),
    "Inspection/Product": (DataType.STRING, lambda event: event["product"]),
    "Inspection/Decision": (DataType.STRING, lambda event: event["decision"]),
    "Inspection/Weak": (DataType.BOOLEAN, lambda event: event["weak"]),
    "Inspection/Specification": (DataType.STRING, lambda event: event["specification"]),
    "Inspection/Defects": (DataType.INT32, lambda event: event["defects_total"]),
    "Inspection/Model": (DataType.STRING, lambda event: f"{event['model']} {event['version']}"),
}
_ALARM: Final[dict[str, tuple[DataType, Read]]] = {
    "Alarm/Code": (DataType.STRING, lambda alarm: alarm["code"]),
    "Alarm/Raised": (DataType.BOOLEAN, lambda alarm: alarm["state"] == "raised"),
    "Alarm/Message": (DataType.STRING, lambda alarm: alarm["message"]),
}
TYPES: Final = {
    **{name: kind for name, (kind, _) in (_INSPECTION | _ALARM).items()},
    EVENT: DataType.STRING,
    ALARM: DataType.STRING,
    SEQUENCE: DataType.INT64,
    ACKNOWLEDGE: DataType.STRING,
}
"""The device's metrics; each one's alias is its place here, from 1."""
ALIASES: Final = {name: alias for alias, name in enumerate(TYPES, 1)}
COMMANDS: Final[Born] = born(
    Payload(None, (Metric(REBIRTH, DataType.BOOLEAN, None),)),
    Payload(None, (Metric(ACKNOWLEDGE, DataType.STRING, None, alias=ALIASES[ACKNOWLEDGE]),)),
)


def device_metrics(current: Mapping[int, Metric], properties: Mapping[str, str], now: int) -> tuple[Metric, ...]:
    """The metrics of a device's birth, each with its name, alias, type and current value.

    Args:
        current: The last value of each, by its alias; what has none yet is null.
        properties: Told beside them.
        now: Milliseconds since 1970 UTC.
    """
    metrics = []
    for name, kind in TYPES.items():
        last = current.get(ALIASES[name])
        value, at = (last.value, last.timestamp) if last else (None, now)
        metrics.append(Metric(name, kind, value, at, alias=ALIASES[name]))
    for alias, (name, value) in enumerate(properties.items(), len(TYPES) + 1):
        metrics.append(Metric(f"Properties/{name}", DataType.STRING, value, now, alias=alias))
    return tuple(metrics)


def data_metrics(queued: Queued, *, historical: bool) -> tuple[Metric, ...]:
    """What an event tells, by aliases alone; an alarm has metrics of its own."""
    event, text = json.loads(queued.body), queued.body.decode()
    reads, body, when = (_ALARM, ALARM, "at") if is_alarm(queued.body) else (_INSPECTION, EVENT, "inspected")
    values: dict[str, Value] = {name: read(event) for name, (_, read) in reads.items()}
    values |= {body: text, SEQUENCE: queued.sequence}
    at = int(datetime.fromisoformat(event[when]).timestamp() * 1000)
    return tuple(Metric("", TYPES[name], value, at, historical, ALIASES[name]) for name, value in values.items())
