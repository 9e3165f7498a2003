"""An agent with a backlog: several images of a folder at once, and still each part once and in its order."""

import threading
from pathlib import Path

import pytest

from evident_manufacturing.agent.agent import Agent, AgentSettings
from evident_manufacturing.agent.sources import FolderSource
from evident_manufacturing.delivery.events import event_id
from evident_manufacturing.delivery.outbox import Outbox
from evident_manufacturing.delivery.rest import RestSettings, RestSink
from evident_manufacturing.delivery.simulator import Simulator
from evident_manufacturing.inspection.schema import Inspection, Part
from running_agent import QUICK, Running, inspect, until


@pytest.mark.parametrize("at_once", [1, 3])
def test_as_many_images_as_are_asked_for_are_inspected_together_and_told_in_their_order(
    tmp_path: Path, at_once: int
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    for number in range(7):
        (folder / f"b{number}.png").write_bytes(b"holiday" if number == 4 else f"board {number}".encode())
    inside, most = 0, 0
    looked: list[str] = []
    lock, met = threading.Lock(), threading.Barrier(at_once)

    def together(data: bytes, part: Part) -> Inspection:
        nonlocal inside, most
        with lock:
            inside += 1
            most = max(most, inside)
        if part.part_id < "b3":  # these three fill a first round: each waits for the others, or for nobody
            met.wait(20)
        try:
            return inspect(data, part)
        finally:
            with lock:
                inside -= 1

    settings = AgentSettings(station="aoi-1", pause=0.01, retry=0.02, at_once=at_once)
    with (
        Simulator() as mes,
        Outbox(tmp_path / "outbox.sqlite3", owner="a") as outbox,
        Running(
            Agent(
                settings,
                FolderSource(folder),
                together,
                outbox,
                RestSink(RestSettings(mes.url)),
                backoff=QUICK,
                looked=lambda part: looked.append(part.part_id),
            )
        ) as running,
    ):
        until(lambda: mes.count.booked == 6 and (folder / "failed" / "b4.png.txt").exists() and not outbox.waiting)
    assert running.error is None
    assert most == at_once
    assert looked == [f"b{number}" for number in range(7)]  # the one that failed too: its picture may show why
    assert mes.ledger.order == [event_id("aoi-1", f"b{number}") for number in (0, 1, 2, 3, 5, 6)]
    assert (mes.count.doubled, mes.count.out_of_order) == (0, 0)
    assert sorted(path.name for path in (folder / "done").iterdir()) == [f"b{n}.png" for n in (0, 1, 2, 3, 5, 6)]
