"""Both ends of a trial: a MES that counts behind an unsteady connection, and a sender in a process that may be killed.

``python -m evident_manufacturing.delivery.trial`` is that sender; :mod:`~evident_manufacturing.delivery.endurance`
starts it.
"""

import argparse
import logging
import random
import sys
import threading
import time
from abc import ABC, abstractmethod
from collections.abc import Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any, Final, Literal, Self

from evident_manufacturing.delivery.courier import Backoff, Courier, Sink
from evident_manufacturing.delivery.listeners import Listener, MqttListener, SparkplugListener
from evident_manufacturing.delivery.messages import MqttSettings
from evident_manufacturing.delivery.mqtt import MqttSink, PlainSettings
from evident_manufacturing.delivery.opcua import OpcUaSettings, OpcUaSink
from evident_manufacturing.delivery.opcua_client import OpcUaListener
from evident_manufacturing.delivery.outages import Broker, Wire, free_port
from evident_manufacturing.delivery.outbox import Outbox
from evident_manufacturing.delivery.rest import RestSettings, RestSink
from evident_manufacturing.delivery.simulator import Faults, Ledger, Simulator
from evident_manufacturing.delivery.sparkplug import SparkplugSettings, SparkplugSink
from evident_manufacturing.delivery.specimen import STATION, specimen

Over = Literal["rest", "mqtt", "sparkplug", "opcua"]
Confirm = Literal["broker", "mes"]

GROUP: Final = "plant"
HOST: Final = "mes"
_CHUNK: Final = 5
_MODULE: Final = "evident_manufacturing.delivery.trial"


class Mes(ABC):
    """A MES that counts, with what lies between it and a sender."""

    def __init__(self, confirm: Confirm) -> None:
        self.confirm, self.cuts, self.restarts = confirm, 0, 0
        self._open = ExitStack()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self._open.close()

    @property
    @abstractmethod
    def ledger(self) -> Ledger:
        """What it has counted."""

    @property
    @abstractmethod
    def address(self) -> str:
        """Where a sender reaches it: a URL, or a port."""

    @property
    def direct(self) -> str:
        """The same, without the wire that can be cut: it is slower than what it stands for."""
        return self.address

    @abstractmethod
    def disturb(self, chance: random.Random) -> None:
        """Let something go wrong."""


class _OverHttp(Mes):
    def __init__(self, confirm: Confirm) -> None:
        super().__init__(confirm)
        self._simulator = self._open.enter_context(Simulator())

    @property
    def ledger(self) -> Ledger:
        return self._simulator.ledger

    @property
    def address(self) -> str:
        return self._simulator.url

    def disturb(self, chance: random.Random) -> None:
        self._simulator.fail(Faults(times=1, cut=chance.choice(("before", "after"))))
        self.cuts += 1


class _BehindBroker(Mes):
    def __init__(self, over: Over, folder: Path, confirm: Confirm) -> None:
        super().__init__(confirm)
        memory = folder / "broker"
        memory.mkdir()
        self._broker = self._open.enter_context(Broker(memory))
        self._wire = self._open.enter_context(Wire(self._broker.port))
        settings = MqttSettings("127.0.0.1", HOST, self._broker.port, seconds=5)
        says = confirm == "mes"
        self._listener: Listener = self._open.enter_context(
            MqttListener(settings, STATION, confirm=says)
            if over == "mqtt"
            else SparkplugListener(settings, GROUP, host=HOST, confirm=says)
        )

    @property
    def ledger(self) -> Ledger:
        return self._listener.ledger

    @property
    def address(self) -> str:
        return str(self._wire.port)

    @property
    def direct(self) -> str:
        return str(self._broker.port)

    def disturb(self, chance: random.Random) -> None:
        # What a broker that is killed has confirmed and not passed on is lost, unless the MES itself confirms.
        stop = chance.choice((self._broker.stop, self._broker.kill) if self.confirm == "mes" else (self._broker.stop,))
        if chance.random() < 0.5:
            stop()
            time.sleep(chance.uniform(0.0, 0.1))
            self._broker.start()
            self.restarts += 1
        else:
            self._wire.cut()
            time.sleep(chance.uniform(0.0, 0.1))
            self._wire.mend()
            self.cuts += 1


class _AtOpcUa(Mes):
    """The agent is the server here, and the MES comes to it; so the link is on the MES's side."""

    def __init__(self) -> None:
        super().__init__("mes")
        self._port = free_port()
        self._wire = self._open.enter_context(Wire(self._port))
        self._listener = self._open.enter_context(OpcUaListener(self._wire.port, STATION))

    @property
    def ledger(self) -> Ledger:
        return self._listener.ledger

    @property
    def address(self) -> str:
        return str(self._port)

    def disturb(self, chance: random.Random) -> None:
        self._wire.cut()
        time.sleep(chance.uniform(0.0, 0.1))
        self._wire.mend()
        self.cuts += 1


def make_mes(over: Over, folder: Path, confirm: Confirm) -> Mes:
    """A MES that events reach this way, with a broker where there is one.

    Raises:
        NotFound: Mosquitto is not installed.
    """
    if over == "rest":
        return _OverHttp(confirm)
    return _AtOpcUa() if over == "opcua" else _BehindBroker(over, folder, confirm)


def sender(work: str, folder: Path, over: Over, confirm: Confirm, events: int, address: str) -> list[str]:
    """The command of a sender: ``send`` puts and delivers so many events, ``drain`` delivers what waits.

    ``drain`` prints its seconds.
    """
    way = ["--over", over, "--confirm", confirm, "--events", str(events)]
    return [sys.executable, "-m", _MODULE, "--work", work, "--folder", str(folder), "--address", address, *way]


def _sink(over: Over, confirm: Confirm, address: str, outbox: Outbox) -> Sink:
    if over == "rest":
        return RestSink(RestSettings(address))
    if over == "opcua":
        return OpcUaSink(OpcUaSettings(STATION, port=int(address), confirm="client", seconds=2.0))
    broker = MqttSettings("127.0.0.1", STATION, int(address), keepalive=5, seconds=5.0)
    if over == "mqtt":
        return MqttSink(broker, PlainSettings(STATION, outbox.installation, confirm=confirm))
    edge = SparkplugSettings(GROUP, STATION, "aoi", primary_host=HOST, confirm=confirm, probe_seconds=0.1)
    return SparkplugSink(broker, edge, outbox)


def _send(options: Any) -> None:
    """The sender: puts parts where it left off, as a camera's folder would present them, while a thread delivers."""
    folder, events = options.folder, options.events
    mark = folder / "next"
    stop = threading.Event()
    with Outbox(folder / "outbox.sqlite3", owner=STATION) as outbox:
        sink = _sink(options.over, options.confirm, options.address, outbox)
        courier = Courier(outbox, sink, limit=50, backoff=Backoff(first=0.02, longest=0.2))
        thread = threading.Thread(target=courier.run, args=(stop,), daemon=True)
        thread.start()
        # A part that was put and not marked is put again: the outbox knows it.
        for first in range(int(mark.read_text()) if mark.exists() else 0, events, _CHUNK):
            outbox.put([specimen(number) for number in range(first, min(first + _CHUNK, events))])
            new = mark.with_suffix(".new")
            new.write_text(str(first + _CHUNK))
            new.replace(mark)
        while outbox.waiting:
            time.sleep(0.01)
        stop.set()
        thread.join()


def _drain(options: Any) -> None:
    """The sender that is measured: connects, delivers what waits, and prints the seconds."""
    with Outbox(options.folder / "outbox.sqlite3", owner=STATION) as outbox:
        sink = _sink(options.over, options.confirm, options.address, outbox)
        first = Courier(outbox, sink, limit=1)
        while not first.delivered:  # connected at both ends
            time.sleep(first.step() or 0.0)
        began = time.perf_counter()
        if not Courier(outbox, sink).drain(120):
            raise SystemExit("It did not drain within 120 s.")
        sys.stdout.write(f"{time.perf_counter() - began}\n")
        sink.close()


def main(arguments: Sequence[str] | None = None) -> int:
    """Be the sender."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--work", choices=("send", "drain"), required=True)
    parser.add_argument("--folder", type=Path, required=True)
    parser.add_argument("--address", required=True)
    parser.add_argument("--over", required=True)
    parser.add_argument("--confirm", required=True)
    parser.add_argument("--events", type=int, required=True)
    options: Any = parser.parse_args(arguments)
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # a lost connection is what is tried here
    (_send if options.work == "send" else _drain)(options)
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
