"""An HTTP server on loopback that answers as it is told: well, late, twice, half, or not at all."""

import json
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

Behaviour = Callable[["Handler"], None]


@dataclass
class Wayward:
    """What the server was asked, and what it does next: one behaviour a request, the last one for ever."""

    script: list[Behaviour] = field(default_factory=list)
    asked: list[tuple[str, dict[str, str], Any]] = field(default_factory=list)
    left: threading.Event = field(default_factory=threading.Event)
    port: int = 0

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/v1"

    @property
    def bodies(self) -> list[Any]:
        return [body for _, _, body in self.asked]

    def does(self, *script: Behaviour) -> None:
        self.script[:] = script
        self.asked.clear()


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    wayward: Wayward
    body: Any = None

    def log_message(self, *arguments: object) -> None:
        pass

    def do_GET(self) -> None:
        self.do_POST()

    def do_POST(self) -> None:
        length = int(self.headers.get("Content-Length", 0))
        self.body = json.loads(self.rfile.read(length)) if length else None
        wayward = self.wayward
        wayward.asked.append((self.path, dict(self.headers), self.body))
        behaviour = wayward.script.pop(0) if len(wayward.script) > 1 else wayward.script[0]
        try:
            behaviour(self)
        except (BrokenPipeError, ConnectionResetError):
            self.close_connection = True
            wayward.left.set()

    def begin(self, status: int, kind: str, **headers: str) -> None:
        self.send_response(status)
        self.send_header("Content-Type", kind)
        for name, value in headers.items():
            self.send_header(name.replace("_", "-"), value)

    def piece(self, data: bytes) -> None:
        self.wfile.write(b"%x\r\n%s\r\n" % (len(data), data))
        self.wfile.flush()

    def event(self, data: object) -> None:
        text = data if isinstance(data, str) else json.dumps(data)
        self.piece(f"data: {text}\n\n".encode())


def says(status: int, body: object, kind: str = "application/json", **headers: str) -> Behaviour:
    """A whole answer."""

    def behave(handler: Handler) -> None:
        data = body.encode() if isinstance(body, str) else json.dumps(body).encode()
        handler.begin(status, kind, Content_Length=str(len(data)), **headers)
        handler.end_headers()
        handler.wfile.write(data)

    return behave


def streams(*events: object, whole: bool = True, kind: str = "text/event-stream", wait: float = 0.0) -> Behaviour:
    """Events; ``whole=False`` cuts the connection after them."""

    def behave(handler: Handler) -> None:
        handler.begin(200, kind, Transfer_Encoding="chunked")
        handler.end_headers()
        for event in events:
            handler.piece(event) if isinstance(event, bytes) else handler.event(event)
            threading.Event().wait(wait)
        if whole:
            handler.piece(b"")
        handler.close_connection = not whole

    return behave


def streams_for_ever(event: object) -> Behaviour:
    """One event again and again, until nobody listens."""

    def behave(handler: Handler) -> None:
        handler.begin(200, "text/event-stream", Transfer_Encoding="chunked")
        handler.end_headers()
        while True:
            handler.event(event)
            threading.Event().wait(0.005)

    return behave


def hangs(seconds: float = 30.0) -> Behaviour:
    """Nothing, until the server is closed."""

    def behave(handler: Handler) -> None:
        handler.server.closing.wait(seconds)  # type: ignore[attr-defined]
        handler.close_connection = True

    return behave


def hangs_up(handler: Handler) -> None:
    """Closes the connection without a word."""
    handler.close_connection = True


def echoes(handler: Handler) -> None:
    """Refuses, and quotes all that it was sent, in the body and in a header."""
    sent = handler.headers.get("Authorization", "")
    says(500, {"error": {"message": f"cannot do that for {sent}; " * 3}}, X_Echo=sent)(handler)


def words(*pieces: str, reason: str | None = "stop", usage: tuple[int, int] | None = (3, 2)) -> list[object]:
    """The events of a chat's answer."""
    events: list[object] = [{"choices": [{"index": 0, "delta": {"role": "assistant", "content": ""}}]}]
    events += [{"choices": [{"index": 0, "delta": {"content": piece}, "finish_reason": None}]} for piece in pieces]
    if reason is not None:
        events.append({"choices": [{"index": 0, "delta": {}, "finish_reason": reason}]})
    if usage is not None:
        events.append({"choices": [], "usage": {"prompt_tokens": usage[0], "completion_tokens": usage[1]}})
    return [*events, "[DONE]"] if reason is not None else events


def models(*names: str, owner: str = "vllm") -> Behaviour:
    """A list of models."""
    return says(200, {"object": "list", "data": [{"id": name, "owned_by": owner} for name in names]})


class _Server(ThreadingHTTPServer):
    daemon_threads = True

    def __init__(self, wayward: Wayward) -> None:
        super().__init__(("127.0.0.1", 0), type("Bound", (Handler,), {"wayward": wayward}))
        self.closing = threading.Event()

    def handle_error(self, request: object, client_address: object) -> None:
        """A client that leaves is no news here."""


@contextmanager
def wayward_server() -> Iterator[Wayward]:
    """A server that runs for the block."""
    wayward = Wayward()
    server = _Server(wayward)
    wayward.port = server.server_address[1]
    thread = threading.Thread(target=server.serve_forever, args=(0.01,), daemon=True)
    thread.start()
    try:
        yield wayward
    finally:
        server.closing.set()
        server.shutdown()
        server.server_close()
        thread.join()
