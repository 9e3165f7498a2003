"""A Sparkplug B edge node against a real Mosquitto: birth, data, death, rebirth, history, and a host to wait for."""

import json
import time
from collections.abc import Callable, Iterator
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from evident_manufacturing.delivery import sparkplug
from evident_manufacturing.delivery.broker import Connection
from evident_manufacturing.delivery.courier import Backoff, Courier, Stopped
from evident_manufacturing.delivery.events import alarm_of
from evident_manufacturing.delivery.listeners import SparkplugListener
from evident_manufacturing.delivery.messages import Message, MqttSettings
from evident_manufacturing.delivery.outages import MOSQUITTO, Broker, Wire
from evident_manufacturing.delivery.outbox import Outbox
from evident_manufacturing.delivery.sparkplug import SparkplugSettings, SparkplugSink
from evident_manufacturing.delivery.sparkplug_payload import DataType, Metric, Payload, Value, born, decode, encode
from evident_manufacturing.delivery.specimen import specimen

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="Mosquitto is not installed: apt-get install mosquitto")

BODY = "Inspection/Event"
EDGE = SparkplugSettings("plant", "agent", "aoi-1", properties={"model": "7 int8"}, probe_seconds=0.05)


def until(done: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


class Host:
    """A host application: it writes down what it hears."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, Payload]] = []
        self.raw: list[tuple[str, bytes]] = []
        self._connection = Connection(
            MqttSettings("127.0.0.1", "host", port, seconds=5), clean=True, on_message=self._hear
        )
        assert self._connection.open(["spBv1.0/plant/#"]) == ""

    def _hear(self, topic: str, payload: bytes) -> None:
        _, _, kind, rest = topic.split("/", 3)
        if not kind.endswith("CMD"):
            assert rest == ("agent/aoi-1" if kind.startswith("D") else "agent")
            births = self.of("DBIRTH")[-1:]
            self.raw.append((topic, payload))
            self.heard.append((kind, decode(payload, born(*births))))

    def kinds(self) -> list[str]:
        return [kind for kind, _ in self.heard]

    def of(self, kind: str) -> list[Payload]:
        return [payload for each, payload in self.heard if each == kind]

    def say(self, topic: str, payload: bytes, *, retain: bool = False) -> None:
        self._connection.publish([Message(topic, payload, retain=retain)], heard=False)

    def state(self, *, online: bool, at: int) -> None:
        self.say("spBv1.0/STATE/scada", json.dumps({"online": online, "timestamp": at}).encode(), retain=True)

    def rebirth(self) -> None:
        asked = Payload(1, (Metric("Node Control/Rebirth", DataType.BOOLEAN, True),))
        self.say("spBv1.0/plant/NCMD/agent", encode(asked))

    def close(self) -> None:
        self._connection.close()


def value(payload: Payload, name: str) -> Value:
    (found,) = [metric.value for metric in payload.metrics if metric.name == name]
    return found


def edge(port: int, outbox: Outbox, settings: SparkplugSettings = EDGE) -> SparkplugSink:
    return SparkplugSink(MqttSettings("127.0.0.1", "agent", port, keepalive=2, seconds=5), settings, outbox)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite3", owner="agent") as opened:
        yield opened


@pytest.fixture
def host(broker: Broker) -> Iterator[Host]:
    hearing = Host(broker.port)
    yield hearing
    hearing.close()


def test_a_node_is_born_speaks_and_dies(broker: Broker, outbox: Outbox, host: Host) -> None:
    outbox.put([specimen(0)])
    sink = edge(broker.port, outbox)
    assert Courier(outbox, sink).drain(20)
    outbox.put([specimen(1)])
    assert Courier(outbox, sink).drain(20)
    sink.close()
    until(lambda: "NDEATH" in host.kinds())
    time.sleep(0.2)
    assert host.kinds() == ["NBIRTH", "DBIRTH", "DDATA", "DDATA", "DDEATH", "NDEATH"]
    birth, device, first, second, last, death = (payload for _, payload in host.heard)
    assert [payload.seq for _, payload in host.heard] == [0, 1, 2, 3, 4, None]
    assert last.metrics == ()
    assert value(birth, "Node Control/Rebirth") is False
    assert value(birth, "bdSeq") == value(death, "bdSeq") == 0
    assert value(device, "Properties/model") == "7 int8"
    names = {metric.name: (metric.datatype, metric.alias) for metric in device.metrics}
    for data in (first, second):
        assert {metric.name: (metric.datatype, metric.alias) for metric in data.metrics}.items() <= names.items()
    assert value(first, BODY) == specimen(0).body.decode()
    assert value(first, "Inspection/Part Id") == "board-000000"
    assert value(first, "Inspection/Decision") == "reject"
    assert value(first, "Inspection/Defects") == 1
    assert first.metrics[0].timestamp == 1767225600000
    assert {metric.historical for metric in first.metrics} == {True}
    assert {metric.historical for metric in second.metrics} == {False}


def test_sequence_numbers_go_round_after_255(broker: Broker, outbox: Outbox, host: Host) -> None:
    outbox.put([specimen(n) for n in range(600)])
    sink = edge(broker.port, outbox)
    assert Courier(outbox, sink, limit=100).drain(30)
    until(lambda: len(host.heard) == 602)
    assert [payload.seq for _, payload in host.heard] == [n % 256 for n in range(602)]
    assert [value(each, BODY) for each in host.of("DDATA")] == [specimen(n).body.decode() for n in range(600)]
    sink.close()


def test_a_lost_link_ends_a_session_and_what_waited_is_history_in_the_next(
    broker: Broker, outbox: Outbox, host: Host
) -> None:
    with Wire(broker.port) as wire:
        sink = edge(wire.port, outbox)
        courier = Courier(outbox, sink, backoff=Backoff(first=0.05, longest=0.1))
        assert courier.drain(20)
        until(lambda: host.kinds() == ["NBIRTH", "DBIRTH"])
        wire.cut()
        until(lambda: host.kinds() == ["NBIRTH", "DBIRTH", "NDEATH"])
        outbox.put([specimen(0)])
        courier.step()
        assert courier.problem
        wire.mend()
        assert courier.drain(20)
        until(lambda: host.of("DDATA"))
        assert [value(each, "bdSeq") for each in host.of("NBIRTH")] == [0, 1]
        assert value(host.of("NDEATH")[0], "bdSeq") == 0
        assert host.of("DDATA")[0].metrics[0].historical
        sink.close()


def test_the_death_number_goes_on_after_a_restart_and_round_after_255(
    broker: Broker, tmp_path: Path, host: Host
) -> None:
    for _ in range(2):
        with Outbox(tmp_path / "again.sqlite3", owner="agent") as outbox:
            sink = edge(broker.port, outbox)
            assert sink.idle() == ""
            sink.close()
    until(lambda: len(host.of("NDEATH")) == 2)
    assert [value(each, "bdSeq") for each in host.of("NBIRTH")] == [0, 1]
    with Outbox(tmp_path / "again.sqlite3", owner="agent") as outbox:
        assert [outbox.count("sparkplug bdSeq", modulo=256) for _ in range(256)][-3:] == [255, 0, 1]


def test_a_host_that_asks_gets_a_rebirth_with_the_same_death_number(broker: Broker, outbox: Outbox, host: Host) -> None:
    sink = edge(broker.port, outbox)
    assert sink.idle() == ""
    host.say("spBv1.0/plant/NCMD/agent", b"\xff not a payload")
    host.rebirth()
    until(lambda: host.kinds().count("DBIRTH") == 2)
    outbox.put([specimen(0)])
    assert Courier(outbox, sink).drain(20)
    until(lambda: host.of("DDATA"))
    assert [(kind, payload.seq) for kind, payload in host.heard] == [
        ("NBIRTH", 0),
        ("DBIRTH", 1),
        ("NBIRTH", 0),
        ("DBIRTH", 1),
        ("DDATA", 2),
    ]
    assert {value(each, "bdSeq") for each in host.of("NBIRTH")} == {0}
    assert not host.of("DDATA")[0].metrics[0].historical
    sink.close()


def test_a_host_that_gives_no_type_with_its_command_is_understood(broker: Broker, outbox: Outbox, host: Host) -> None:
    sink = edge(broker.port, outbox)
    assert sink.idle() == ""
    # A type SHOULD NOT be in a command (payloads-metric-datatype-not-req): name, and boolean_value true.
    metric = bytes([0x0A, 20]) + b"Node Control/Rebirth" + bytes([0x70, 1])
    host.say("spBv1.0/plant/NCMD/agent", bytes([0x12, len(metric)]) + metric)
    until(lambda: host.kinds().count("NBIRTH") == 2)
    sink.close()


def test_a_birth_after_data_has_the_current_values(broker: Broker, outbox: Outbox, host: Host) -> None:
    sink = edge(broker.port, outbox)
    outbox.put([specimen(0)])
    assert Courier(outbox, sink).drain(20)
    host.rebirth()
    until(lambda: host.kinds().count("DBIRTH") == 2)
    first, again = host.of("DBIRTH")
    assert (value(first, "Inspection/Part Id"), value(again, "Inspection/Part Id")) == (None, "board-000000")
    assert [metric.timestamp for metric in again.metrics if metric.name == BODY] == [1767225600000]
    sink.close()


def test_a_device_dies_when_its_source_stops_and_not_before_what_waits_is_told(
    broker: Broker, outbox: Outbox, host: Host
) -> None:
    sink = edge(broker.port, outbox)
    courier = Courier(outbox, sink)
    outbox.put([specimen(0)])
    courier.station_problem = "The camera gives no frame."
    assert courier.drain(20)
    courier.step()
    courier.step()
    until(lambda: host.kinds() == ["NBIRTH", "DBIRTH", "DDATA", "DDEATH"])
    courier.station_problem = ""
    courier.step()
    until(lambda: host.kinds()[-1] == "DBIRTH")
    courier.station_problem = "It is gone again."
    courier.step()
    outbox.put([specimen(1)])  # no data of a device that is dead: it is born for it
    assert courier.drain(20)
    until(lambda: host.kinds()[4:] == ["DBIRTH", "DDEATH", "DBIRTH", "DDATA"])
    assert [payload.seq for _, payload in host.heard] == list(range(8))
    sink.close()


def test_an_alarm_is_data_of_the_device(broker: Broker, outbox: Outbox, host: Host) -> None:
    sink = edge(broker.port, outbox)
    at = datetime(2026, 1, 1, tzinfo=UTC)
    outbox.put([alarm_of("outbox_full", station="aoi-1", number=0, raised=True, message="full", at=at)])
    assert Courier(outbox, sink).drain(20)
    until(lambda: host.of("DDATA"))
    (data,) = host.of("DDATA")
    assert (value(data, "Alarm/Code"), value(data, "Alarm/Raised"), value(data, "Alarm/Message")) == (
        "outbox_full", True, "full",
    )  # fmt: skip
    assert json.loads(str(value(data, "Alarm/Event")))["form"] == "evident.alarm/1"
    sink.close()


def test_what_the_host_does_not_confirm_stays(broker: Broker, outbox: Outbox, host: Host) -> None:
    sink = SparkplugSink(
        MqttSettings("127.0.0.1", "agent", broker.port, seconds=0.5),
        SparkplugSettings("plant", "agent", "aoi-1", confirm="mes", probe_seconds=0.05),
        outbox,
    )
    courier = Courier(outbox, sink, backoff=Backoff(first=0.05, longest=0.1))
    outbox.put([specimen(0)])
    courier.step()
    assert courier.problem == "the host did not confirm 1 events"
    with SparkplugListener(MqttSettings("127.0.0.1", "mes", broker.port, seconds=5), "plant", confirm=True) as listener:
        assert courier.drain(20)
        assert (listener.ledger.count.booked, listener.ledger.count.doubled) == (1, 0)
    assert outbox.waiting == 0
    sink.close()


def test_an_event_larger_than_the_broker_takes_is_refused_and_does_not_block(tmp_path: Path, outbox: Outbox) -> None:
    with Broker(tmp_path, extra=["max_packet_size 4000"]) as small:
        host = Host(small.port)
        large = specimen(1)
        outbox.put([large.model_copy(update={"body": large.body.ljust(5000)}), specimen(0)])
        sink = edge(small.port, outbox)
        Courier(outbox, sink).drain(20)
        until(lambda: host.of("DDATA"))
        assert [part for _, part, _ in outbox.refusals()] == ["board-000001"]
        assert value(host.of("DDATA")[0], "Inspection/Part Id") == "board-000000"
        sink.close()
        host.close()


def test_a_second_edge_node_of_the_same_name_stops_and_the_first_goes_on(
    broker: Broker, outbox: Outbox, host: Host, tmp_path: Path
) -> None:
    first = edge(broker.port, outbox)
    assert first.idle() == ""
    with Outbox(tmp_path / "other.sqlite3", owner="agent") as another:
        second = edge(broker.port, another, replace(EDGE, probe_seconds=10.0))
        with pytest.raises(Stopped, match="alive as 'agent' in group 'plant': two agents have one id"):
            second.idle()
        outbox.put([specimen(0)])
        assert Courier(outbox, first).drain(20)
        until(lambda: host.of("DDATA"))
        assert "NDEATH" not in host.kinds()
        first.close()
        third = edge(broker.port, another)
        assert third.idle() == ""
        third.close()


def test_a_broker_that_is_down_at_the_start_is_waited_for(tmp_path: Path, outbox: Outbox) -> None:
    broker = Broker(tmp_path)
    outbox.put([specimen(0)])
    sink = edge(broker.port, outbox)
    courier = Courier(outbox, sink, backoff=Backoff(first=0.05, longest=0.1))
    assert courier.step()
    assert f"no connection to 127.0.0.1:{broker.port}" in courier.problem
    with broker:
        host = Host(broker.port)
        assert courier.drain(20)
        until(lambda: host.of("DDATA"))
        assert host.of("DDATA")[0].metrics[0].historical
        sink.close()
        host.close()


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value % 128 + 128]) + varint(value // 128)


def field(number: int, value: int | bytes) -> bytes:
    """One field of protobuf, by hand: a whole number, or bytes with their length."""
    if isinstance(value, int):
        return varint(number * 8) + varint(value)
    return varint(number * 8 + 2) + varint(len(value)) + value


def test_each_message_is_byte_by_byte_what_the_specification_says(
    broker: Broker, outbox: Outbox, host: Host, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sparkplug 3.0.0, chapter 6: payload is timestamp 1, metrics 2, seq 3; a metric is name 1, alias 2, timestamp 3,
    datatype 4, is_historical 5, is_null 7, int_value 10, long_value 11, boolean_value 14, string_value 15."""
    now = 1_767_225_700_123
    monkeypatch.setattr(sparkplug, "_now", lambda: now)
    event = json.loads(specimen(0).body)
    sink = SparkplugSink(
        MqttSettings("127.0.0.1", "agent", broker.port, seconds=5),
        SparkplugSettings("plant", "agent", "aoi-1", probe_seconds=0.05),
        outbox,
    )
    assert sink.idle() == ""
    outbox.put([specimen(0)])
    assert Courier(outbox, sink).drain(20)
    sink.close()
    until(lambda: len(host.raw) == 5)
    sent = dict(host.raw)

    bdseq = field(1, b"bdSeq") + field(3, now) + field(4, 4) + field(11, 0)
    rebirth = field(1, b"Node Control/Rebirth") + field(3, now) + field(4, 11) + field(14, 0)
    assert sent["spBv1.0/plant/NBIRTH/agent"] == field(1, now) + field(2, bdseq) + field(2, rebirth) + field(3, 0)
    assert sent["spBv1.0/plant/NDEATH/agent"] == field(1, now) + field(2, bdseq)
    assert sent["spBv1.0/plant/DDEATH/agent/aoi-1"] == field(1, now) + field(3, 3)

    values: list[tuple[bytes, int, bytes]] = [  # name, datatype, the field with the value
        (b"Inspection/Event Id", 15, field(15, event["event_id"].encode())),
        (b"Inspection/Revision", 3, field(10, 1)),
        (b"Inspection/Part Id", 12, field(15, b"board-000000")),
        (b"Inspection/Lot", 12, field(15, b"lot-0")),
        (b"Inspection/Product", 12, field(15, b"demo")),
        (b"Inspection/Decision", 12, field(15, b"reject")),
        (b"Inspection/Weak", 11, field(14, 0)),
        (b"Inspection/Specification", 12, field(15, b"demo@1")),
        (b"Inspection/Defects", 3, field(10, 1)),
        (b"Inspection/Model", 12, field(15, b"generated 1")),
        (b"Alarm/Code", 12, b""),
        (b"Alarm/Raised", 11, b""),
        (b"Alarm/Message", 12, b""),
        (b"Inspection/Event", 12, field(15, specimen(0).body)),
        (b"Alarm/Event", 12, b""),
        (b"Inspection/Sequence", 4, field(11, 1)),
        (b"Device Control/Acknowledge", 12, b""),
    ]
    null = field(7, 1)
    device = b"".join(
        field(2, field(1, name) + field(2, alias) + field(3, now) + field(4, kind) + null)
        for alias, (name, kind, _) in enumerate(values, 1)
    )
    assert sent["spBv1.0/plant/DBIRTH/agent/aoi-1"] == field(1, now) + device + field(3, 1)
    data = b"".join(
        field(2, field(2, alias) + field(3, 1_767_225_600_000) + written)
        for alias, (_, _, written) in enumerate(values, 1)
        if written
    )
    assert sent["spBv1.0/plant/DDATA/agent/aoi-1"] == field(1, now) + data + field(3, 2)


def test_nothing_is_said_while_the_primary_host_is_away(broker: Broker, outbox: Outbox, host: Host) -> None:
    outbox.put([specimen(0)])
    waiting = SparkplugSettings("plant", "agent", "aoi-1", primary_host="scada", probe_seconds=0.05)
    sink = edge(broker.port, outbox, waiting)
    courier = Courier(outbox, sink, backoff=Backoff(first=0.05, longest=0.1))
    host.state(online=False, at=1)
    courier.step()
    assert courier.problem == "the primary host 'scada' is not online"
    assert host.heard == []
    host.state(online=True, at=5)
    assert courier.drain(20)
    until(lambda: host.of("DDATA"))
    host.state(online=False, at=3)  # a will of an older session, come late
    time.sleep(0.2)
    assert sink.idle() == ""
    host.state(online=False, at=6)
    until(lambda: sink.idle() != "")
    until(lambda: host.kinds()[-1] == "NDEATH")
    outbox.put([specimen(1)])
    courier.step()
    assert outbox.waiting == 1
    host.state(online=True, at=7)
    assert courier.drain(20)
    until(lambda: len(host.of("DDATA")) == 2)
    sink.close()
