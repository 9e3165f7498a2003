"""Sparkplug B payloads, read here by the wire format of protobuf itself: keys and varints, byte by byte."""

import contextlib
import math
import struct

import pytest
from hypothesis import given
from hypothesis import strategies as st

from evident_core.errors import InvalidInput
from evident_manufacturing.delivery.sparkplug_payload import DataType, Metric, Payload, Value, born, decode, encode

RANGES = {
    DataType.INT8: (-(2**7), 2**7 - 1),
    DataType.INT16: (-(2**15), 2**15 - 1),
    DataType.INT32: (-(2**31), 2**31 - 1),
    DataType.INT64: (-(2**63), 2**63 - 1),
    DataType.UINT8: (0, 2**8 - 1),
    DataType.UINT16: (0, 2**16 - 1),
    DataType.UINT32: (0, 2**32 - 1),
    DataType.UINT64: (0, 2**64 - 1),
    DataType.DATETIME: (0, 2**64 - 1),
}


def read_varint(data: bytes) -> tuple[int, bytes]:
    """A number of seven bits a byte, the lowest first, the eighth bit saying that more follow; and what is left."""
    digits = []
    for each in data:
        digits.append(each % 128)
        if each < 128:
            break
    return sum(digit * 128**place for place, digit in enumerate(digits)), data[len(digits) :]


def read_message(data: bytes) -> list[tuple[int, int, int | bytes]]:
    """The (field, wire type, value) of a message, with nothing taken from the code under test."""
    found: list[tuple[int, int, int | bytes]] = []
    while data:
        key, data = read_varint(data)
        if key % 8 == 0:
            value, data = read_varint(data)
            found.append((key // 8, 0, value))
        else:
            length = {1: 8, 5: 4}.get(key % 8)
            if length is None:
                assert key % 8 == 2
                length, data = read_varint(data)
            found.append((key // 8, key % 8, data[:length]))
            data = data[length:]
    return found


def test_bytes_that_are_known_from_the_specification_of_protobuf() -> None:
    # 150 is 0x96 0x01 in the documentation of protobuf's encoding.
    assert encode(Payload(150, ())) == bytes([0x08, 0x96, 0x01])
    assert encode(Payload(None, (), 0)) == bytes([0x18, 0x00])
    metric = Metric("a", DataType.BOOLEAN, True)
    assert encode(Payload(None, (metric,))) == bytes([0x12, 7, 0x0A, 1, ord("a"), 0x20, 11, 0x70, 1])


def test_a_message_reads_as_the_schema_says() -> None:
    metrics = (
        Metric("bdSeq", DataType.INT64, 7, 1_700_000_000_000),
        Metric("count", DataType.INT32, -2),
        Metric("board", DataType.STRING, "主板", historical=True),
        Metric("size", DataType.DOUBLE, 0.21),
        Metric("score", DataType.FLOAT, 0.5),
        Metric("not yet", DataType.STRING, None),
        Metric("raw", DataType.BYTES, b"\x00\xff"),
    )
    fields = read_message(encode(Payload(1_700_000_000_001, metrics, 255)))
    assert [field for field, *_ in fields] == [1] + [2] * 7 + [3]
    assert (fields[0][2], fields[-1][2]) == (1_700_000_000_001, 255)
    read = [read_message(value) for _, _, value in fields[1:-1] if isinstance(value, bytes)]
    assert read[0] == [(1, 2, b"bdSeq"), (3, 0, 1_700_000_000_000), (4, 0, 4), (11, 0, 7)]
    assert read[1] == [(1, 2, b"count"), (4, 0, 3), (10, 0, 2**32 - 2)]
    assert read[2] == [(1, 2, b"board"), (4, 0, 12), (5, 0, 1), (15, 2, "主板".encode())]
    assert read[3] == [(1, 2, b"size"), (4, 0, 10), (13, 1, struct.pack("<d", 0.21))]
    assert read[4] == [(1, 2, b"score"), (4, 0, 9), (12, 5, struct.pack("<f", 0.5))]
    assert read[5] == [(1, 2, b"not yet"), (4, 0, 12), (7, 0, 1)]
    assert read[6] == [(1, 2, b"raw"), (4, 0, 17), (16, 2, b"\x00\xff")]


def test_data_refers_to_its_birth_by_alias_alone_and_is_read_with_it() -> None:
    metrics = Metric("board", DataType.STRING, "a", 1, alias=1), Metric("n", DataType.INT32, 5, 1, alias=300)
    birth = Payload(1, metrics, 1)
    written = [
        read_message(value)
        for field, _, value in read_message(encode(birth))
        if field == 2 and isinstance(value, bytes)
    ]
    assert written[1] == [(1, 2, b"n"), (2, 0, 300), (3, 0, 1), (4, 0, 3), (10, 0, 5)]
    data = Payload(2, (Metric("", DataType.INT32, -1, 2, alias=300),), 2)
    ((_, _, raw), *_) = [each for each in read_message(encode(data)) if each[0] == 2]
    assert isinstance(raw, bytes)
    assert read_message(raw) == [(2, 0, 300), (3, 0, 2), (10, 0, 2**32 - 1)]
    assert decode(encode(data), born(birth)).metrics == (Metric("n", DataType.INT32, -1, 2, alias=300),)
    assert decode(encode(data)).metrics == ()  # of a birth that was not heard


def values() -> st.SearchStrategy[tuple[DataType, Value]]:
    whole = [st.tuples(st.just(kind), st.integers(*ends)) for kind, ends in RANGES.items()]
    texts = st.tuples(st.sampled_from((DataType.STRING, DataType.TEXT, DataType.UUID)), st.text())
    return st.one_of(
        *whole,
        st.tuples(st.just(DataType.BOOLEAN), st.booleans()),
        st.tuples(st.just(DataType.DOUBLE), st.floats(allow_nan=False)),
        st.tuples(st.just(DataType.FLOAT), st.floats(allow_nan=False, width=32)),
        st.tuples(st.just(DataType.BYTES), st.binary()),
        st.tuples(st.sampled_from(DataType), st.none()),
        texts,
    )


TIMES = st.none() | st.integers(0, 2**64 - 1)
METRICS = st.builds(
    lambda name, typed, time, historical: Metric(name, typed[0], typed[1], time, historical),
    st.text(),
    values(),
    TIMES,
    st.booleans(),
)
PAYLOADS = st.builds(Payload, TIMES, st.lists(METRICS, max_size=5).map(tuple), st.none() | st.integers(0, 255))


@given(PAYLOADS)
def test_what_is_written_is_read_back(payload: Payload) -> None:
    assert decode(encode(payload)) == payload


@given(PAYLOADS)
def test_whole_numbers_read_by_hand_are_the_ones_that_were_meant(payload: Payload) -> None:
    read = [value for field, _, value in read_message(encode(payload)) if field == 2]
    assert len(read) == len(payload.metrics)
    for metric, raw in zip(payload.metrics, read, strict=True):
        assert isinstance(raw, bytes)
        fields = {field: value for field, _, value in read_message(raw)}
        if metric.datatype in RANGES and isinstance(metric.value, int):
            wide = RANGES[metric.datatype][1] >= 2**63 - 1
            value = fields[11 if wide else 10]
            assert isinstance(value, int)
            assert (value - metric.value) % (2**64 if wide else 2**32) == 0
            assert set(fields) >= {1, 4}
            assert not set(fields) & {12, 13, 14, 15, 16}


@given(st.binary(max_size=200))
def test_any_bytes_are_read_or_refused_and_nothing_else(data: bytes) -> None:
    try:
        payload = decode(data)
    except InvalidInput:
        return
    assert payload.seq is None or payload.seq >= 0


@given(PAYLOADS, st.data())
def test_a_message_that_is_cut_is_never_read_as_the_whole(payload: Payload, data: st.DataObject) -> None:
    whole = encode(payload)
    cut = whole[: data.draw(st.integers(0, max(0, len(whole) - 1)))]
    with contextlib.suppress(InvalidInput):
        assert decode(cut) != payload or not whole


def test_unknown_fields_and_types_are_skipped() -> None:
    known = encode(Payload(5, (Metric("a", DataType.INT32, 1),), 3))
    unknown = bytes([0x22, 2, 0, 0, 0x5D, 1, 2, 3, 4, 0x61, 1, 2, 3, 4, 5, 6, 7, 8])  # a uuid, a fixed32, a fixed64
    data_set = bytes([0x12, 5, 0x0A, 1, ord("d"), 0x20, 16])
    assert decode(unknown + known + data_set) == decode(known)


def test_a_small_negative_number_is_read_however_far_its_sign_was_carried() -> None:
    # Some writers give Int8 -1 as 0xFF, some as 0xFFFFFFFF, some as a ten-byte varint.
    for value in (bytes([0xFF, 0x01]), bytes([0xFF, 0xFF, 0xFF, 0xFF, 0x0F]), b"\xff" * 9 + b"\x01"):
        metric = bytes([0x0A, 1, ord("a"), 0x20, 1, 0x50]) + value
        assert decode(bytes([0x12, len(metric)]) + metric).metrics[0].value == -1


@pytest.mark.parametrize(
    ("kind", "value"),
    [
        (DataType.INT8, 128),
        (DataType.UINT8, -1),
        (DataType.INT32, True),
        (DataType.BOOLEAN, 1),
        (DataType.STRING, b"x"),
        (DataType.BYTES, "x"),
        (DataType.DOUBLE, 1),
        (DataType.UINT64, 2**64),
    ],
)
def test_a_value_of_another_type_is_refused(kind: DataType, value: Value) -> None:
    with pytest.raises(InvalidInput, match=f"of metric 'm' is no {kind.name}"):
        encode(Payload(None, (Metric("m", kind, value),)))


def test_a_sequence_number_beyond_a_byte_is_refused() -> None:
    for seq in (-1, 256):
        with pytest.raises(InvalidInput, match="from 0 to 255"):
            encode(Payload(None, (), seq))


def test_not_a_number_and_infinity_pass() -> None:
    read = decode(
        encode(Payload(None, (Metric("a", DataType.DOUBLE, math.nan), Metric("b", DataType.FLOAT, -math.inf))))
    )
    assert math.isnan(float(str(read.metrics[0].value)))
    assert read.metrics[1].value == -math.inf
