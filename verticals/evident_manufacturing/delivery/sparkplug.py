"""Events to a Sparkplug B host (Eclipse Sparkplug 3.0): an edge node that is born, speaks, and dies.

``spBv1.0/<group>/NBIRTH|NDEATH/<node>`` and ``…/DBIRTH|DDATA|DDEATH/<node>/<device>``, the device being the station.
Each event is one DDATA; those that were queued before this session began are marked ``is_historical``. Where the
station's source of images stops, and what was queued is delivered, the device dies until there are images again.

Sparkplug wants data at QoS 0, of which nobody confirms anything. So a batch is followed by one small message of QoS 1
on the same connection: when the broker confirms that, it has read all before it. What the broker cannot give on is the
host's part of the standard: with ``primary_host`` nothing is sent while that host's STATE is not online. Where that is
not enough, ``confirm="mes"`` waits until the host has written event ids, one a line, to the device's metric
``Device Control/Acknowledge`` (DCMD).
"""

import json
import threading
import time
import uuid
from dataclasses import dataclass, field
from typing import Literal

from evident_manufacturing.delivery.broker import Connection
from evident_manufacturing.delivery.courier import Stopped
from evident_manufacturing.delivery.messages import Message, MqttSettings, level
from evident_manufacturing.delivery.outbox import Outbox, Queued, Receipt
from evident_manufacturing.delivery.sparkplug_metrics import (
    ACKNOWLEDGE,
    BDSEQ,
    COMMANDS,
    REBIRTH,
    data_metrics,
    device_metrics,
)
from evident_manufacturing.delivery.sparkplug_payload import DataType, Metric, Payload, decode, encode


@dataclass(frozen=True, slots=True)
class SparkplugSettings:
    """Who this agent is in the Sparkplug name space.

    Attributes:
        group: Of edge nodes; a plant or line.
        node: This agent.
        device: The station.
        primary_host: The host application to wait for; empty: none is waited for.
        confirm: Whether the broker's word is enough, or the host's is needed.
        properties: Told in the birth of the device, for example the model's version.
        probe_seconds: How long another edge node of this name may take to answer, before this one is born.
    """

    group: str
    node: str
    device: str
    primary_host: str = ""
    confirm: Literal["broker", "mes"] = "broker"
    properties: dict[str, str] = field(default_factory=dict)
    probe_seconds: float = 1.0


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
        self._node_command, self._device_command = self._topic("NCMD"), self._topic("DCMD")
        self._host = f"spBv1.0/STATE/{settings.primary_host}" if settings.primary_host else ""
        self._host_online = not settings.primary_host
        self._host_since = 0
        self._connection: Connection | None = None
        self._node_born = self._device_born = self._alone = False
        self._bdseq, self._bdseq_used = 0, True
        self._historical_through = 0
        self._confirmed: set[str] = set()
        # Sequence numbers must leave in their order, and a rebirth is asked for in the network thread.
        self._order = threading.RLock()
        self._seq = 0
        self._current: dict[int, Metric] = {}

    def idle(self, station_problem: str = "") -> str:
        """Be born, or let the device die whose station has a problem; why that is not so, or an empty text.

        Raises:
            Stopped: Another edge node has this one's id.
        """
        connection = self._open()
        if isinstance(connection, str):
            return connection
        with self._order:
            if station_problem and self._device_born:
                self._device_born = False
                connection.send([self._numbered("DDEATH", ())])
            elif not station_problem and not self._device_born:
                self._bear_device(connection)
        return ""

    def send(self, batch: list[Queued]) -> Receipt:
        """Publish each event as DDATA, and wait until the broker has read them, or the host has confirmed them.

        Raises:
            Stopped: Another edge node has this one's id.
        """
        connection = self._open()
        if isinstance(connection, str):
            return Receipt(problem=connection)
        self._confirmed.clear()
        refused: dict[int, str] = {}
        with self._order:
            if not self._device_born:
                self._bear_device(connection)
            for queued in batch:
                if refusal := connection.too_large(Message("", queued.body)):
                    refused[queued.sequence] = refusal
                else:
                    connection.send([self._data(queued)])
        waiting = {queued.event_id: queued.sequence for queued in batch if queued.sequence not in refused}
        fence = Message(f"evident/fence/{self.settings.group}/{self.settings.node}", b"")
        if problem := connection.publish([fence], heard=False).problem:
            return Receipt((), refused, problem)
        if self.settings.confirm == "broker":
            return Receipt(set(waiting.values()), refused)
        connection.wait(lambda: self._confirmed.issuperset(waiting))
        delivered = {waiting[event_id] for event_id in self._confirmed & waiting.keys()}
        missing = len(waiting) - len(delivered)
        return Receipt(delivered, refused, f"the host did not confirm {missing} events" if missing else "")

    def close(self) -> None:
        """Die in order: DDEATH, NDEATH, then the goodbye that keeps the broker from publishing it again."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                if connection.connected and self._node_born:
                    with self._order:
                        last = [self._numbered("DDEATH", ())] if self._device_born else []
                        self._node_born = False
                        connection.send(last)
                    connection.publish([self._death()], heard=False)
            except Stopped:
                pass  # another node lives under this name
            connection.close()
        self._node_born = self._device_born = False

    def _open(self) -> Connection | str:
        connection = self._connection
        if connection is None or not connection.connected or (self._node_born and not self._host_online):
            self.close()
            if problem := self._see_whether_it_is_alone():
                return problem
            if self._bdseq_used:  # each session has a number of its own, which ties its death to its birth
                self._bdseq = self._outbox.count("sparkplug bdSeq", modulo=256)
                self._bdseq_used = False
            self._historical_through = self._outbox.last_sequence
            self._host_online = not self._host
            connection = Connection(self.broker, clean=True, will=self._death(), on_message=self._on_message)
            commands = [self._node_command, self._device_command]
            if problem := connection.open([*commands, *([self._host] if self._host else [])]):
                return problem
            self._connection, self._bdseq_used = connection, True
            connection.wait(lambda: self._host_online, 1.0)
        if not self._host_online:
            return f"the primary host {self.settings.primary_host!r} is not online"
        with self._order:
            if not self._node_born:
                self._bear(connection)
        return connection

    def _see_whether_it_is_alone(self) -> str:
        """Ask for a rebirth of this name, under another client id: whoever is born then is another agent.

        Not every broker tells a client that another has taken its id, and two would throw each other out for ever.
        """
        if self._alone:
            return ""
        heard = threading.Event()
        probe = Connection(
            self.broker,
            client_id=f"{self.broker.client_id[:40]}-probe-{uuid.uuid4().hex[:12]}",
            clean=True,
            on_message=lambda *_: heard.set(),
        )
        if problem := probe.open([self._topic("NBIRTH")]):
            return problem
        asked = Payload(_now(), (Metric(REBIRTH, DataType.BOOLEAN, True),))
        probe.send([Message(self._node_command, encode(asked), qos=0)])
        probe.wait(heard.is_set, self.settings.probe_seconds)
        probe.close()
        if heard.is_set():
            raise Stopped(
                f"Another edge node is alive as {self.settings.node!r} in group {self.settings.group!r}: two agents "
                "have one id. Give this one an id of its own.",
                node=self.settings.node,
            )
        self._alone = True
        return ""

    def _bear(self, connection: Connection) -> None:
        with self._order:
            self._seq = 0
            connection.send([self._node_birth()])
            self._node_born = True
            self._bear_device(connection)

    def _bear_device(self, connection: Connection) -> None:
        connection.send([self._device_birth()])
        self._device_born = True

    def _on_message(self, topic: str, payload: bytes) -> None:
        if topic == self._node_command:
            asked = any(metric.name == REBIRTH and metric.value is True for metric in decode(payload, COMMANDS).metrics)
            with self._order:
                if asked and self._node_born and self._connection is not None:
                    self._bear(self._connection)
        elif topic == self._device_command:
            for metric in decode(payload, COMMANDS).metrics:
                if metric.name == ACKNOWLEDGE and isinstance(metric.value, str):
                    self._confirmed.update(metric.value.split())
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
            Metric(REBIRTH, DataType.BOOLEAN, False, _now()),  # never with an alias
        )
        return self._numbered("NBIRTH", metrics)

    def _device_birth(self) -> Message:
        return self._numbered("DBIRTH", device_metrics(self._current, self.settings.properties, _now()))

    def _data(self, queued: Queued) -> Message:
        metrics = data_metrics(queued, historical=queued.sequence <= self._historical_through)
        self._current.update((metric.alias, metric) for metric in metrics if metric.alias is not None)
        return self._numbered("DDATA", metrics)

    def _numbered(self, kind: str, metrics: tuple[Metric, ...]) -> Message:
        body = encode(Payload(_now(), metrics, self._seq))
        self._seq = (self._seq + 1) % 256
        return Message(self._topic(kind), body, qos=0)

    def _topic(self, kind: str) -> str:
        of_device = f"/{self.settings.device}" if kind.startswith("D") else ""
        return f"spBv1.0/{self.settings.group}/{kind}/{self.settings.node}{of_device}"


def _now() -> int:
    return time.time_ns() // 1_000_000
