"""The agent as a whole: a folder or a server of images in, each part at the MES once, whatever goes wrong between."""

import hashlib
import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from evident_core.errors import Conflict, InvalidInput, ResourceExceeded
from evident_core.evidence import InputRef, Report
from evident_manufacturing.agent.agent import Agent, AgentSettings
from evident_manufacturing.agent.http_source import HttpSource
from evident_manufacturing.agent.sources import FolderSource, Source, unnamed
from evident_manufacturing.delivery.boards import Boards
from evident_manufacturing.delivery.courier import Backoff, Stopped
from evident_manufacturing.delivery.outages import free_port
from evident_manufacturing.delivery.outbox import Outbox, Queued, Receipt
from evident_manufacturing.delivery.rest import RestSettings, RestSink
from evident_manufacturing.delivery.simulator import Faults, Simulator
from evident_manufacturing.delivery.specimen import specimen
from evident_manufacturing.inspection.schema import Decision, Inspection, Part, Verdict

SETTINGS = AgentSettings(station="aoi-1", pause=0.01, retry=0.02)
QUICK = Backoff(first=0.02, longest=0.1)


def inspect(data: bytes, part: Part) -> Inspection:
    """A real, small inspection: a board is what begins with "board"; it is good when it says so."""
    if not data.startswith(b"board"):
        raise InvalidInput("That is no image of a board.")
    if b"crash" in data:
        raise ZeroDivisionError("in the middle of it")
    return Inspection(
        part=part,
        input=InputRef(sha256=hashlib.sha256(data).hexdigest(), name="image"),
        template=None,
        width=1,
        height=1,
        alignment=None,
        calibration=None,
        defects=(),
        facts=(),
        claims=(),
        verdict=Verdict(decision=Decision.ACCEPT if b"good" in data else Decision.REJECT),
        report=Report(title={"en": "Board"}, inputs=(), facts=(), claims=(), sections=()),
        model="m",
        version="1",
    )


def until(done: Callable[[], object], seconds: float = 20.0) -> None:
    end = time.monotonic() + seconds
    while not done():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


def stays(value: Callable[[], object], seconds: float = 0.3) -> bool:
    before = value()
    time.sleep(seconds)
    return value() == before


@pytest.fixture
def mes() -> Iterator[Simulator]:
    with Simulator() as running:
        yield running


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    images = tmp_path / "images"
    images.mkdir()
    return images


def drop(folder: Path, numbers: range) -> None:
    for number in numbers:
        (folder / f"b{number:03d}.png").write_bytes(f"board {number}".encode())


class Running:
    """An agent in a thread."""

    def __init__(self, agent: Agent) -> None:
        self.agent = agent
        self.error: BaseException | None = None
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        try:
            self.agent.run()
        except BaseException as error:
            self.error = error

    def __enter__(self) -> "Running":
        self._thread.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.agent.stop()
        self._thread.join(30)
        assert not self._thread.is_alive()


def make(source: Source, outbox: Outbox, mes: Simulator, settings: AgentSettings = SETTINGS) -> Agent:
    return Agent(settings, source, inspect, outbox, RestSink(RestSettings(mes.url)), backoff=QUICK)


def test_each_image_becomes_one_part_at_the_mes_and_bad_ones_are_put_aside(
    tmp_path: Path, folder: Path, mes: Simulator
) -> None:
    for number in range(12):
        (folder / f"b{number:02d}.png").write_bytes(b"board good" if number % 3 else b"board")
    (folder / "x.png").write_bytes(b"holiday")
    (folder / "y.png").write_bytes(b"board crash")
    (folder / "z.png").write_bytes(b"")
    mes.fail(Faults(times=2, status=503))
    port = free_port()
    settings = AgentSettings(station="aoi-1", pause=0.01, metrics_port=port)
    with (
        Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox,
        Running(make(FolderSource(folder), outbox, mes, settings)),
    ):
        until(lambda: mes.count.booked == 12 and len(list((folder / "failed").glob("*.txt"))) == 3)
        until(lambda: not outbox.waiting)
        time.sleep(0.05)
        with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
            told = answer.read().decode()
    assert 'evident_parts_total{decision="accept"} 8.0' in told
    assert 'evident_parts_total{decision="reject"} 4.0' in told
    assert 'evident_failures_total{code="invalid_input"} 2.0' in told
    assert 'evident_alarm{code="image_refused"} 1.0' in told
    assert "evident_delivered_events_total 13.0" in told  # of three in a row that are put aside the first is told
    assert mes.ledger.alarms == [("image_refused", "raised")]
    assert 'evident_step_seconds_bucket{le="+Inf",step="inspect"} 12.0' in told
    assert (mes.count.doubled, mes.count.unreadable) == (0, 0)
    assert "no image of a board" in (folder / "failed" / "x.png.txt").read_text()
    assert "in the middle of it" in (folder / "failed" / "y.png.txt").read_text()
    assert len(list((folder / "done").iterdir())) == 12


def test_a_part_id_that_comes_twice_is_counted_once_and_another_board_under_it_is_put_aside(
    tmp_path: Path, folder: Path, mes: Simulator
) -> None:
    source = FolderSource(folder)
    with Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox, Running(make(source, outbox, mes)):
        for number, content in enumerate((b"board good", b"board good", b"board other")):
            (folder / f"{number}.json").write_text(json.dumps({"part_id": "SN-1"}))
            (folder / f"{number}.png").write_bytes(content)
            until(lambda done=number: not (folder / f"{done}.png").exists())
        until(lambda: mes.count.booked == 1 and not outbox.waiting)
    assert "already reported with another image" in (folder / "failed" / "2.png.txt").read_text()
    assert (mes.count.received, mes.count.doubled) == (1, 0)


def test_a_full_disk_stops_nothing_for_good(tmp_path: Path, folder: Path, mes: Simulator) -> None:
    drop(folder, range(150))
    with Outbox(tmp_path / "outbox.sqlite3", owner="a", max_pages=30) as outbox:
        agent = Agent(SETTINGS, FolderSource(folder), inspect, outbox)
        with Running(agent):
            until(lambda: "cannot grow" in agent.problem)
            kept = outbox.waiting
            time.sleep(0.1)
            assert outbox.waiting == kept
        assert len(list(folder.glob("*.png"))) == 150 - kept
        with Running(make(FolderSource(folder), outbox, mes)):
            until(lambda: mes.count.booked == 150)
    assert (mes.count.doubled, len(list(folder.glob("*.png")))) == (0, 0)


@contextmanager
def small_disk(folder: Path, size: str) -> Iterator[Path]:
    """A file system of its own in memory, which is full soon."""
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={size}", "tmpfs", str(folder)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("mounting a small disk is not allowed here; the limit on a file's size is tested in its place")
    try:
        yield folder
    finally:
        subprocess.run(["umount", str(folder)], check=True)


def put_without_end(outbox: Outbox, at_once: int) -> None:
    for first in itertools.count(outbox.last_sequence, at_once):
        outbox.put([specimen(number) for number in range(first, first + at_once)])


def fill(disk: Path) -> Path:
    """A file of somebody else that takes what is left."""
    ballast = disk / "log of another program"
    with ballast.open("wb") as file:
        if free := os.statvfs(disk).f_bavail * os.statvfs(disk).f_frsize:
            os.posix_fallocate(file.fileno(), 0, free)
    return ballast


def test_a_disk_that_others_fill_lets_no_image_go_says_so_and_goes_on(
    tmp_path: Path, folder: Path, mes: Simulator, caplog: pytest.LogCaptureFixture
) -> None:
    drop(folder, range(20))
    mes.fail(Faults(times=10**6, status=503))
    with small_disk(tmp_path / "disk", "2m") as disk, Outbox(disk / "outbox.sqlite3", owner="a") as outbox:
        agent = make(FolderSource(folder), outbox, mes)
        gauge = partial(agent.metrics.registry.get_sample_value, "evident_alarm", {"code": "outbox_full"})
        with Running(agent):
            until(lambda: outbox.waiting == 20)
            ballast = fill(disk)
            before = -1
            while before != (before := outbox.last_sequence):  # what room it still has within itself
                with pytest.raises(ResourceExceeded):
                    put_without_end(outbox, 1)
            drop(folder, range(20, 150))
            until(lambda: "outbox_full" in agent.alarms.raised)
            until(partial(stays, lambda: outbox.last_sequence))
            told = [queued.part_id for queued in outbox.next_batch(5000, max_bytes=1 << 30)]
            kept = {part_id for part_id in told if len(part_id) == len("b000")}
            assert {path.stem for path in (folder / "done").iterdir()} == kept
            assert {path.stem for path in folder.glob("*.png")} == {f"b{n:03d}" for n in range(150)} - kept != set()
            assert (gauge(), mes.count.received, mes.ledger.alarms) == (1, 0, [])
            assert "Alarm outbox_full: The outbox" in caplog.text
            ballast.unlink()
            mes.fail(Faults())
            until(lambda: not list(folder.glob("*.png")) and len(mes.ledger.alarms) == 2 and not outbox.waiting)
        assert (gauge(), agent.alarms.raised) == (0, {})
    assert mes.ledger.alarms == [("outbox_full", "raised"), ("outbox_full", "cleared")]
    assert {f"b{n:03d}" for n in range(150)} <= mes.ledger.parts()
    assert mes.count.doubled == 0


def test_an_outbox_that_filled_the_disk_itself_gets_empty_and_goes_on_without_help(
    tmp_path: Path, folder: Path, mes: Simulator
) -> None:
    with small_disk(tmp_path / "disk", "3m") as disk:
        with Outbox(disk / "outbox.sqlite3", owner="a") as outbox:
            with pytest.raises(ResourceExceeded, match="cannot grow"):
                put_without_end(outbox, 100)
            waiting = outbox.waiting
            fill(disk)
        drop(folder, range(3))
        # As after a night without its MES, and a restart.
        with Outbox(disk / "outbox.sqlite3", owner="a") as outbox:
            assert outbox.waiting == waiting > 500
            with Running(make(FolderSource(folder), outbox, mes)):
                until(lambda: mes.count.booked == waiting + 3 and not list(folder.glob("*.png")))
    assert mes.count.doubled == 0


LIMITED = """
import resource, sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_manufacturing_agent import QUICK, SETTINGS, inspect
from evident_manufacturing.agent.agent import Agent
from evident_manufacturing.agent.sources import FolderSource
from evident_manufacturing.delivery.outbox import Outbox
from evident_manufacturing.delivery.rest import RestSettings, RestSink
with Outbox(Path(sys.argv[2]) / "outbox.sqlite3", owner="child") as outbox:
    resource.setrlimit(resource.RLIMIT_FSIZE, (200_000, resource.RLIM_INFINITY))
    source, sink = FolderSource(Path(sys.argv[3])), RestSink(RestSettings(sys.argv[4]))
    Agent(SETTINGS, source, inspect, outbox, sink, backoff=QUICK).run()
"""


def test_a_file_that_may_not_grow_is_a_full_disk(tmp_path: Path, folder: Path, mes: Simulator) -> None:
    drop(folder, range(150))
    mes.fail(Faults(times=10**6, status=503))
    arguments = [str(Path(__file__).parent), str(tmp_path), str(folder), mes.url]
    with subprocess.Popen([sys.executable, "-c", LIMITED, *arguments], stderr=subprocess.PIPE, text=True) as child:
        assert child.stderr is not None
        for line in child.stderr:
            if "Alarm outbox_full" in line:
                break
        done = len(list((folder / "done").iterdir()))
        assert len(list(folder.glob("*.png"))) == 150 - done > 0
        unlimited = (resource.RLIM_INFINITY, resource.RLIM_INFINITY)
        resource.prlimit(child.pid, resource.RLIMIT_FSIZE, unlimited)
        mes.fail(Faults())
        until(lambda: mes.count.booked == 150 and len(mes.ledger.alarms) == 2 and not list(folder.glob("*.png")))
        child.kill()
    assert mes.ledger.alarms == [("outbox_full", "raised"), ("outbox_full", "cleared")]
    assert mes.count.doubled == 0


CHILD = """
import sys
from pathlib import Path
sys.path.insert(0, sys.argv[1])
from test_manufacturing_agent import QUICK, SETTINGS, inspect
from evident_manufacturing.agent.agent import Agent
from evident_manufacturing.agent.sources import FolderSource
from evident_manufacturing.delivery.outbox import Outbox
from evident_manufacturing.delivery.rest import RestSettings, RestSink
with Outbox(Path(sys.argv[2]) / "outbox.sqlite3", owner="child") as outbox:
    source, sink = FolderSource(Path(sys.argv[3])), RestSink(RestSettings(sys.argv[4]))
    Agent(SETTINGS, source, inspect, outbox, sink, backoff=QUICK).run()
"""


def test_an_agent_that_is_killed_again_and_again_loses_and_doubles_no_board(
    tmp_path: Path, folder: Path, mes: Simulator
) -> None:
    for number in range(200):
        (folder / f"b{number:03d}.png").write_bytes(f"board {number}".encode())
    paths = [str(Path(__file__).parent), str(tmp_path), str(folder), mes.url]
    specimens = str(Path(__file__).parents[1] / "specimen")
    for target in (20, 60, 110, 160, 200):
        with subprocess.Popen(
            [sys.executable, "-c", CHILD, *paths], env={**os.environ, "PYTHONPATH": specimens}
        ) as child:
            until(lambda reached=target: mes.count.booked >= reached or child.poll() is not None, 60)
            assert child.poll() is None
            child.send_signal(signal.SIGKILL)
    assert mes.ledger.parts() == {f"b{number:03d}" for number in range(200)}
    assert (mes.count.booked, mes.count.doubled) == (200, 0)


def test_a_second_agent_with_the_same_outbox_is_refused(tmp_path: Path, folder: Path, mes: Simulator) -> None:
    with Outbox(tmp_path / "outbox.sqlite3", owner="first") as outbox, Running(make(FolderSource(folder), outbox, mes)):
        with pytest.raises(Conflict, match="in use by agent first"):
            Outbox(tmp_path / "outbox.sqlite3", owner="second")
        (folder / "b.png").write_bytes(b"board")
        until(lambda: mes.count.booked == 1)


class Rival:
    """A destination that says that another agent has this one's id."""

    name = "rival"

    def send(self, batch: list[Queued]) -> Receipt:
        raise Stopped("two agents have one id")

    def idle(self, station_problem: str = "") -> str:
        raise Stopped("two agents have one id")

    def close(self) -> None:
        return


def test_an_agent_whose_id_another_has_stops_and_says_so(tmp_path: Path, folder: Path) -> None:
    with Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:
        agent = Agent(SETTINGS, FolderSource(folder), inspect, outbox, Rival())
        with pytest.raises(Stopped, match="two agents have one id"):
            agent.run()


# --- images by HTTP -------------------------------------------------------------------------------------------------


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
    ]
    with Camera(images) as camera, Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:
        with Running(make(HttpSource(camera.url, product="demo"), outbox, mes)):
            until(lambda: not camera.images and mes.count.booked == 2)
        assert camera.told == [("/ack/1", "done"), ("/ack/1", "done"), ("/ack/1", "failed"), ("/ack/1", "failed")]
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


def test_a_board_is_held_while_its_event_waits_and_not_when_it_is_given_again(tmp_path: Path, folder: Path) -> None:
    def give(content: bytes) -> None:
        (folder / "SN-1.png").write_bytes(content)
        for _ in range(2):  # a file is seen twice before it is taken
            agent.step()
        assert not (folder / "SN-1.png").exists()

    boards = Boards(tmp_path / "boards")
    with Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:
        agent = Agent(SETTINGS, FolderSource(folder), inspect, outbox, boards=boards)
        for content in (b"board", b"board", b"board other"):
            give(content)
            queued = outbox.next_batch()[0]  # an alarm of the image that is put aside may follow
            held = boards.find(queued.event_id)
            assert held is not None
            assert held.image == b"board"
        outbox.settle([queued], Receipt([queued.sequence]))
        boards.drop(queued.event_id)
        for content in (b"board", b"board other"):
            give(content)
            assert list((tmp_path / "boards").iterdir()) == []
