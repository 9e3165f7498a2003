"""Events to a MES over plain MQTT 5: QoS 1, a session that the broker keeps, a last will, TLS.

``<root>/<station>/result`` carries the events, each with the user properties ``event-id`` and ``sequence``;
``<root>/<station>/alarm/<code>`` carries alarms and is retained, so that the broker's word is enough: who comes later
sees what is raised. ``<root>/<station>/state`` is retained and says who is online; on ``<root>/<station>/ack`` a MES
may confirm events.

A broker's confirmation says that the broker has an event. What it then loses, by a crash or a full queue, the MES never
sees. ``confirm="mes"`` waits for the MES itself: event ids, one a line, on the topic ``ack``.
"""

import json
import uuid
from dataclasses import dataclass
from typing import Literal

from evident_manufacturing.delivery.broker import Connection
from evident_manufacturing.delivery.courier import Stopped
from evident_manufacturing.delivery.events import is_alarm
from evident_manufacturing.delivery.messages import Message, MqttSettings, level
from evident_manufacturing.delivery.outbox import Queued, Receipt


@dataclass(frozen=True, slots=True)
class PlainSettings:
    """What is published, and when an event counts as delivered.

    Attributes:
        station: Level of the topics; the inspection point.
        installation: Tells this agent from another of the same id on another computer, see ``Outbox.installation``.
        root: First level of the topics.
        confirm: Whether the broker's word is enough, or the MES's is needed.
        takeover: Whether to start although another installation says that it is online.
    """

    station: str
    installation: str
    root: str = "evident"
    confirm: Literal["broker", "mes"] = "broker"
    takeover: bool = False


class MqttSink:
    """A MES that listens to a broker.

    Raises:
        InvalidInput: The station or root cannot be in a topic, or a certificate cannot be read.
    """

    name = "MQTT"

    def __init__(self, broker: MqttSettings, settings: PlainSettings) -> None:
        self.broker, self.settings = broker, settings
        base = f"{level(settings.root, 'root')}/{level(settings.station, 'station')}"
        self.result_topic, self.state_topic, self.ack_topic = f"{base}/result", f"{base}/state", f"{base}/ack"
        self.alarm_topic = f"{base}/alarm"
        self._connection: Connection | None = None
        self._confirmed: set[str] = set()

    def idle(self, station_problem: str = "") -> str:  # noqa: ARG002  # an alarm tells of it
        """Be online; why that is not so, or an empty text.

        Raises:
            Stopped: Another agent has this one's id.
        """
        connection = self._open()
        return connection if isinstance(connection, str) else ""

    def _open(self) -> Connection | str:
        connection = self._connection
        if connection is not None and connection.connected:
            return connection
        if problem := self._see_who_is_online():
            return problem
        if connection is not None:
            connection.close()
        connection = Connection(self.broker, will=self._state("offline"), on_message=self._on_message)
        if problem := connection.open([self.ack_topic] if self.settings.confirm == "mes" else []):
            return problem
        self._connection = connection
        return connection.publish([self._state("online")], heard=False).problem or connection

    def send(self, batch: list[Queued]) -> Receipt:
        """Publish a batch and wait until it is confirmed.

        Raises:
            Stopped: Another agent has this one's id.
        """
        connection = self._open()
        if isinstance(connection, str):
            return Receipt(problem=connection)
        results = [queued for queued in batch if not is_alarm(queued.body)]
        alarms = [queued for queued in batch if is_alarm(queued.body)]
        told = connection.publish([self._alarm(queued) for queued in alarms], heard=False)
        receipt = self._send_results(connection, results) if results and not told.problem else Receipt()
        delivered = {*receipt.delivered, *(alarms[index].sequence for index in told.taken)}
        refused = {**receipt.refused, **{alarms[index].sequence: why for index, why in told.refused.items()}}
        return Receipt(delivered, refused, told.problem or receipt.problem)

    def _send_results(self, connection: Connection, batch: list[Queued]) -> Receipt:
        self._confirmed.clear()
        result = connection.publish([self._result(queued) for queued in batch])
        refused = {batch[index].sequence: reason for index, reason in result.refused.items()}
        if self.settings.confirm == "broker":
            return Receipt({batch[index].sequence for index in result.taken}, refused, result.problem)
        waiting = {batch[index].event_id: batch[index].sequence for index in result.taken}
        connection.wait(lambda: self._confirmed.issuperset(waiting))
        delivered = {waiting[event_id] for event_id in self._confirmed & waiting.keys()}
        missing = len(batch) - len(delivered) - len(refused)
        problem = result.problem or (f"the MES did not confirm {missing} events" if missing else "")
        return Receipt(delivered, refused, problem)

    def close(self) -> None:
        """Say that this agent goes offline, and disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                if connection.connected:
                    connection.publish([self._state("offline")], heard=False)
            except Stopped:
                pass  # the state is the other agent's now
            connection.close()

    def _see_who_is_online(self) -> str:
        """Ask under another client id first: to connect under our own would throw the other agent out."""
        if self.settings.takeover:
            return ""
        seen: list[bytes] = []
        probe = Connection(
            self.broker,
            client_id=f"{self.broker.client_id[:40]}-probe-{uuid.uuid4().hex[:12]}",
            clean=True,
            on_message=lambda _, payload: seen.append(payload),
        )
        # The answer to a publication to itself comes behind the retained state, so it says that there is none.
        marker = f"{self.state_topic}/probe/{uuid.uuid4().hex}"
        if problem := probe.open([self.state_topic, marker]):
            return problem
        probe.send([Message(marker, b"")])
        came = probe.wait(lambda: b"" in seen)
        probe.close()
        if not came:
            return "the broker did not say who is online"
        for state in filter(None, seen):
            self._judge(state)
        return ""

    def _judge(self, payload: bytes) -> None:
        try:
            state = json.loads(payload)
            online, other = state["state"] == "online", str(state["installation"])
        except (ValueError, KeyError, TypeError):
            return  # not written by an agent
        if online and other != self.settings.installation:
            raise Stopped(
                f"Another agent (installation {other[:64]!r}) is online at station {self.settings.station!r}: two "
                "agents have one id. Give this one a station of its own; or, where the other is gone for good, start "
                "with takeover.",
                station=self.settings.station,
                installation=other,
            )

    def _state(self, state: str) -> Message:
        told = {"state": state, "client_id": self.broker.client_id, "installation": self.settings.installation}
        return Message(self.state_topic, json.dumps(told).encode(), retain=True)

    def _result(self, queued: Queued) -> Message:
        return Message(self.result_topic, queued.body, properties=_properties(queued))

    def _alarm(self, queued: Queued) -> Message:
        topic = f"{self.alarm_topic}/{json.loads(queued.body)['code']}"
        return Message(topic, queued.body, retain=True, properties=_properties(queued))

    def _on_message(self, topic: str, payload: bytes) -> None:
        if topic == self.ack_topic:
            self._confirmed.update(payload.decode("ascii", "replace").split())


def _properties(queued: Queued) -> dict[str, str]:
    return {"event-id": queued.event_id, "sequence": str(queued.sequence)}
