"""The OPC UA server, read by asyncua's client: the last result, the event, and both methods."""

import asyncio
import json
import threading
from collections.abc import Coroutine, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import pytest
from asyncua import Client
from asyncua.crypto.security_policies import SecurityPolicyBasic256Sha256
from asyncua.ua import MessageSecurityMode
from asyncua.ua.uaerrors import UaError
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import rsa
from cryptography.x509.oid import NameOID

from evident_core.errors import InvalidInput
from evident_manufacturing.delivery.courier import Backoff, Courier
from evident_manufacturing.delivery.endurance import endure
from evident_manufacturing.delivery.events import alarm_of
from evident_manufacturing.delivery.opcua import NAMESPACE, OpcUaSettings, OpcUaSink
from evident_manufacturing.delivery.outages import free_port
from evident_manufacturing.delivery.outbox import Outbox
from evident_manufacturing.delivery.specimen import specimen

DAY = datetime(2026, 1, 1, tzinfo=UTC)


@pytest.fixture
def outbox(tmp_path: Path) -> Iterator[Outbox]:
    with Outbox(tmp_path / "outbox.sqlite3", owner="agent") as opened:
        yield opened


class Hearing:
    """What a subscription heard."""

    def __init__(self) -> None:
        self.events: list[Any] = []

    def event_notification(self, event: Any) -> None:
        self.events.append(event)


async def management(client: Client, station: str) -> tuple[Any, Any, int]:
    space = await client.get_namespace_index(NAMESPACE)
    at = await client.nodes.objects.get_child([f"{space}:{station}"])
    return at, await at.get_child([f"{space}:ResultManagement"]), space


def in_a_loop_of_its_own(work: Coroutine[Any, Any, None]) -> None:
    """Run to the end in another thread: this one may have a loop that drives a browser."""
    with ThreadPoolExecutor(1) as pool:
        pool.submit(asyncio.run, work).result()


def test_a_client_reads_results_and_hears_of_them_and_of_alarms(outbox: Outbox) -> None:
    settings = OpcUaSettings("aoi-1", port=free_port())
    sink = OpcUaSink(settings)
    assert sink.idle() == ""
    outbox.put([specimen(n) for n in range(3)])

    async def client() -> None:
        async with Client(settings.url, timeout=30) as connected:
            await connected.load_data_type_definitions()
            station, methods, space = await management(connected, "aoi-1")
            hearing = Hearing()
            kind = await connected.nodes.base_event_type.get_child([f"{space}:ResultReadyEventType"])
            subscription = await connected.create_subscription(20, hearing)
            await subscription.subscribe_events(station, kind)
            everything = Hearing()
            await (await connected.create_subscription(20, everything)).subscribe_events(evtypes=kind)  # of the Server
            assert await asyncio.to_thread(Courier(outbox, sink).drain, 60)
            for _ in range(1500):
                if len(hearing.events) == len(everything.events) == 3:
                    break
                await asyncio.sleep(0.02)
            assert [event.PartId for event in hearing.events] == ["board-000000", "board-000001", "board-000002"]
            assert [event.PartId for event in everything.events] == [event.PartId for event in hearing.events]
            assert {event.SourceName for event in everything.events} == {"aoi-1"}
            assert [event.ResultId for event in hearing.events] == [specimen(n).event_id for n in range(3)]
            assert [event.MeasId for event in hearing.events] == ["1", "2", "3"]
            assert hearing.events[0].Message.Text == "board-000000: reject"

            last = await (await methods.get_child([f"{space}:Results", f"{space}:LastResult"])).read_value()
            assert (last.resultId, last.partId, last.productId) == (specimen(2).event_id, "board-000002", "demo")
            assert (last.isPartial, last.isSimulated, last.resultState) == (False, False, 1)
            assert (last.internalRecipeId, last.internalConfigurationId, last.jobId) == (
                "demo@1",
                "generated 1",
                "lot-0",
            )
            assert last.creationTime == datetime(2026, 1, 1, tzinfo=UTC)
            assert json.loads(last.resultContent)["defects"][0]["class"] == "short"

            first, error = await methods.call_method(f"{space}:GetResultById", specimen(0).event_id)
            assert (first.partId, error) == ("board-000000", 0)
            unknown, error = await methods.call_method(f"{space}:GetResultById", "no such id")
            assert (unknown.resultState, error) == (0, -1)

            alarms = Hearing()
            kind = await connected.nodes.base_event_type.get_child([f"{space}:StationAlarmEventType"])
            subscription = await connected.create_subscription(20, alarms)
            await subscription.subscribe_events(station, kind)
            outbox.put(
                [alarm_of("half_scan", station="aoi-1", number=0, raised=True, message="half", at=DAY, part_id="P")]
            )
            assert await asyncio.to_thread(Courier(outbox, sink).drain, 60)
            for _ in range(1500):
                if alarms.events:
                    break
                await asyncio.sleep(0.02)
            (alarm,) = alarms.events
            assert (alarm.Code, alarm.State, alarm.PartId, alarm.Message.Text) == ("half_scan", "raised", "P", "half")
            assert alarm.Severity == 700

    try:
        in_a_loop_of_its_own(client())
    finally:
        sink.close()


def certify(folder: Path, name: str, *, days: int = 10) -> tuple[str, str]:
    """A certificate that signs itself, as OPC UA applications have them, and its key."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    named = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, name)])
    now = datetime.now(UTC)
    alternatives = [x509.UniformResourceIdentifier(f"urn:test:{name}"), x509.IPAddress(IPv4Address("127.0.0.1"))]
    certificate = (
        x509.CertificateBuilder()
        .subject_name(named)
        .issuer_name(named)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=30))
        .not_valid_after(now + timedelta(days=days))
        .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        .sign(key, hashes.SHA256())
    )
    files = folder / f"{name}.pem", folder / f"{name}-key.pem"
    files[0].write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    files[1].write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return str(files[0]), str(files[1])


async def part_of_the_last_result(settings: OpcUaSettings, files: tuple[str, str] | None, name: str = "") -> str:
    client = Client(settings.url, timeout=20)
    client.application_uri = f"urn:test:{name}"
    if files:
        await client.set_security(
            SecurityPolicyBasic256Sha256, *files, server_certificate=settings.certificate,
            mode=MessageSecurityMode.SignAndEncrypt,
        )  # fmt: skip
    async with client:
        await client.load_data_type_definitions()
        _, methods, space = await management(client, "aoi-1")
        last = await (await methods.get_child([f"{space}:Results", f"{space}:LastResult"])).read_value()
        return str(last.partId)


def test_an_encrypted_endpoint_lets_in_whom_it_trusts_and_nobody_else(outbox: Outbox, tmp_path: Path) -> None:
    server, mes, stranger = (certify(tmp_path, name) for name in ("server", "mes", "stranger"))
    expired = certify(tmp_path, "expired", days=-1)
    own_key = Path(server[1]).rename(tmp_path / "server.key")  # PEM within, as many name it
    trusted = tmp_path / "trusted.pem"
    trusted.write_bytes(Path(mes[0]).read_bytes() + Path(expired[0]).read_bytes())
    settings = OpcUaSettings(
        "aoi-1", port=free_port(), certificate=server[0], key=str(own_key), clients=str(trusted), seconds=20.0
    )
    sink = OpcUaSink(settings)
    outbox.put([specimen(0)])

    async def clients() -> None:
        assert await part_of_the_last_result(settings, mes, "mes") == "board-000000"
        for files, name in ((stranger, "stranger"), (expired, "expired"), (mes, "another"), (None, "mes")):
            with pytest.raises((UaError, ConnectionError, TimeoutError)):
                await part_of_the_last_result(settings, files, name)

    try:
        assert Courier(outbox, sink).drain(60)
        in_a_loop_of_its_own(clients())
    finally:
        sink.close()


def test_a_certificate_of_the_server_that_is_missing_or_none_is_said_and_events_wait(
    outbox: Outbox, tmp_path: Path
) -> None:
    server = certify(tmp_path, "server")
    (tmp_path / "none.pem").write_text("this is no certificate")
    outbox.put([specimen(0)])
    for certificate, said in (
        (str(tmp_path / "gone.pem"), "is not there"),
        (str(tmp_path / "none.pem"), "none.pem is"),
    ):
        sink = OpcUaSink(OpcUaSettings("aoi-1", port=free_port(), certificate=certificate, key=server[1]))
        courier = Courier(outbox, sink)
        courier.step()
        assert said in courier.problem
        assert outbox.waiting == 1
        sink.close()


def test_results_wait_until_a_client_acknowledges_them(outbox: Outbox) -> None:
    settings = OpcUaSettings("aoi-1", port=free_port(), confirm="client", seconds=20.0)
    sink = OpcUaSink(settings)
    outbox.put([specimen(0), specimen(1)])
    courier = Courier(outbox, sink, backoff=Backoff(first=0.05, longest=0.1))

    async def client() -> None:
        async with Client(settings.url, timeout=30) as connected:
            await connected.load_data_type_definitions()
            _, methods, space = await management(connected, "aoi-1")
            name = f"{space}:AcknowledgeResults"
            assert await methods.call_method(name, ["never shown"]) == -1
            stop = threading.Event()
            thread = threading.Thread(target=courier.run, args=(stop,))
            thread.start()
            for number in (0, 1):
                while await methods.call_method(name, [specimen(number).event_id]) != 0:
                    await asyncio.sleep(0.02)
            while outbox.waiting:
                await asyncio.sleep(0.02)
            stop.set()
            await asyncio.to_thread(thread.join)

    assert sink.idle() == ""
    try:
        in_a_loop_of_its_own(client())
    finally:
        sink.close()
    assert outbox.waiting == 0


def test_a_client_that_acknowledges_again_and_again_fills_no_memory(outbox: Outbox) -> None:
    settings = OpcUaSettings("aoi-1", port=free_port(), confirm="shown", keep=3)
    sink = OpcUaSink(settings)
    assert sink.idle() == ""

    async def client() -> None:
        async with Client(settings.url, timeout=30) as connected:
            await connected.load_data_type_definitions()
            _, methods, space = await management(connected, "aoi-1")
            for number in range(8):
                outbox.put([specimen(number)])
                assert await asyncio.to_thread(Courier(outbox, sink).drain, 20)
                for _ in range(2):
                    assert await methods.call_method(f"{space}:AcknowledgeResults", [specimen(number).event_id]) == 0

    try:
        in_a_loop_of_its_own(client())
        assert sink._acknowledged <= {specimen(number).event_id for number in (5, 6, 7)}
    finally:
        sink.close()


def test_nothing_but_an_alarm_is_delivered_where_no_client_acknowledges(outbox: Outbox) -> None:
    sink = OpcUaSink(OpcUaSettings("aoi-1", port=free_port(), confirm="client", seconds=1.0))
    outbox.put([specimen(0), alarm_of("half_scan", station="aoi-1", number=0, raised=True, message="half", at=DAY)])
    courier = Courier(outbox, sink)
    courier.step()
    assert (courier.problem, outbox.waiting) == ("no client acknowledged 1 results", 1)
    sink.close()


def test_a_port_that_is_taken_is_said_and_events_wait(outbox: Outbox) -> None:
    port = free_port()
    first, second = OpcUaSink(OpcUaSettings("a", port=port)), OpcUaSink(OpcUaSettings("b", port=port))
    assert first.idle() == ""
    outbox.put([specimen(0)])
    courier = Courier(outbox, second, backoff=Backoff(first=0.05, longest=0.1))
    courier.step()
    assert f"no OPC UA server at opc.tcp://127.0.0.1:{port}" in courier.problem
    assert outbox.waiting == 1
    first.close()
    assert courier.drain(20)
    second.close()


def test_other_machines_are_not_served_without_a_certificate() -> None:
    with pytest.raises(InvalidInput, match=r"at 0\.0\.0\.0 without a certificate"):
        OpcUaSink(OpcUaSettings("a", host="0.0.0.0"))


def test_a_server_that_is_killed_while_its_client_is_cut_off_loses_and_doubles_nothing(tmp_path: Path) -> None:
    outcome = endure(tmp_path, over="opcua", events=300, kills=1, seconds=90)
    assert (outcome.kills, outcome.cuts) == (1, 1)
    assert (outcome.lost, outcome.doubled, outcome.out_of_order) == (0, 0, 0)
