"""A Sparkplug B edge node against a real Mosquitto: birth, data, death, rebirth, history, and a host to wait for."""

import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from evident_manufacturing.delivery.broker import Connection, Message, MqttSettings
from evident_manufacturing.delivery.courier import Backoff, Courier
from evident_manufacturing.delivery.endurance import specimen
from evident_manufacturing.delivery.outbox import Outbox
from evident_manufacturing.delivery.sparkplug import SparkplugSettings, SparkplugSink
from evident_manufacturing.delivery.sparkplug_payload import DataType, Metric, Payload, Value, decode, encode
from line_broker import MOSQUITTO, Broker, Wire

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="Mosquitto is not installed: apt-get install mosquitto")

BODY = "Inspection/Event"
EDGE = SparkplugSettings("plant", "agent", "aoi-1", properties={"model": "7 int8"})


def until(done: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


class Host:
    """A host application: it writes down what it hears."""

    def __init__(self, port: int) -> None:
        self.heard: list[tuple[str, Payload]] = []
        self._connection = Connection(
            MqttSettings("127.0.0.1", "host", port, seconds=5), clean=True, on_message=self._hear
        )
        assert self._connection.open(["spBv1.0/plant/#"]) == ""

    def _hear(self, topic: str, payload: bytes) -> None:
        _, _, kind, rest = topic.split("/", 3)
        if kind != "NCMD":
            assert rest == ("agent/aoi-1" if kind.startswith("D") else "agent")
            self.heard.append((kind, decode(payload)))

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
    assert host.kinds() == ["NBIRTH", "DBIRTH", "DDATA", "DDATA", "NDEATH"]
    birth, device, first, second, death = (payload for _, payload in host.heard)
    assert [payload.seq for _, payload in host.heard] == [0, 1, 2, 3, None]
    assert value(birth, "Node Control/Rebirth") is False
    assert value(birth, "bdSeq") == value(death, "bdSeq") == 0
    assert value(device, "Properties/model") == "7 int8"
    born = {metric.name: metric.datatype for metric in device.metrics}
    for data in (first, second):
        assert {metric.name: metric.datatype for metric in data.metrics}.items() <= born.items()
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


def test_nothing_is_said_while_the_primary_host_is_away(broker: Broker, outbox: Outbox, host: Host) -> None:
    outbox.put([specimen(0)])
    waiting = SparkplugSettings("plant", "agent", "aoi-1", primary_host="scada")
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
