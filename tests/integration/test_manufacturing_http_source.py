"""Images that an agent pulls from a server, which is told when they are safe."""

import json
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evident_core.errors import InvalidInput
from evident_manufacturing.agent.agent import Agent
from evident_manufacturing.agent.http_source import HttpSource
from evident_manufacturing.agent.sources import unnamed
from evident_manufacturing.delivery.outages import free_port
from evident_manufacturing.delivery.outbox import Outbox
from evident_manufacturing.delivery.simulator import Simulator
from running_agent import SETTINGS, Running, inspect, make, until


@pytest.fixture
def mes() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


class Camera:
    """A server that gives an image until it is told that it is safe."""

    def __init__(self, images: list[tuple[bytes, dict[str, str]]]) -> None:
        self.images, self.told, self.asked = images, list[tuple[str, str]](), 0
        self.acknowledged_by = 204
        camera = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                camera.asked += 1
                if not camera.images:
                    self.send_response(204)
                    self.end_headers()
                    return
                data, headers = camera.images[0]
                if "ETag" in headers and self.headers["If-None-Match"] == headers["ETag"]:
                    self.send_response(304)
                    self.end_headers()
                    return
                self.send_response(200)
                for name, value in {"Content-Length": str(len(data)), "Evident-Ack": "/ack/1", **headers}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data)

            def do_POST(self) -> None:
                said = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
                if camera.acknowledged_by < 400:
                    camera.told.append((self.path, said["status"]))
                    camera.images.pop(0)
                self.send_response(camera.acknowledged_by)
                self.end_headers()

            def log_message(self, *_: object) -> None:
                return

        self._server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self._server.server_address[1]}/next"
        self._thread = threading.Thread(target=self._server.serve_forever, args=(0.05,))

    def __enter__(self) -> "Camera":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self._server.shutdown()
        self._server.server_close()
        self._thread.join()


def test_images_are_pulled_until_their_events_are_safe(tmp_path: Path, mes: Simulator) -> None:
    images: list[tuple[bytes, dict[str, str]]] = [
        (b"board good", {"Evident-Part-Id": "SN%2F1%20%E6%9D%BF", "Evident-Lot": "L1"}),
        (b"board without a name", {}),
        (b"holiday", {"Evident-Part-Id": "SN-3"}),
        (b"board", {"Evident-Part-Id": "n" * 200}),
        (b"board reworked", {"Evident-Part-Id": "SN%2F1%20%E6%9D%BF", "Evident-Revision": "2"}),
        (b"board", {"Evident-Part-Id": "SN-4", "Evident-Revision": "two"}),
    ]
    with Camera(images) as camera, Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:
        with Running(make(HttpSource(camera.url, product="demo"), outbox, mes)):
            until(lambda: not camera.images and mes.count.booked == 3)
        states = ["done", "done", "failed", "failed", "done", "failed"]
        assert camera.told == [("/ack/1", each) for each in states]
    assert mes.ledger.parts() == {"SN/1 板", unnamed(b"board without a name")}


def test_an_image_that_is_not_safe_yet_is_asked_for_again(tmp_path: Path) -> None:
    with Camera([(b"board", {"ETag": '"1"'})]) as camera:
        source = HttpSource(camera.url)
        first, second = source.next(), source.next()
        assert first is not None
        assert first == second
        source.done(first)
        assert source.next() is None
        source.close()


def test_no_other_server_is_told(tmp_path: Path) -> None:
    with Camera([(b"board", {})]) as other, Camera([]) as camera:
        camera.images = [(b"board", {"Evident-Ack": other.url})]
        source = HttpSource(camera.url)
        taken = source.next()
        assert taken is not None
        source.done(taken)
        assert other.told == []
        source.close()


def test_a_server_that_is_down_gives_nothing(tmp_path: Path) -> None:
    source = HttpSource(f"http://127.0.0.1:{free_port()}/")
    assert source.next() is None
    source.close()
    with pytest.raises(InvalidInput, match="is not an address"):
        HttpSource("file:///etc/passwd")


def test_a_server_that_does_not_take_that_an_image_is_safe_is_an_alarm_until_it_does(
    tmp_path: Path, mes: Simulator
) -> None:
    images = [(f"board {n}".encode(), {"Evident-Part-Id": f"SN-{n}", "ETag": f'"{n}"'}) for n in range(2)]
    with Camera(images) as camera, Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:
        camera.acknowledged_by = 500
        with Running(make(HttpSource(camera.url), outbox, mes)) as running:
            until(lambda: "source_lost" in running.agent.alarms.raised)
            assert "/ack/1 does not take" in running.agent.alarms.raised["source_lost"]
            camera.acknowledged_by = 204
            until(lambda: not camera.images and len(mes.ledger.alarms) == 2 and not outbox.waiting)
    assert (mes.ledger.parts(), mes.count.doubled) == ({"SN-0", "SN-1"}, 0)
    assert mes.ledger.alarms == [("source_lost", "raised"), ("source_lost", "cleared")]


def test_a_picture_that_a_server_goes_on_giving_is_not_inspected_without_a_pause(tmp_path: Path) -> None:
    images: list[tuple[bytes, dict[str, str]]] = [(b"board good", {"Evident-Ack": ""})]
    with Camera(images) as camera, Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:
        agent = Agent(SETTINGS, HttpSource(camera.url), inspect, outbox)
        assert [agent.step() for _ in range(3)] == [0.0, SETTINGS.retry, SETTINGS.retry]
        images[0] = (b"board of the next part", {"Evident-Ack": ""})
        assert agent.step() == 0.0
        images[0] = (b"holiday", {"Evident-Ack": ""})
        assert agent.step() == SETTINGS.pause
        agent.source.close()
        assert outbox.waiting == 3  # two parts, and the alarm
        assert "An image could not be inspected: " in agent.alarms.raised["image_refused"]
