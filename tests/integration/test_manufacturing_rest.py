"""Events over HTTP to a MES that counts: failures, cut connections, kills, and what counts as delivered."""

import ssl
from collections.abc import Iterator
from pathlib import Path

import pytest

from evident_core.errors import InvalidInput
from evident_manufacturing.delivery.courier import Backoff, Courier
from evident_manufacturing.delivery.endurance import endure
from evident_manufacturing.delivery.events import Event
from evident_manufacturing.delivery.outbox import Outbox
from evident_manufacturing.delivery.rest import RestSettings, RestSink
from evident_manufacturing.delivery.simulator import Faults, Simulator
from evident_manufacturing.delivery.specimen import specimen
from line_certificates import certify

QUICK = Backoff(first=0.02, longest=0.05, asked_longest=0.05)


@pytest.fixture
def mes() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite3", owner="agent") as opened:
        yield opened


def deliver(outbox: Outbox, settings: RestSettings, events: int = 30, *, limit: int = 10) -> Courier:
    outbox.put([specimen(n) for n in range(events)])
    with RestSink(settings) as sink:
        courier = Courier(outbox, sink, limit=limit, backoff=QUICK)
        courier.drain(20)
        return courier


@pytest.mark.parametrize("batch", [True, False])
def test_each_part_arrives_once_and_in_order(mes: Simulator, outbox: Outbox, batch: bool) -> None:
    deliver(outbox, RestSettings(mes.url, batch=batch))
    assert mes.ledger.order == [specimen(n).event_id for n in range(30)]
    assert (mes.count.received, mes.count.repeated, mes.count.doubled) == (30, 0, 0)


@pytest.mark.parametrize("batch", [True, False])
@pytest.mark.parametrize(
    "faults",
    [
        Faults(times=3, status=503),
        Faults(times=3, status=429, retry_after=1),
        Faults(times=2, status=408),
        Faults(times=3, cut="before"),
        Faults(times=3, cut="after"),
        Faults(times=2, delay=0.6),
    ],
    ids=lambda faults: f"{faults.status or faults.cut or 'slow'}",
)
def test_what_fails_is_sent_again_and_counted_once(mes: Simulator, outbox: Outbox, batch: bool, faults: Faults) -> None:
    mes.fail(faults)
    deliver(outbox, RestSettings(mes.url, batch=batch, seconds=0.3))
    assert (mes.count.booked, mes.count.doubled, mes.count.out_of_order) == (30, 0, 0)
    assert (outbox.waiting, outbox.refused) == (0, 0)
    assert (mes.count.repeated > 0) is (faults.cut == "after" or faults.delay > 0)


def test_an_event_that_the_mes_refuses_is_kept_for_a_person_and_the_others_go_on(
    mes: Simulator, outbox: Outbox
) -> None:
    bad = Event(event_id="bad", part_id="bad", fingerprint="x", body=b'{"no": "event"}')
    outbox.put([specimen(100), bad, specimen(101)])
    deliver(outbox, RestSettings(mes.url), 5)
    assert mes.count.booked == 7
    assert [(event, part) for event, part, _ in outbox.refusals()] == [("bad", "bad")]
    assert "422" in outbox.refusals()[0][2]


def test_a_batch_that_is_refused_as_a_whole_goes_one_by_one(mes: Simulator, outbox: Outbox) -> None:
    mes.fail(Faults(times=1, status=413))
    deliver(outbox, RestSettings(mes.url))
    assert (mes.count.booked, outbox.refused) == (30, 0)


@pytest.mark.parametrize("status", [401, 403, 404, 302])
def test_a_wrong_address_or_key_refuses_no_event(mes: Simulator, outbox: Outbox, status: int) -> None:
    mes.fail(Faults(times=1, status=status))
    outbox.put([specimen(0)])
    with RestSink(RestSettings(mes.url)) as sink:
        courier = Courier(outbox, sink, backoff=QUICK)
        courier.step()
        assert f"answered {status}" in courier.problem
        assert (outbox.waiting, outbox.refused) == (1, 0)
        assert courier.drain(10)
    assert mes.count.booked == 1


def test_a_mes_that_is_down_is_waited_for(outbox: Outbox) -> None:
    with Simulator() as gone:
        url = gone.url
    outbox.put([specimen(0)])
    with RestSink(RestSettings(url, connect_seconds=0.5)) as sink:
        courier = Courier(outbox, sink, backoff=QUICK)
        courier.step()
        courier.step()
        assert "ConnectError" in courier.problem
        assert (courier.failures, outbox.waiting) == (2, 1)


def test_an_expired_certificate_is_said_and_events_wait(tmp_path: Path, outbox: Outbox) -> None:
    outbox.put([specimen(0)])
    for days, said in ((-1, "certificate has expired"), (10, "")):
        certify(tmp_path, days=days)
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.load_cert_chain(tmp_path / "server.pem", tmp_path / "server.key")
        with Simulator(context=context) as mes:
            sink = RestSink(RestSettings(mes.url, ca=str(tmp_path / "ca.pem")))
            courier = Courier(outbox, sink, backoff=QUICK)
            courier.step()
            assert said in courier.problem
            assert (outbox.waiting, mes.count.booked) == ((1, 0) if said else (0, 1))
            sink.close()


def test_the_counting_mes_does_see_a_sender_that_makes_up_a_new_id_each_time(mes: Simulator) -> None:
    body = specimen(0).body
    mes.ledger.book(body)
    mes.ledger.book(body)
    assert (mes.count.repeated, mes.count.doubled) == (1, 0)
    mes.ledger.book(body.replace(specimen(0).event_id.encode(), b"made-up"))
    assert mes.count.doubled == 1


def test_an_address_that_is_none_is_refused() -> None:
    with pytest.raises(InvalidInput, match="'ftp://mes' is not an address of a MES"):
        RestSink(RestSettings("ftp://mes"))


def test_kills_at_random_points_lose_and_double_nothing(tmp_path: Path) -> None:
    outcome = endure(tmp_path, events=400, kills=4, seed=7, seconds=120)
    assert (outcome.kills, outcome.lost, outcome.doubled, outcome.out_of_order) == (4, 0, 0, 0)
