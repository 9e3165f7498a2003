"""Results as an OPC UA server, in the words of OPC 40100-1 (Machine Vision): a result to read, a method, and an event.

``Objects/<station>/ResultManagement/Results/LastResult`` is a ``ResultDataType``; each result fires a
``ResultReadyEventType`` at the station; ``GetResultById`` gives one of the latest results, and ``AcknowledgeResults``
says that a client has some. An alarm fires a ``StationAlarmEventType``, and needs no acknowledgement.

The names and their meaning are the companion specification's (sections 8.3.8.4 and 12.17), in a name space of our own:
its state machines and recipe management are not here, and ids are strings where it has structures of one string.
"""

import asyncio
import json
import socket
import threading
from collections import OrderedDict
from collections.abc import Coroutine
from concurrent.futures import Future
from contextlib import suppress
from dataclasses import dataclass
from datetime import datetime
from ipaddress import ip_address
from typing import Any, Final, Literal, TypeVar
from urllib.parse import quote

from asyncua import ua
from asyncua.common.methods import uamethod
from asyncua.common.structures104 import new_struct, new_struct_field
from asyncua.server.server import Server
from asyncua.ua.object_ids import ObjectIds
from asyncua.ua.uaerrors import UaError

from evident_core.errors import EvidentError, InvalidInput
from evident_manufacturing.delivery.events import is_alarm
from evident_manufacturing.delivery.opcua_security import Security
from evident_manufacturing.delivery.outbox import Queued, Receipt

NAMESPACE: Final = "urn:evident:manufacturing:vision"
COMPLETED: Final = 1
_BASE_EVENT_TYPE: Final = 2041
_SERVER: Final = ua.NodeId(ua.Int32(ObjectIds.Server))
_UNKNOWN: Final = -1
_SEVERE: Final = 700  # of 1 to 1000, Part 5, 6.4.2
_MILD: Final = 100
_START_SECONDS: Final = 60.0
_LEAST_SECONDS: Final = 10.0  # within the process; however short a client may take to acknowledge
_FIELDS: Final = (
    ("resultId", ua.VariantType.String),
    ("isPartial", ua.VariantType.Boolean),
    ("isSimulated", ua.VariantType.Boolean),
    ("resultState", ua.VariantType.Int32),
    ("measId", ua.VariantType.String),
    ("partId", ua.VariantType.String),
    ("externalRecipeId", ua.VariantType.String),
    ("internalRecipeId", ua.VariantType.String),
    ("productId", ua.VariantType.String),
    ("internalConfigurationId", ua.VariantType.String),
    ("jobId", ua.VariantType.String),
    ("creationTime", ua.VariantType.DateTime),
    ("resultContent", ua.VariantType.String),
)
_T = TypeVar("_T")


@dataclass(frozen=True, slots=True)
class OpcUaSettings:
    """Where the server listens.

    Attributes:
        station: Name of the object that stands for this agent.
        host: Any other than loopback needs a certificate.
        port: 4840 is OPC UA's own.
        certificate: And ``key``: PEM or DER files; with them only signed and encrypted connections are let in.
        clients: PEM file of the certificates, or of their issuers, of clients that are let in; empty: any.
        confirm: Whether a result counts as delivered once it is ``"shown"``, or when a ``"client"`` acknowledged it.
        keep: How many results ``GetResultById`` knows.
        seconds: To show a result, and to have a batch acknowledged.
    """

    station: str
    host: str = "127.0.0.1"
    port: int = 4840
    certificate: str = ""
    key: str = ""
    clients: str = ""
    confirm: Literal["shown", "client"] = "shown"
    keep: int = 1000
    seconds: float = 10.0

    @property
    def url(self) -> str:
        """Where clients connect."""
        return f"opc.tcp://{self.host}:{self.port}/evident/"


class OpcUaSink:
    """A server that OPC UA clients read results from; it runs in a thread of its own from the first use on.

    Raises:
        InvalidInput: It is to be reached from other machines, and has no certificate.
    """

    name = "OPC UA"

    def __init__(self, settings: OpcUaSettings) -> None:
        if not settings.certificate and not _is_loopback(settings.host):
            raise InvalidInput(
                f"An OPC UA server at {settings.host} without a certificate shows results to anybody; give certificate "
                "and key, or listen on 127.0.0.1."
            )
        self.settings = settings
        self._loop: asyncio.AbstractEventLoop | None = None
        self._thread: threading.Thread | None = None
        self._server: Any = None
        self._event: Any = None
        self._alarm: Any = None
        self._last: Any = None
        self._kind: Any = None
        self._results: OrderedDict[str, Any] = OrderedDict()
        self._awaited: set[str] = set()
        self._acknowledged: set[str] = set()
        self._changed = threading.Condition()

    def idle(self, station_problem: str = "") -> str:  # noqa: ARG002  # an alarm tells of it
        """Have the server up; why that is not so, or an empty text."""
        if self._server is not None:
            return ""
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="opcua", daemon=True)
        self._thread.start()
        try:
            self._run(self._start(), _START_SECONDS)
        except (OSError, TimeoutError, UaError, EvidentError) as error:
            self.close()
            return f"no OPC UA server at {self.settings.url}: {str(error) or type(error).__name__}"
        return ""

    def send(self, batch: list[Queued]) -> Receipt:
        """Show each result, fire its event, and wait for the acknowledgement where one is asked for."""
        if problem := self.idle():
            return Receipt(problem=problem)
        wanted = {queued.event_id for queued in batch if not is_alarm(queued.body)}
        with self._changed:  # before they are shown: a client is quick
            self._awaited = wanted
        try:
            self._run(self._show_all(batch))
        except (TimeoutError, UaError) as error:
            return Receipt(problem=f"a result could not be shown: {str(error) or type(error).__name__}")
        if self.settings.confirm == "shown":
            return Receipt({queued.sequence for queued in batch})
        with self._changed:
            self._changed.wait_for(lambda: self._acknowledged >= wanted, self.settings.seconds)
            got = self._acknowledged & wanted
            self._acknowledged -= got
            self._awaited = set()
        problem = "" if got == wanted else f"no client acknowledged {len(wanted - got)} results"
        kept = wanted - got
        return Receipt({queued.sequence for queued in batch if queued.event_id not in kept}, problem=problem)

    def close(self) -> None:
        """Stop the server and its thread."""
        loop, thread = self._loop, self._thread
        if loop is None or thread is None:
            return
        if self._server is not None:
            with suppress(OSError, TimeoutError, UaError):  # it is going away in any case
                self._run(self._server.stop())
        with suppress(TimeoutError):
            self._run(_end_tasks())
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
        self._loop = self._thread = self._server = None

    def _run(self, work: Coroutine[Any, Any, _T], seconds: float | None = None) -> _T:
        assert self._loop is not None  # noqa: S101  # idle has made it
        future: Future[_T] = asyncio.run_coroutine_threadsafe(work, self._loop)
        return future.result(seconds or max(_LEAST_SECONDS, self.settings.seconds))

    # --- in the server's loop -----------------------------------------------------------------------------------------

    async def _start(self) -> None:
        given = self.settings
        security = Security.read(given.certificate, given.key, given.clients) if given.certificate else None
        socket.create_server(
            (given.host, given.port)
        ).close()  # a port that is taken is known before the second it costs
        server = Server()
        await server.init()
        server.set_endpoint(self.settings.url)
        server.set_server_name(f"Evident inspection at {self.settings.station}")
        if security is not None:
            await security.apply(server)
        else:
            await server.set_application_uri(f"urn:evident:manufacturing:{quote(self.settings.station)}")
            server.set_security_policy([ua.SecurityPolicyType.NoSecurity])
        await self._build(server)
        await server.start()
        self._server = server

    async def _build(self, server: Any) -> None:
        space = await server.register_namespace(NAMESPACE)
        kind, _ = await new_struct(
            server, space, "ResultDataType", [new_struct_field(name, of) for name, of in _FIELDS]
        )
        await server.load_data_type_definitions()
        self._kind = ua.extension_objects_by_datatype[kind.nodeid]
        station = await server.nodes.objects.add_object(space, self.settings.station)
        await server.nodes.server.add_reference(station, ObjectIds.HasNotifier)
        management = await station.add_object(space, "ResultManagement")
        results = await management.add_folder(space, "Results")
        self._last = await results.add_variable(space, "LastResult", self._kind(), datatype=kind.nodeid)
        text, number = ua.VariantType.String, ua.VariantType.Int32
        await management.add_method(space, "GetResultById", self._get_result, [text], [kind.nodeid, number])
        await management.add_method(space, "AcknowledgeResults", self._acknowledge, [text], [number])
        properties = [(name[0].upper() + name[1:], of) for name, of in _FIELDS]
        event = await server.create_custom_event_type(space, "ResultReadyEventType", _BASE_EVENT_TYPE, properties)
        self._event = await server.get_event_generator(event, station)
        told = [(name, text) for name in ("Code", "State", "PartId")]
        alarm = await server.create_custom_event_type(space, "StationAlarmEventType", _BASE_EVENT_TYPE, told)
        self._alarm = await server.get_event_generator(alarm, station)

    async def _show_all(self, batch: list[Queued]) -> None:
        for queued in batch:
            await self._show(queued)

    async def _show(self, queued: Queued) -> None:
        event = json.loads(queued.body)
        if is_alarm(queued.body):
            self._alarm.event.Code, self._alarm.event.State = event["code"], event["state"]
            self._alarm.event.PartId = event["part_id"]
            self._alarm.event.Severity = _SEVERE if event["state"] == "raised" else _MILD
            await _fire(self._alarm, event["message"])
            return
        result = self._kind(
            resultId=queued.event_id,
            isPartial=False,
            isSimulated=False,
            resultState=COMPLETED,
            measId=str(queued.sequence),
            partId=event["part_id"],
            externalRecipeId=event["product"],
            internalRecipeId=event["specification"],
            productId=event["product"],
            internalConfigurationId=f"{event['model']} {event['version']}",
            jobId=event["lot"],
            creationTime=datetime.fromisoformat(event["inspected"]),
            resultContent=queued.body.decode(),
        )
        self._results[queued.event_id] = result
        self._results.move_to_end(queued.event_id)
        while len(self._results) > self.settings.keep:
            forgotten, _ = self._results.popitem(last=False)
            with self._changed:
                if forgotten not in self._awaited:
                    self._acknowledged.discard(forgotten)
        await self._last.write_value(result)
        for name, _ in _FIELDS:
            setattr(self._event.event, name[0].upper() + name[1:], getattr(result, name))
        await _fire(self._event, f"{event['part_id']}: {event['decision']}")

    @uamethod
    def _get_result(self, _: Any, result_id: str) -> tuple[Any, Any]:
        """The result and 0, or an empty one of state Undefined and -1 where it is not known (any more)."""
        found = self._results.get(result_id)
        return found or self._kind(), ua.Variant(0 if found else _UNKNOWN, ua.VariantType.Int32)

    @uamethod
    def _acknowledge(self, _: Any, result_ids: list[str]) -> Any:
        with self._changed:
            # Of the latest results alone, so that a client cannot fill the memory; one that is late says it once.
            known = [each for each in result_ids if each in self._results or each in self._awaited]
            self._acknowledged.update(known)
            self._changed.notify_all()
        return ua.Variant(0 if len(known) == len(result_ids) else _UNKNOWN, ua.VariantType.Int32)


async def _fire(generator: Any, message: str) -> None:
    """Fire an event at the station, and at the Server, where clients hear of all events (OPC 10000-5, 8.3.2)."""
    event = generator.event
    station = event.emitting_node
    await generator.trigger(message=message)
    event.emitting_node = _SERVER
    try:
        await generator.isession.subscription_service.trigger_event(event)
    finally:
        event.emitting_node = station


async def _end_tasks() -> None:
    """End what sessions of clients that went without a word have left running."""
    tasks = asyncio.all_tasks() - {asyncio.current_task()}
    for each in tasks:
        each.cancel()
    await asyncio.gather(*tasks, return_exceptions=True)


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
