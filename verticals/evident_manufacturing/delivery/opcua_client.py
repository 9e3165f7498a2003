"""A MES that reads an agent's OPC UA server: counts each result by its event, and acknowledges what it counted.

For :mod:`~evident_manufacturing.delivery.endurance` and for tests, as
:class:`~evident_manufacturing.delivery.simulator.Simulator` is for HTTP.
"""

import asyncio
import json
import threading
from contextlib import suppress
from typing import Any, Final, Self

from asyncua.client.client import Client
from asyncua.ua.uaerrors import UaError

from evident_manufacturing.delivery.opcua import NAMESPACE
from evident_manufacturing.delivery.simulator import Ledger

_AGAIN_SECONDS: Final = 0.05
_PUBLISHED_MS: Final = 10
_LOST: Final = (OSError, TimeoutError, UaError, ConnectionError)


class OpcUaListener:
    """A client that is kept connected by a thread of its own.

    Args:
        port: Of the server on this machine, or of what lies between.
        station: Whose results.
        confirm: Whether it acknowledges what it has counted.

    Attributes:
        ledger: What was counted.
    """

    def __init__(self, port: int, station: str, *, confirm: bool = True) -> None:
        self.ledger = Ledger()
        self._url, self._station, self._confirm = f"opc.tcp://127.0.0.1:{port}/evident/", station, confirm
        self._counted: list[str] = []
        self._stop = threading.Event()
        self._thread = threading.Thread(target=lambda: asyncio.run(self._live()), name="opcua-client", daemon=True)

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()

    def event_notification(self, event: Any) -> None:
        """Count a result; asyncua's client calls it."""
        body = event.ResultContent.encode()
        if self.ledger.book(body) < 300:
            self._counted.append(json.loads(body)["event_id"])

    async def _live(self) -> None:
        while not self._stop.is_set():
            client = Client(self._url, timeout=5)
            with suppress(*_LOST):  # it is tried again, as long as the agent is away
                await self._listen(client)
            with suppress(*_LOST):
                await client.disconnect()
            await asyncio.sleep(_AGAIN_SECONDS)

    async def _listen(self, client: Client) -> None:
        await client.connect()
        space = await client.get_namespace_index(NAMESPACE)
        station = await client.nodes.objects.get_child([f"{space}:{self._station}"])
        management = await station.get_child([f"{space}:ResultManagement"])
        acknowledge = await management.get_child([f"{space}:AcknowledgeResults"])
        kind = await client.nodes.base_event_type.get_child([f"{space}:ResultReadyEventType"])
        subscription = await client.create_subscription(_PUBLISHED_MS, self)
        await subscription.subscribe_events(station, kind, queuesize=10_000)
        while not self._stop.is_set():
            counted, self._counted = self._counted, []
            if counted and self._confirm:
                # What is lost with the connection is shown again, and counted as a repeat.
                await management.call_method(acknowledge.nodeid, counted)
            else:
                await client.check_connection()
                await asyncio.sleep(_PUBLISHED_MS / 1000)
