"""The agent as a whole: a folder or a server of images in, each part at the MES once, whatever goes wrong between."""

import itertools
import json
import os
import resource
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path

import pytest

from evident_core.errors import Conflict, ResourceExceeded
from evident_manufacturing.agent.agent import Agent, AgentSettings
from evident_manufacturing.agent.sources import FolderSource
from evident_manufacturing.delivery.boards import Boards
from evident_manufacturing.delivery.courier import Stopped
from evident_manufacturing.delivery.outages import free_port
from evident_manufacturing.delivery.outbox import Outbox, Queued, Receipt
from evident_manufacturing.delivery.simulator import Faults, Simulator
from evident_manufacturing.delivery.specimen import specimen
from running_agent import SETTINGS, Running, inspect, make, until

SPECIMENS = str(Path(__file__).parents[1] / "specimen")


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


def test_an_image_of_a_kind_that_is_not_read_is_told_in_a_sentence_and_no_traceback(
    tmp_path: Path, folder: Path, caplog: pytest.LogCaptureFixture
) -> None:
    (folder / "a.png").write_bytes(b"GIF89a")
    source = FolderSource(folder)
    source.next()
    with Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox:
        Agent(SETTINGS, source, inspect, outbox).step()
    assert "That is a GIF." in (folder / "failed" / "a.png.txt").read_text()
    assert "That is a GIF." in caplog.text
    assert not [record for record in caplog.records if record.exc_info]


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


def test_a_part_that_is_inspected_again_on_purpose_is_a_new_revision(
    tmp_path: Path, folder: Path, mes: Simulator
) -> None:
    with Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox, Running(make(FolderSource(folder), outbox, mes)):
        (folder / "SN-1.png").write_bytes(b"board bad")
        until(lambda: mes.count.booked == 1)
        (folder / "SN-1.rev2.png").write_bytes(b"board good")
        until(lambda: mes.count.booked == 2)
        (folder / "again.json").write_text(json.dumps({"part_id": "SN-1", "revision": 3}))
        (folder / "again.png").write_bytes(b"board better")
        until(lambda: mes.count.booked == 3 and not outbox.waiting)
        (folder / "ctrl.rev2.json").write_text(json.dumps({"part_id": "ctrl.rev2"}))  # a design's revision, no part's
        (folder / "ctrl.rev2.png").write_bytes(b"board good")
        until(lambda: mes.count.booked == 4)
        (folder / "SN-1.rev0.png").write_bytes(b"board no")
        until((folder / "failed" / "SN-1.rev0.png.txt").exists)
    assert (mes.count.doubled, mes.count.out_of_order) == (0, 0)
    assert mes.ledger.parts() == {"SN-1", "ctrl.rev2"}
    assert "whole number from 1 on" in (folder / "failed" / "SN-1.rev0.png.txt").read_text()


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
from running_agent import QUICK, SETTINGS, inspect
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
    arguments = [SPECIMENS, str(tmp_path), str(folder), mes.url]
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
from running_agent import QUICK, SETTINGS, inspect
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
    paths = [SPECIMENS, str(tmp_path), str(folder), mes.url]
    for target in (20, 60, 110, 160, 200):
        with subprocess.Popen([sys.executable, "-c", CHILD, *paths]) as child:
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
