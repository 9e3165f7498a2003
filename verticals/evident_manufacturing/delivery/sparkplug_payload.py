"""The Sparkplug B payload: the part of its protobuf schema that a sensor needs, written and read by hand.

The schema is ``org.eclipse.tahu.protobuf.Payload`` of the Sparkplug 3.0 specification, chapter 6. Written:
``timestamp, metrics, seq``; of a metric ``name, alias, timestamp, datatype, is_historical, is_null`` and its value.
What is read may have fields that are not known here; they are skipped, as protobuf asks.

A birth says what each metric's name, alias and type are. Data and commands after it give the alias alone
(tck-id-payloads-alias-data-cmd-requirement) and no type (tck-id-payloads-metric-datatype-not-req).
"""

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from enum import IntEnum
from types import MappingProxyType
from typing import Final

from evident_core.errors import InvalidInput

Value = bool | int | float | str | bytes | None

_VARINT, _FIXED64, _BYTES, _FIXED32 = 0, 1, 2, 5
_MASK64: Final = (1 << 64) - 1
_ONE_BYTE: Final = tuple(bytes([value]) for value in range(0x80))


class DataType(IntEnum):
    """The types of metrics, with the numbers of the specification; DataSet, Template and File are not here."""

    INT8 = 1
    INT16 = 2
    INT32 = 3
    INT64 = 4
    UINT8 = 5
    UINT16 = 6
    UINT32 = 7
    UINT64 = 8
    FLOAT = 9
    DOUBLE = 10
    BOOLEAN = 11
    STRING = 12
    DATETIME = 13
    TEXT = 14
    UUID = 15
    BYTES = 17


_SIGNED: Final = {DataType.INT8: 8, DataType.INT16: 16, DataType.INT32: 32, DataType.INT64: 64}
_UNSIGNED: Final = {
    DataType.UINT8: 8,
    DataType.UINT16: 16,
    DataType.UINT32: 32,
    DataType.UINT64: 64,
    DataType.DATETIME: 64,
}
_TEXTS: Final = (DataType.STRING, DataType.TEXT, DataType.UUID)


@dataclass(frozen=True, slots=True)
class Metric:
    """One value. ``timestamp`` is in milliseconds since 1970 UTC; ``historical``: it was kept while offline.

    One with an alias and without a name stands for the metric that was born with that alias.
    """

    name: str
    datatype: DataType
    value: Value
    timestamp: int | None = None
    historical: bool = False
    alias: int | None = None


@dataclass(frozen=True, slots=True)
class Payload:
    """The body of a message; an NDEATH has no ``seq``."""

    timestamp: int | None
    metrics: tuple[Metric, ...]
    seq: int | None = None


Born = Mapping[int | str, Metric]
"""The metrics of births, by their names and by their aliases."""


def born(*births: Payload) -> Born:
    """What births say of their metrics, to read data and commands with."""
    known: dict[int | str, Metric] = {}
    for metric in (metric for birth in births for metric in birth.metrics):
        known[metric.name] = metric
        if metric.alias is not None:
            known[metric.alias] = metric
    return known


def encode(payload: Payload) -> bytes:
    """The payload as protobuf.

    Raises:
        InvalidInput: A value is not of its metric's type, or ``seq`` is not in 0 to 255.
    """
    out = bytearray()
    if payload.timestamp is not None:
        out += _number(1, payload.timestamp)
    for metric in payload.metrics:
        out += _chunk(2, _metric(metric))
    if payload.seq is not None:
        if not 0 <= payload.seq <= 255:
            raise InvalidInput(f"{payload.seq} is no Sparkplug sequence number; they go from 0 to 255.")
        out += _number(3, payload.seq)
    return bytes(out)


def decode(data: bytes, known: Born = MappingProxyType({})) -> Payload:
    """The payload of protobuf bytes; metrics of a type that is not known here are left out.

    Args:
        data: Of a message.
        known: From births: gives a metric its name where there is only an alias, and its type where there is none.

    Raises:
        InvalidInput: These are no such bytes.
    """
    timestamp = seq = None
    metrics: list[Metric] = []
    for number, value in _fields(data):
        if number == 1 and isinstance(value, int):
            timestamp = value
        elif number == 2 and isinstance(value, bytes):
            if (metric := _read_metric(value, known)) is not None:
                metrics.append(metric)
        elif number == 3 and isinstance(value, int):
            seq = value
    return Payload(timestamp, tuple(metrics), seq)


def _metric(metric: Metric) -> bytes:
    out = bytearray()
    refers = metric.alias is not None and not metric.name
    if not refers:
        out += _chunk(1, metric.name.encode())
    if metric.alias is not None:
        out += _number(2, metric.alias)
    if metric.timestamp is not None:
        out += _number(3, metric.timestamp)
    if not refers:
        out += _number(4, metric.datatype)
    if metric.historical:
        out += _number(5, 1)
    if metric.value is None:
        return bytes(out + _number(7, 1))
    return bytes(out + _value(metric.datatype, metric.value, metric.name))


def _value(kind: DataType, value: Value, name: str) -> bytes:
    if kind is DataType.BOOLEAN and isinstance(value, bool):
        return _number(14, int(value))
    if isinstance(value, int) and not isinstance(value, bool):
        if (bits := _SIGNED.get(kind)) is not None and -(1 << bits - 1) <= value < 1 << bits - 1:
            # Signed values lie in unsigned fields, as two's complement: 32 bits up to Int32, 64 for Int64.
            return _number(11, value & _MASK64) if bits == 64 else _number(10, value & 0xFFFFFFFF)
        if (bits := _UNSIGNED.get(kind)) is not None and 0 <= value < 1 << bits:
            return _number(11 if bits == 64 else 10, value)
    if kind is DataType.FLOAT and isinstance(value, float):
        return _key(12, _FIXED32) + struct.pack("<f", value)
    if kind is DataType.DOUBLE and isinstance(value, float):
        return _key(13, _FIXED64) + struct.pack("<d", value)
    if kind in _TEXTS and isinstance(value, str):
        return _chunk(15, value.encode())
    if kind is DataType.BYTES and isinstance(value, bytes):
        return _chunk(16, value)
    raise InvalidInput(f"The value {value!r} of metric {name!r} is no {kind.name}.")


def _read_metric(data: bytes, known: Born) -> Metric | None:
    fields = dict(_fields(data))
    alias, timestamp = fields.get(2), fields.get(3)
    try:
        name = bytes(fields.get(1, b"")).decode() if isinstance(fields.get(1, b""), bytes) else ""
        birth = known.get(name) if name or not isinstance(alias, int) else known.get(alias)
        kind = DataType(_whole(fields[4])) if 4 in fields else birth.datatype if birth else None
        if kind is None:
            return None
        value = None if fields.get(7) else _read_value(kind, fields)
    except (ValueError, KeyError, TypeError, struct.error):
        return None
    return Metric(
        name or (birth.name if birth else ""),
        kind,
        value,
        timestamp if isinstance(timestamp, int) else None,
        fields.get(5) == 1,
        alias if isinstance(alias, int) else None,
    )


def _read_value(kind: DataType, fields: dict[int, int | bytes]) -> Value:
    if kind is DataType.BOOLEAN:
        return bool(_whole(fields[14]))
    if (bits := _SIGNED.get(kind)) is not None:
        # Some writers extend the sign of small types to 32 or 64 bits, some do not: only the low bits count.
        low = _whole(fields[11 if bits == 64 else 10]) & (1 << bits) - 1
        return low - (1 << bits) if low >> bits - 1 else low
    if (bits := _UNSIGNED.get(kind)) is not None:
        return _whole(fields[11 if 11 in fields else 10]) & (1 << bits) - 1
    raw = fields[{DataType.FLOAT: 12, DataType.DOUBLE: 13, DataType.BYTES: 16}.get(kind, 15)]
    if not isinstance(raw, bytes):
        raise TypeError(f"{raw!r} is a number")
    if kind is DataType.FLOAT or kind is DataType.DOUBLE:
        (number,) = struct.unpack("<f" if kind is DataType.FLOAT else "<d", raw)
        return float(number)
    return raw if kind is DataType.BYTES else raw.decode()


def _whole(value: int | bytes) -> int:
    if not isinstance(value, int):
        raise TypeError(f"{value!r} is not a number")
    return value


def _fields(data: bytes) -> Iterator[tuple[int, int | bytes]]:
    """The (number, value) of each field: an int for a varint, bytes for all else."""
    at = 0
    while at < len(data):
        key, at = _varint_at(data, at)
        number, wire = key >> 3, key & 7
        if wire == _VARINT:
            value, at = _varint_at(data, at)
            yield number, value
            continue
        if wire == _BYTES:
            length, at = _varint_at(data, at)
        elif wire in (_FIXED64, _FIXED32):
            length = 8 if wire == _FIXED64 else 4
        else:
            raise InvalidInput(f"This is no Sparkplug payload: wire type {wire} at byte {at}.")
        if at + length > len(data):
            raise InvalidInput(f"This Sparkplug payload is cut short: {length} bytes are missing from byte {at}.")
        yield number, data[at : at + length]
        at += length


def _varint_at(data: bytes, at: int) -> tuple[int, int]:
    if at < len(data) and data[at] <= 0x7F:
        return data[at], at + 1
    value = 0
    for shift in range(0, 70, 7):
        if at >= len(data):
            raise InvalidInput(f"This Sparkplug payload is cut short at byte {at}.")
        value |= (data[at] & 0x7F) << shift
        at += 1
        if not data[at - 1] & 0x80:
            return value & _MASK64, at
    raise InvalidInput(f"This is no Sparkplug payload: a number before byte {at} has no end.")


def _varint(value: int) -> bytes:
    if value <= 0x7F:  # nearly all are
        return _ONE_BYTE[value]
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _key(number: int, wire: int) -> bytes:
    return _varint(number << 3 | wire)


def _number(number: int, value: int) -> bytes:
    return _key(number, _VARINT) + _varint(value)


def _chunk(number: int, value: bytes) -> bytes:
    return _key(number, _BYTES) + _varint(len(value)) + value
