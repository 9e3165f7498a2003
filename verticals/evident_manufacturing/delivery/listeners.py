"""A MES behind a broker that counts: over plain MQTT, and as a Sparkplug host. It comes back whenever it is thrown out.

For :mod:`~evident_manufacturing.delivery.endurance` and for tests, as
:class:`~evident_manufacturing.delivery.simulator.Simulator` is for HTTP.
"""

import json
import threading
import time
from abc import ABC, abstractmethod
from collections import Counter
from collections.abc import Callable
from dataclasses import replace
from typing import Final, Self

from evident_manufacturing.delivery.broker import Connection
from evident_manufacturing.delivery.messages import Message, MqttSettings
from evident_manufacturing.delivery.simulator import Ledger
from evident_manufacturing.delivery.sparkplug_metrics import ACKNOWLEDGE, ALARM, EVENT, REBIRTH
from evident_manufacturing.delivery.sparkplug_payload import Born, DataType, Metric, Payload, born, decode, encode

_AGAIN_SECONDS: Final = 0.02
_GATHER_SECONDS: Final = 0.003


class Listener(ABC):
    """A client of a broker that is kept connected by a thread of its own, and confirms what it counted.

    Args:
        settings: Of the broker.
        confirm: Whether it says what it has counted.

    Attributes:
        ledger: What was counted.
    """

    def __init__(self, settings: MqttSettings, *, confirm: bool = False) -> None:
        self.ledger = Ledger()
        self.settings, self._confirm = settings, confirm
        self._counted: list[str] = []
        self._wake = threading.Event()
        self._stop = threading.Event()
        self._ready = threading.Event()
        self._thread = threading.Thread(target=self._live, name="listener", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        self._ready.wait(20)
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._wake.set()
        self._thread.join()

    @abstractmethod
    def connect(self) -> Connection | None:
        """A connection that listens; None where that failed."""

    @abstractmethod
    def acknowledgements(self, event_ids: list[str]) -> list[Message]:
        """What says that these events were counted."""

    def count(self, body: bytes) -> None:
        """Count an event; its confirmation leaves with those that come at the same time."""
        if self.ledger.book(body) < 300 and self._confirm:
            self._counted.append(json.loads(body)["event_id"])
            self._wake.set()

    def _live(self) -> None:
        connection: Connection | None = None
        while not self._stop.is_set():
            if connection is None or not connection.connected:
                if connection is not None:
                    connection.close()
                connection = self.connect()
                if connection is None:
                    self._stop.wait(_AGAIN_SECONDS)
                    continue
                self._ready.set()
            if self._wake.wait(_AGAIN_SECONDS):
                self._stop.wait(_GATHER_SECONDS)
            self._wake.clear()
            counted, self._counted = self._counted, []
            if counted:
                # What is lost with the connection is asked for again, and counted as a repeat.
                connection.send(self.acknowledgements(counted))
        if connection is not None:
            connection.close()


class MqttListener(Listener):
    """A MES that subscribes to a station's results and alarms, in a session that the broker keeps for it."""

    def __init__(self, settings: MqttSettings, station: str, *, root: str = "evident", confirm: bool = False) -> None:
        super().__init__(settings, confirm=confirm)
        self._base = f"{root}/{station}"

    def connect(self) -> Connection | None:
        """A connection that listens; None where that failed."""
        connection = Connection(self.settings, on_message=lambda _, payload: self.count(payload))
        return None if connection.open([f"{self._base}/result", f"{self._base}/alarm/#"]) else connection

    def acknowledgements(self, event_ids: list[str]) -> list[Message]:
        """What says that these events were counted."""
        return [Message(f"{self._base}/ack", "\n".join(event_ids).encode())]


class SparkplugListener(Listener):
    """A host application: it says that it is online, reads births, asks for one where a number or birth is missing.

    Attributes:
        heard: How many messages of each type came.
        dead: Devices that have died since their last birth.
        gaps: How often a sequence number was missing.
    """

    def __init__(self, settings: MqttSettings, group: str, *, host: str = "mes", confirm: bool = False) -> None:
        super().__init__(settings, confirm=confirm)
        self.heard: Counter[str] = Counter()
        self.dead: set[str] = set()
        self.gaps = 0
        self._group, self._state = group, f"spBv1.0/STATE/{host}"
        self._known: dict[str, Born] = {}
        self._seq: dict[str, int] = {}
        self._asked: set[str] = set()
        self._device = ""
        self._say: Callable[[list[Message]], object] = lambda _: None

    def connect(self) -> Connection | None:
        """A connection that listens; None where that failed."""
        at = time.time_ns() // 1_000_000
        self._seq.clear()  # what was said meanwhile is not known
        self._asked.clear()

        def state(*, online: bool) -> Message:
            return Message(self._state, json.dumps({"online": online, "timestamp": at}).encode(), retain=True)

        connection = Connection(self.settings, clean=True, will=state(online=False), on_message=self._hear)
        self._say = connection.send
        if connection.open([f"spBv1.0/{self._group}/#"]):
            return None
        connection.send([state(online=True)])
        return connection

    def acknowledgements(self, event_ids: list[str]) -> list[Message]:
        """What says that these events were counted."""
        known = self._known.get(self._device, {}).get(ACKNOWLEDGE)
        if known is None:
            return []
        metric = replace(known, name="", value="\n".join(event_ids), timestamp=None)
        group, _, rest = self._device.partition("/")
        return [Message(f"spBv1.0/{group}/DCMD/{rest}", encode(Payload(time.time_ns() // 1_000_000, (metric,))), qos=0)]

    def _hear(self, topic: str, payload: bytes) -> None:
        _, group, kind, node, *device = topic.split("/")
        if kind in ("NCMD", "DCMD"):
            return
        self.heard[kind] += 1
        of, edge = "/".join([group, node, *device]), f"{group}/{node}"
        read = decode(payload, self._known.get(of, {}))
        if kind == "NDEATH":
            self._seq.pop(edge, None)
            return
        if not self._in_order(kind, edge, read.seq):
            return
        if kind == "DBIRTH":
            self._known[of] = born(read)
            self._device = of
            self.dead.discard(of)
        elif kind == "DDEATH":
            self.dead.add(of)
        elif kind == "DDATA":
            for metric in read.metrics:
                if metric.name in (EVENT, ALARM) and isinstance(metric.value, str):
                    self.count(metric.value.encode())

    def _in_order(self, kind: str, edge: str, seq: int | None) -> bool:
        """Whether the birth that a message rests on is known; where not, or where one is missing, a birth is asked for.

        What was missed is lost to a host that does not confirm; the edge node does not keep what the broker has read.
        """
        last = self._seq.get(edge)
        if kind == "NBIRTH":
            self._seq[edge] = 0
            self._asked.discard(edge)
            return True
        gap = last is not None and seq != (last + 1) % 256
        self.gaps += gap
        if (gap or last is None) and edge not in self._asked:
            self._asked.add(edge)
            group, _, node = edge.partition("/")
            asked = Payload(time.time_ns() // 1_000_000, (Metric(REBIRTH, DataType.BOOLEAN, True),))
            self._say([Message(f"spBv1.0/{group}/NCMD/{node}", encode(asked), qos=0)])
        if last is not None and seq is not None:
            self._seq[edge] = seq
        return last is not None
