"""Events to a Sparkplug B host (Eclipse Sparkplug 3.0): an edge node that is born, speaks, and dies.

``spBv1.0/<group>/NBIRTH|NDEATH/<node>`` and ``…/DBIRTH|DDATA/<node>/<device>``, the device being the station. Each
event is one DDATA; those that were queued before this session began are marked ``is_historical``.

Sparkplug wants data at QoS 0, of which nobody confirms anything. So a batch is followed by one small message of QoS 1
on the same connection: when the broker confirms that, it has read all before it. What the broker cannot give on is the
host's part of the standard: with ``primary_host`` nothing is sent while that host's STATE is not online.
"""

import json
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any, Final

from evident_manufacturing.delivery.broker import Connection, Message, MqttSettings, level
from evident_manufacturing.delivery.courier import Stopped
from evident_manufacturing.delivery.outbox import Outbox, Queued, Receipt
from evident_manufacturing.delivery.sparkplug_payload import DataType, Metric, Payload, Value, decode, encode

REBIRTH: Final = "Node Control/Rebirth"
BDSEQ: Final = "bdSeq"
_METRICS: Final[dict[str, tuple[DataType, Callable[[dict[str, Any]], Value]]]] = {
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
_BODY: Final = "Inspection/Event"
_SEQUENCE: Final = "Inspection/Sequence"


@dataclass(frozen=True, slots=True)
class SparkplugSettings:
    """Who this agent is in the Sparkplug name space.

    Attributes:
        group: Of edge nodes; a plant or line.
        node: This agent.
        device: The station.
        primary_host: The host application to wait for; empty: none is waited for.
        properties: Told in the birth of the device, for example the model's version.
    """

    group: str
    node: str
    device: str
    primary_host: str = ""
    properties: dict[str, str] = field(default_factory=dict)


class SparkplugSink:
    """A Sparkplug host that listens to a broker.

    Args:
        broker: Of the connection.
        settings: Of the name space.
        outbox: Keeps ``bdSeq`` across restarts, and knows what was queued before a session began.

    Raises:
        InvalidInput: A name cannot be in a topic, or a certificate cannot be read.
    """

    name = "Sparkplug B"

    def __init__(self, broker: MqttSettings, settings: SparkplugSettings, outbox: Outbox) -> None:
        for what in ("group", "node", "device"):
            level(getattr(settings, what), what)
        self.broker, self.settings, self._outbox = broker, settings, outbox
        self._command = f"spBv1.0/{settings.group}/NCMD/{settings.node}"
        self._host = f"spBv1.0/STATE/{settings.primary_host}" if settings.primary_host else ""
        self._host_online = not settings.primary_host
        self._host_since = 0
        self._connection: Connection | None = None
        self._born = False
        self._bdseq, self._bdseq_used = 0, True
        self._historical_through = 0
        # Sequence numbers must leave in their order, and a rebirth is asked for in the network thread.
        self._order = threading.Lock()
        self._seq = 0

    def idle(self) -> str:
        """Be born; why that is not so, or an empty text.

        Raises:
            Stopped: Another edge node has this one's id.
        """
        connection = self._open()
        return connection if isinstance(connection, str) else ""

    def send(self, batch: list[Queued]) -> Receipt:
        """Publish each event as DDATA, and wait until the broker has read them.

        Raises:
            Stopped: Another edge node has this one's id.
        """
        connection = self._open()
        if isinstance(connection, str):
            return Receipt(problem=connection)
        with self._order:
            connection.send([self._data(queued) for queued in batch])
        fence = Message(f"evident/fence/{self.settings.group}/{self.settings.node}", b"")
        problem = connection.publish([fence], heard=False).problem
        return Receipt(() if problem else {queued.sequence for queued in batch}, problem=problem)

    def close(self) -> None:
        """Die in order: NDEATH, then the goodbye that keeps the broker from publishing it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                if connection.connected and self._born:
                    connection.publish([self._death()], heard=False)
            except Stopped:
                pass  # another node lives under this name
            connection.close()
        self._born = False

    def _open(self) -> Connection | str:
        connection = self._connection
        if connection is None or not connection.connected or (self._born and not self._host_online):
            self.close()
            if self._bdseq_used:  # each session has a number of its own, which ties its death to its birth
                self._bdseq = self._outbox.count("sparkplug bdSeq", modulo=256)
                self._bdseq_used = False
            self._historical_through = self._outbox.last_sequence
            self._host_online = not self._host
            connection = Connection(self.broker, clean=True, will=self._death(), on_message=self._on_message)
            if problem := connection.open([self._command, *([self._host] if self._host else [])]):
                return problem
            self._connection, self._bdseq_used = connection, True
            connection.wait(lambda: self._host_online, 1.0)
        if not self._host_online:
            return f"the primary host {self.settings.primary_host!r} is not online"
        if not self._born:
            self._born = True
            self._bear(connection)
        return connection

    def _bear(self, connection: Connection) -> None:
        with self._order:
            self._seq = 0
            connection.send([self._node_birth(), self._device_birth()])

    def _on_message(self, topic: str, payload: bytes) -> None:
        if topic == self._command:
            asked = any(metric.name == REBIRTH and metric.value is True for metric in decode(payload).metrics)
            if asked and self._born and self._connection is not None:
                self._bear(self._connection)
        elif topic == self._host:
            state = json.loads(payload)
            # A will of an older session of the host may come after its newer birth.
            if int(state["timestamp"]) >= self._host_since:
                self._host_since, self._host_online = int(state["timestamp"]), state["online"] is True

    # --- messages -----------------------------------------------------------------------------------------------------

    def _death(self) -> Message:
        body = encode(Payload(_now(), (Metric(BDSEQ, DataType.INT64, self._bdseq, _now()),)))
        return Message(self._topic("NDEATH"), body, qos=1)

    def _node_birth(self) -> Message:
        metrics = (
            Metric(BDSEQ, DataType.INT64, self._bdseq, _now()),
            Metric(REBIRTH, DataType.BOOLEAN, False, _now()),
        )
        return self._numbered("NBIRTH", metrics)

    def _device_birth(self) -> Message:
        kinds = {name: kind for name, (kind, _) in _METRICS.items()} | {
            _BODY: DataType.STRING,
            _SEQUENCE: DataType.INT64,
        }
        metrics = [Metric(name, kind, None, _now()) for name, kind in kinds.items()]
        told = self.settings.properties.items()
        metrics += [Metric(f"Properties/{name}", DataType.STRING, value, _now()) for name, value in told]
        return self._numbered("DBIRTH", tuple(metrics))

    def _data(self, queued: Queued) -> Message:
        event = json.loads(queued.body)
        inspected = int(datetime.fromisoformat(event["inspected"]).timestamp() * 1000)
        historical = queued.sequence <= self._historical_through
        values = {name: (kind, read(event)) for name, (kind, read) in _METRICS.items()}
        values |= {_BODY: (DataType.STRING, queued.body.decode()), _SEQUENCE: (DataType.INT64, queued.sequence)}
        return self._numbered(
            "DDATA",
            tuple(Metric(name, kind, value, inspected, historical) for name, (kind, value) in values.items()),
        )

    def _numbered(self, kind: str, metrics: tuple[Metric, ...]) -> Message:
        body = encode(Payload(_now(), metrics, self._seq))
        self._seq = (self._seq + 1) % 256
        return Message(self._topic(kind), body, qos=0)

    def _topic(self, kind: str) -> str:
        of_device = f"/{self.settings.device}" if kind.startswith("D") else ""
        return f"spBv1.0/{self.settings.group}/{kind}/{self.settings.node}{of_device}"


def _now() -> int:
    return time.time_ns() // 1_000_000
