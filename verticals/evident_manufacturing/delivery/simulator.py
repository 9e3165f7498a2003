"""A MES that counts: each part once, whatever arrives how often, and can be told to fail, to wait and to hang up.

``python -m evident_manufacturing.delivery.simulator --port 8088`` serves it: ``POST /events`` (one event as JSON, or a
batch as NDJSON), ``GET /count``, and ``POST /faults`` with :class:`Faults` as JSON:
``{"status": 503, "times": 3, "delay": 0.1, "cut": "after"}``.
"""

import argparse
import json
import ssl
import sys
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any, Final, Literal, Self

from evident_manufacturing.delivery.events import is_alarm

_MAX_BODY: Final = 16 << 20


@dataclass(slots=True)
class Count:
    """What a MES has seen.

    Attributes:
        received: Events that arrived, repeats included.
        booked: Events that were counted: each id once.
        repeated: Arrivals of an id that was already counted; idempotent delivery makes them harmless.
        doubled: Parts counted twice: under two ids, for one station and revision. Must be 0.
        out_of_order: Events of a part that came after a higher revision or sequence of it. Must be 0.
        unreadable: Bodies that are no event.
        alarms: Alarms of stations, each once; they are not among the events above.
    """

    received: int = 0
    booked: int = 0
    repeated: int = 0
    doubled: int = 0
    out_of_order: int = 0
    unreadable: int = 0
    alarms: int = 0


class Ledger:
    """The book of a MES: which events it has counted. Safe to share between threads.

    Attributes:
        count: Of what came.
        order: The ids of the events, as they came.
        alarms: The (code, state) of alarms, as they came.
    """

    def __init__(self) -> None:
        self.count = Count()
        self.order: list[str] = []
        self.alarms: list[tuple[str, str]] = []
        self._ids: set[str] = set()
        self._parts: dict[tuple[str, str, int], str] = {}
        self._revisions: dict[tuple[str, str], int] = {}
        self._lock = threading.Lock()

    def book(self, body: bytes) -> int:
        """Count an event; the HTTP status that answers it: 201 counted, 200 known already, 422 no event."""
        try:
            event = json.loads(body)
            if is_alarm(body):
                return self._note(event["event_id"], event["code"], event["state"])
            identity, station, part, revision = event["event_id"], event["station"], event["part_id"], event["revision"]
        except (ValueError, KeyError, TypeError):
            with self._lock:
                self.count.unreadable += 1
            return 422
        with self._lock:
            self.count.received += 1
            if identity in self._ids:
                self.count.repeated += 1
                return 200
            self._ids.add(identity)
            self.order.append(identity)
            self.count.booked += 1
            self.count.doubled += self._parts.setdefault((station, part, revision), identity) != identity
            self.count.out_of_order += revision < self._revisions.get((station, part), 0)
            self._revisions[station, part] = revision
            return 201

    def _note(self, identity: str, code: str, state: str) -> int:
        with self._lock:
            if identity in self._ids:
                return 200
            self._ids.add(identity)
            self.alarms.append((code, state))
            self.count.alarms += 1
            return 201

    def parts(self) -> set[str]:
        """The part ids that were counted."""
        with self._lock:
            return {part for _, part, _ in self._parts}


@dataclass(slots=True)
class Faults:
    """What goes wrong with the next ``times`` requests.

    Attributes:
        times: How many requests; 0: none.
        status: Answered in place of the real one; 0: the real one.
        retry_after: Seconds for the ``Retry-After`` of that answer.
        delay: Seconds before the answer.
        cut: Hang up ``"before"`` the events are counted, or ``"after"``: they are, and the sender does not learn it.
    """

    times: int = 0
    status: int = 0
    retry_after: int | None = None
    delay: float = 0.0
    cut: Literal["", "before", "after"] = ""


@dataclass(slots=True)
class _Shared:
    ledger: Ledger
    faults: Faults = field(default_factory=Faults)
    lock: threading.Lock = field(default_factory=threading.Lock)

    def next_fault(self) -> Faults:
        with self.lock:
            if self.faults.times < 1:
                return Faults()
            self.faults.times -= 1
            return self.faults


class Simulator:
    """A MES on a local port, in a thread of this process.

    Args:
        port: 0: any that is free; see ``url``.
        host: To listen on.
        context: With a certificate: it speaks HTTPS.
    """

    def __init__(self, port: int = 0, host: str = "127.0.0.1", *, context: ssl.SSLContext | None = None) -> None:
        self.ledger = Ledger()
        self._shared = _Shared(self.ledger)
        shared = self._shared

        class Handler(_Handler):
            mes = shared

        self._server = _Server((host, port), Handler)
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,), name="mes", daemon=True)
        if context is not None:
            self._server.socket = context.wrap_socket(self._server.socket, server_side=True)
        self.url = f"http{'s' if context else ''}://{host}:{self._server.server_address[1]}/events"

    def __enter__(self) -> Self:
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()

    @property
    def count(self) -> Count:
        """What was seen until now."""
        return self.ledger.count

    def fail(self, faults: Faults) -> None:
        """Let the next requests go wrong."""
        with self._shared.lock:
            self._shared.faults = replace(faults)


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def handle_error(self, *_: Any) -> None:
        """Say nothing: a sender that is killed resets its connection."""


class _Handler(BaseHTTPRequestHandler):
    mes: _Shared
    protocol_version = "HTTP/1.1"
    disable_nagle_algorithm = True
    timeout = 30

    def do_GET(self) -> None:
        if self.path == "/count":
            self._answer(200, asdict(self.mes.ledger.count))
        else:
            self._answer(404, {"detail": f"There is no {self.path}."})

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length") or 0)
        if not 0 <= length <= _MAX_BODY:
            self.close_connection = True
            self._answer(413, {"detail": "That is too large."})
            return
        body = self.rfile.read(length)
        if self.path == "/faults":
            with self.mes.lock:
                self.mes.faults = Faults(**json.loads(body))
            self._answer(200, asdict(self.mes.faults))
        elif self.path != "/events":
            self._answer(404, {"detail": f"There is no {self.path}."})
        elif not self.headers.get("Idempotency-Key"):
            self._answer(400, {"detail": "An Idempotency-Key is needed."})
        else:
            self._events(body)

    def _events(self, body: bytes) -> None:
        fault = self.mes.next_fault()
        time.sleep(fault.delay)
        if fault.cut == "before":
            self._hang_up()
        elif fault.status:
            wait = {} if fault.retry_after is None else {"Retry-After": str(fault.retry_after)}
            self._answer(fault.status, {"detail": "told to fail"}, wait)
        else:
            if self.headers.get_content_type() == "application/x-ndjson":
                lines = body.splitlines()
                statuses = [self.mes.ledger.book(line) for line in lines]
                answer = {
                    "results": [
                        {"event_id": _event_id(line), "status": status}
                        for line, status in zip(lines, statuses, strict=True)
                    ]
                }
                status = 200
            else:
                status = self.mes.ledger.book(body)
                answer = {}
            if fault.cut == "after":
                self._hang_up()
            else:
                self._answer(status, answer)

    def _answer(self, status: int, body: object, headers: dict[str, str] | None = None) -> None:
        data = json.dumps(body).encode()
        self.send_response(status)
        for name, value in {
            "Content-Type": "application/json",
            "Content-Length": str(len(data)),
            **(headers or {}),
        }.items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def _hang_up(self) -> None:
        self.close_connection = True
        self.connection.shutdown(2)

    def log_message(self, *_: Any) -> None:
        """Say nothing for each request."""


def _event_id(line: bytes) -> str:
    try:
        return str(json.loads(line)["event_id"])
    except (ValueError, KeyError, TypeError):
        return ""


def main(arguments: Sequence[str] | None = None) -> int:
    """Serve a simulated MES until it is interrupted, then write down what it counted."""
    parser = argparse.ArgumentParser(description="A MES that counts each part once, and can be told to fail.")
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8088)
    options = parser.parse_args(arguments)
    with Simulator(options.port, options.host) as simulator:
        sys.stdout.write(f"A MES takes events at {simulator.url}; Ctrl-C ends it.\n")
        sys.stdout.flush()
        try:
            threading.Event().wait()
        except KeyboardInterrupt:
            sys.stdout.write(json.dumps(asdict(simulator.count)) + "\n")
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
