"""MQTT against a real Mosquitto: the link cut, the broker restarted and killed, two agents with one id, TLS expired."""

import json
import threading
import time
from collections.abc import Callable, Iterator
from datetime import UTC, datetime
from pathlib import Path

import pytest

from evident_core.errors import EvidentError, InvalidInput
from evident_manufacturing.delivery.broker import Connection
from evident_manufacturing.delivery.courier import Backoff, Courier, Stopped
from evident_manufacturing.delivery.endurance import endure
from evident_manufacturing.delivery.events import alarm_of
from evident_manufacturing.delivery.listeners import MqttListener
from evident_manufacturing.delivery.messages import Message, MqttSettings
from evident_manufacturing.delivery.mqtt import MqttSink, PlainSettings
from evident_manufacturing.delivery.outages import MOSQUITTO, Broker, Wire, free_port
from evident_manufacturing.delivery.outbox import Outbox
from evident_manufacturing.delivery.simulator import Ledger
from evident_manufacturing.delivery.specimen import STATION, specimen
from evident_manufacturing.delivery.trial import Over
from line_certificates import certify

pytestmark = pytest.mark.skipif(MOSQUITTO is None, reason="Mosquitto is not installed: apt-get install mosquitto")

# paho leaves the socket of a failed handshake to the garbage collector, which closes it with a warning.
LEFT_OPEN = pytest.mark.filterwarnings(
    "ignore:Exception ignored in. <ssl.SSLSocket:pytest.PytestUnraisableExceptionWarning"
)
QUICK = Backoff(first=0.05, longest=0.2)
RESULTS = f"evident/{STATION}/result"
ACKS = f"evident/{STATION}/ack"
STATE = f"evident/{STATION}/state"


class Mes:
    """A MES that subscribes with a session of its own, counts, and confirms what it counted."""

    def __init__(self, port: int, *, confirm: bool = False) -> None:
        self.ledger = Ledger()
        self._confirm = confirm
        settings = MqttSettings("127.0.0.1", "mes", port, seconds=5)
        self._connection = Connection(settings, on_message=self._book)
        assert self._connection.open([RESULTS]) == ""

    def _book(self, topic: str, payload: bytes) -> None:
        if self.ledger.book(payload) < 300 and self._confirm:
            self._connection.send([Message(ACKS, json.loads(payload)["event_id"].encode())])

    def close(self) -> None:
        self._connection.close()


def settings(port: int, client_id: str = "agent", seconds: float = 5.0) -> MqttSettings:
    return MqttSettings("127.0.0.1", client_id, port, keepalive=2, seconds=seconds)


def sink(port: int, outbox: Outbox, **options: object) -> MqttSink:
    plain = PlainSettings(station=STATION, installation=outbox.installation, **options)  # type: ignore[arg-type]
    return MqttSink(settings(port), plain)


def until(done: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


@pytest.fixture
def broker(tmp_path: Path) -> Iterator[Broker]:
    with Broker(tmp_path) as running:
        yield running


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite3", owner="agent") as opened:
        yield opened


def assert_each_once(ledger: Ledger, events: int) -> None:
    until(lambda: ledger.count.booked >= events)
    assert ledger.parts() == {f"board-{n:06d}" for n in range(events)}
    assert (ledger.count.booked, ledger.count.doubled, ledger.count.unreadable) == (events, 0, 0)


def test_events_arrive_in_order_and_the_state_says_who_is_online(broker: Broker, outbox: Outbox) -> None:
    mes = Mes(broker.port)
    states: list[bytes] = []
    watcher = Connection(
        settings(broker.port, "watcher"), clean=True, on_message=lambda _, payload: states.append(payload)
    )
    outbox.put([specimen(n) for n in range(500)])
    sending = sink(broker.port, outbox)
    assert Courier(outbox, sending, limit=100).drain(30)
    assert watcher.open([STATE]) == ""
    until(lambda: states)
    assert json.loads(states[0]) == {"state": "online", "client_id": "agent", "installation": outbox.installation}
    sending.close()
    until(lambda: len(states) == 2)
    assert json.loads(states[1])["state"] == "offline"
    assert_each_once(mes.ledger, 500)
    assert mes.ledger.order == [specimen(n).event_id for n in range(500)]
    watcher.close()
    mes.close()


def test_what_nobody_listens_to_stays_in_the_outbox(broker: Broker, outbox: Outbox) -> None:
    outbox.put([specimen(0)])
    sending = sink(broker.port, outbox)
    courier = Courier(outbox, sending, backoff=QUICK)
    courier.step()
    assert courier.problem == "no MES is subscribed to what this agent publishes"
    assert outbox.waiting == 1
    mes = Mes(broker.port)
    assert courier.drain(20)
    assert_each_once(mes.ledger, 1)
    sending.close()
    mes.close()


def test_a_broker_that_is_down_at_the_start_is_waited_for(tmp_path: Path, outbox: Outbox) -> None:
    broker = Broker(tmp_path)
    outbox.put([specimen(0)])
    sending = sink(broker.port, outbox)
    courier = Courier(outbox, sending, backoff=QUICK)
    assert courier.step()
    assert f"no connection to 127.0.0.1:{broker.port}" in courier.problem
    with broker:
        mes = Mes(broker.port)
        assert courier.drain(20)
        assert_each_once(mes.ledger, 1)
        sending.close()
        mes.close()


def deliver(outbox: Outbox, sending: MqttSink, events: int, disturb: Callable[[int], None], *, at: int) -> None:
    """Put events while a thread delivers them, and disturb at each ``at``-th."""
    stop = threading.Event()
    thread = threading.Thread(target=Courier(outbox, sending, limit=20, backoff=QUICK).run, args=(stop,))
    thread.start()
    try:
        for number in range(events):
            outbox.put([specimen(number)])
            if number % at == at // 2:
                disturb(number)
        until(lambda: not outbox.waiting, 60)
    finally:
        stop.set()
        thread.join()


def test_a_link_that_is_cut_again_and_again_loses_and_doubles_nothing(broker: Broker, outbox: Outbox) -> None:
    mes = Mes(broker.port)
    with Wire(broker.port) as wire:

        def cut(_: int) -> None:
            wire.cut()
            time.sleep(0.05)
            wire.mend()

        deliver(outbox, sink(wire.port, outbox), 600, cut, at=100)
    assert_each_once(mes.ledger, 600)
    mes.close()


def test_a_link_that_carries_nothing_is_noticed_and_given_up(broker: Broker, outbox: Outbox) -> None:
    mes = Mes(broker.port)
    with Wire(broker.port) as wire:
        sending = MqttSink(settings(wire.port, seconds=1.0), PlainSettings(STATION, outbox.installation))
        assert sending.idle() == ""
        outbox.put([specimen(0)])
        wire.stall()
        courier = Courier(outbox, sending, backoff=QUICK)
        courier.step()
        assert courier.problem
        assert outbox.waiting == 1
        wire.flow()
        assert courier.drain(20)
        sending.close()
    assert_each_once(mes.ledger, 1)
    mes.close()


def test_a_broker_that_is_restarted_loses_and_doubles_nothing(broker: Broker, outbox: Outbox) -> None:
    first = Mes(broker.port)
    first.close()  # its session stays, and the broker keeps what comes for it

    def restart(_: int) -> None:
        broker.stop()
        broker.start()

    deliver(outbox, sink(broker.port, outbox), 300, restart, at=100)
    mes = Mes(broker.port)
    assert_each_once(mes.ledger, 300)
    mes.close()


def test_a_broker_that_dies_without_memory_loses_nothing_when_the_mes_confirms(tmp_path: Path, outbox: Outbox) -> None:
    with Broker(tmp_path, persistent=False) as broker:
        members = [Mes(broker.port, confirm=True)]
        ledger = members[0].ledger

        def kill(_: int) -> None:
            broker.kill()
            broker.start()
            members.append(Mes(broker.port, confirm=True))
            members[-1].ledger = ledger

        deliver(outbox, sink(broker.port, outbox, confirm="mes"), 200, kill, at=100)
        assert_each_once(ledger, 200)
        for each in members:
            each.close()


def test_events_that_the_mes_does_not_confirm_stay(broker: Broker, outbox: Outbox) -> None:
    mute = Mes(broker.port)
    outbox.put([specimen(0)])
    plain = PlainSettings(STATION, outbox.installation, confirm="mes")
    sending = MqttSink(settings(broker.port, seconds=0.5), plain)
    courier = Courier(outbox, sending, backoff=QUICK)
    courier.step()
    assert courier.problem == "the MES did not confirm 1 events"
    assert outbox.waiting == 1
    sending.close()
    mute.close()


def test_a_second_agent_of_the_station_is_refused_until_the_first_is_gone(broker: Broker, outbox: Outbox) -> None:
    sending = sink(broker.port, outbox)
    assert sending.idle() == ""
    other = MqttSink(settings(broker.port, "agent"), PlainSettings(STATION, "another"))
    with pytest.raises(
        Stopped, match=f"{outbox.installation}.* is online at station 'endurance': two agents have one id"
    ):
        other.idle()
    assert sending.idle() == ""
    sending.close()
    assert other.idle() == ""
    other.close()


def test_an_agent_that_is_thrown_out_by_its_own_id_stops(broker: Broker, outbox: Outbox) -> None:
    sending = sink(broker.port, outbox)
    assert sending.idle() == ""
    other = MqttSink(settings(broker.port, "agent"), PlainSettings(STATION, "another", takeover=True))
    assert other.idle() == ""

    def stopped() -> bool:
        try:
            sending.idle()
        except Stopped as error:
            return "two agents have one id" in str(error)
        return False

    until(stopped)
    sending.close()
    assert other.idle() == ""
    other.close()


def test_the_last_will_tells_of_an_agent_that_vanished(broker: Broker, outbox: Outbox) -> None:
    states: list[str] = []
    watcher = Connection(
        settings(broker.port, "watcher"),
        clean=True,
        on_message=lambda _, payload: states.append(json.loads(payload)["state"]),
    )
    assert watcher.open([STATE]) == ""
    with Wire(broker.port) as wire:
        sending = sink(wire.port, outbox)
        assert sending.idle() == ""
        until(lambda: states == ["online"])
        wire.cut()
        until(lambda: states == ["online", "offline"])
        sending.close()
    watcher.close()


def test_an_event_larger_than_the_broker_takes_is_refused_and_does_not_block(tmp_path: Path, outbox: Outbox) -> None:
    with Broker(tmp_path, extra=["max_packet_size 3000"]) as broker:
        mes = Mes(broker.port)
        large = specimen(1)
        outbox.put([large.model_copy(update={"body": large.body.ljust(4000)}), specimen(0)])
        sending = sink(broker.port, outbox)
        Courier(outbox, sending).drain(20)
        assert_each_once(mes.ledger, 1)
        assert [(part, reason) for _, part, reason in outbox.refusals()] == [
            ("board-000001", "the broker takes packets of at most 3000 bytes")
        ]
        sending.close()
        mes.close()


@pytest.mark.parametrize("station", ["", "a/b", "a+", "#", "a\x00", "x" * 65])
def test_a_station_that_would_change_the_topic_is_refused(station: str) -> None:
    with pytest.raises(InvalidInput, match="cannot be in a topic"):
        MqttSink(settings(1), PlainSettings(station, "i"))


@pytest.mark.parametrize("over", ["mqtt", "sparkplug"])
def test_kills_of_the_sender_and_the_broker_and_cuts_of_the_link_lose_and_double_nothing(
    tmp_path: Path, over: Over
) -> None:
    outcome = endure(tmp_path, over=over, events=100, kills=2, seed=5, seconds=60)
    assert (outcome.kills, outcome.cuts + outcome.restarts) == (2, 2)
    assert (outcome.lost, outcome.doubled, outcome.out_of_order) == (0, 0, 0)


def test_an_alarm_has_a_topic_of_its_own_and_waits_for_no_mes(broker: Broker, outbox: Outbox) -> None:
    at = datetime(2026, 1, 1, tzinfo=UTC)
    alarm = alarm_of("half_scan", station=STATION, number=0, raised=True, message="half", at=at)
    outbox.put([alarm, specimen(0)])
    sending = sink(broker.port, outbox, confirm="mes")
    courier = Courier(outbox, sending, backoff=QUICK)
    courier.step()  # nobody listens: the part waits for its MES, and the alarm lies at the broker
    assert "no MES is subscribed" in courier.problem
    assert outbox.waiting == 1
    with MqttListener(settings(broker.port, "mes"), STATION, confirm=True) as mes:
        assert courier.drain(20)
        until(lambda: mes.ledger.alarms)
        assert mes.ledger.alarms == [("half_scan", "raised")]
        assert (mes.ledger.count.booked, mes.ledger.count.doubled) == (1, 0)
    sending.close()


# --- TLS ------------------------------------------------------------------------------------------------------------


def mosquitto_lines(folder: Path, *, days: int) -> list[str]:
    certify(folder, days=days)
    return [f"cafile {folder}/ca.pem", f"certfile {folder}/server.pem", f"keyfile {folder}/server.key"]


def tls(port: int, ca: str) -> MqttSettings:
    return MqttSettings("127.0.0.1", "agent", port, tls=True, ca=ca, seconds=5)


@LEFT_OPEN
def test_tls_delivers_where_the_issuer_is_trusted(tmp_path: Path, outbox: Outbox) -> None:
    port = free_port()
    secured = [f"listener {port} 127.0.0.1", *mosquitto_lines(tmp_path, days=10)]
    with Broker(tmp_path, extra=secured) as broker:
        mes = Mes(broker.port)
        outbox.put([specimen(0)])
        sending = MqttSink(tls(port, f"{tmp_path}/ca.pem"), PlainSettings(STATION, outbox.installation))
        assert Courier(outbox, sending).drain(20)
        assert_each_once(mes.ledger, 1)
        sending.close()
        stranger = MqttSink(tls(port, ""), PlainSettings(STATION, outbox.installation))
        assert "does not hold" in stranger.idle()
        mes.close()


@LEFT_OPEN
def test_an_expired_certificate_is_said_and_events_wait(tmp_path: Path, outbox: Outbox) -> None:
    port = free_port()
    secured = [f"listener {port} 127.0.0.1", *mosquitto_lines(tmp_path, days=-1)]
    with Broker(tmp_path, extra=secured):
        outbox.put([specimen(0)])
        sending = MqttSink(tls(port, f"{tmp_path}/ca.pem"), PlainSettings(STATION, outbox.installation))
        courier = Courier(outbox, sending, backoff=QUICK)
        courier.step()
        assert "certificate has expired" in courier.problem
        assert "clock" in courier.problem
        assert outbox.waiting == 1


def test_a_certificate_file_that_cannot_be_read_is_refused(tmp_path: Path) -> None:
    (tmp_path / "ca.pem").write_text("not a certificate")
    with pytest.raises(EvidentError, match="cannot be read"):
        MqttSink(tls(1, f"{tmp_path}/ca.pem"), PlainSettings(STATION, "i", takeover=True)).idle()
