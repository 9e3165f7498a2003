"""Proof that nothing is lost or doubled: a sender that is killed without warning, again and again; a MES that counts.

``python -m evident_manufacturing.delivery.endurance`` sends 10,000 events over 20 kills (SIGKILL) at random points,
with a connection cut at each of them, before or after the MES has counted, and prints what arrived. ``--rates``
measures how fast events are kept and delivered.
"""

import argparse
import hashlib
import json
import random
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from evident_core.evidence import InputRef, Report
from evident_manufacturing.delivery.courier import Backoff, Courier
from evident_manufacturing.delivery.events import Event, event_of
from evident_manufacturing.delivery.outbox import Durability, Outbox
from evident_manufacturing.delivery.rest import RestSettings, RestSink
from evident_manufacturing.delivery.simulator import Faults, Simulator
from evident_manufacturing.inspection.schema import Decision, Defect, Inspection, Part, Reason, Seen, Verdict

STATION: Final = "endurance"
_BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)
_CHUNK: Final = 5
_MODULE: Final = "evident_manufacturing.delivery.endurance"


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        events: Put into the outbox, each of its own part.
        kills: How often the sender was killed.
        lost: Parts that the MES does not have.
        doubled: Parts that it counted twice.
        out_of_order: Events of one part that came in the wrong order.
        repeated: Arrivals of what it had: harmless, and the price of losing nothing.
        seconds: Of the whole run.
    """

    events: int
    kills: int
    lost: int
    doubled: int
    out_of_order: int
    repeated: int
    seconds: float


def specimen(number: int) -> Event:
    """The event of the n-th generated part; the same number gives the same event."""
    defect = Defect(number=1, kind="short", bbox=(10.0, 20.0, 31.5, 44.0), score=0.97, seen=Seen.BOTH)
    sha256 = hashlib.sha256(f"board {number}".encode()).hexdigest()
    return event_of(
        Inspection(
            part=Part(part_id=f"board-{number:06d}", product="demo", lot=f"lot-{number // 500}", camera="top"),
            input=InputRef(sha256=sha256, name="board.png"),
            template=None,
            width=640,
            height=640,
            alignment=None,
            calibration=None,
            defects=(defect,),
            facts=(),
            claims=(),
            verdict=Verdict(
                decision=Decision.REJECT, specification="demo@1", reasons=(Reason(rule="short", defects=(1,)),)
            ),
            report=Report(title={"en": "Board"}, inputs=(), facts=(), claims=(), sections=()),
            model="generated",
            version="1",
        ),
        station=STATION,
        inspected=_BEGINNING,
    )


def endure(folder: Path, *, events: int = 10_000, kills: int = 20, seed: int = 0, seconds: float = 540.0) -> Outcome:
    """Let a sender process deliver so many events to a counting MES, and kill it so many times on the way.

    Args:
        folder: Empty, for the outbox.
        events: How many.
        kills: How many; each when a random share of the events has arrived.
        seed: Of the random points.
        seconds: After which the run is given up, and what is missing counts as lost.
    """
    chance = random.Random(seed)  # noqa: S311
    points = sorted(chance.sample(range(events), kills))
    began = time.monotonic()
    killed = 0
    with Simulator() as mes:
        for point in [*points, events]:
            with subprocess.Popen(_command(folder, mes.url, events)) as sender:  # noqa: S603
                while mes.count.booked < point and sender.poll() is None and time.monotonic() - began < seconds:
                    time.sleep(0.002)
                if point < events:
                    mes.fail(Faults(times=1, cut=chance.choice(("before", "after"))))
                    time.sleep(chance.uniform(0.0, 0.05))
                    killed += sender.poll() is None
                    sender.kill()
                else:
                    _finish(sender, seconds - (time.monotonic() - began))
        expected = {f"board-{number:06d}" for number in range(events)}
        count = mes.count
        return Outcome(
            events=events,
            kills=killed,
            lost=len(expected - mes.ledger.parts()),
            doubled=count.doubled,
            out_of_order=count.out_of_order,
            repeated=count.repeated,
            seconds=round(time.monotonic() - began, 1),
        )


def rates(folder: Path, *, events: int = 4000) -> dict[str, float]:
    """Events a second: kept one by one and by hundreds in both durabilities, and delivered over HTTP in batches."""
    made = [specimen(number) for number in range(events)]
    figures: dict[str, float] = {}
    kinds: tuple[Durability, ...] = ("power", "process")
    for durability in kinds:
        for size in (1, 100):
            with Outbox(
                folder / f"{durability}-{size}" / "outbox.sqlite3", owner="rates", durability=durability
            ) as outbox:
                began = time.perf_counter()
                for first in range(0, events, size):
                    outbox.put(made[first : first + size])
                figures[f"put, {durability}, {size} a commit"] = events / (time.perf_counter() - began)
                if size == 100:
                    with Simulator() as mes, RestSink(RestSettings(mes.url)) as sink:
                        began = time.perf_counter()
                        Courier(outbox, sink).drain(120)
                        figures[f"drain, {durability}, REST batches"] = mes.count.booked / (time.perf_counter() - began)
    return {name: round(value) for name, value in figures.items()}


def _finish(sender: "subprocess.Popen[bytes]", seconds: float) -> None:
    try:
        sender.wait(max(1.0, seconds))
    except subprocess.TimeoutExpired:
        sender.kill()


def _command(folder: Path, url: str, events: int) -> list[str]:
    return [sys.executable, "-m", _MODULE, "--folder", str(folder), "--events", str(events), "--send-to", url]


def _send(folder: Path, url: str, events: int) -> None:
    """The sender: puts parts where it left off, as a camera's folder would present them, while a thread delivers."""
    mark = folder / "next"
    stop = threading.Event()
    with Outbox(folder / "outbox.sqlite3", owner=STATION) as outbox, RestSink(RestSettings(url)) as sink:
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


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print the outcome; 1 where anything was lost, doubled or out of order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rates", action="store_true", help="Measure how fast events are kept and delivered.")
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--send-to", help=argparse.SUPPRESS)
    options: Any = parser.parse_args(arguments)
    if options.send_to:
        _send(options.folder, options.send_to, options.events)
        return 0
    with tempfile.TemporaryDirectory() as folder:
        if options.rates:
            sys.stdout.write(json.dumps(rates(Path(folder)), indent=1) + "\n")
            return 0
        outcome = endure(Path(folder), events=options.events, kills=options.kills, seed=options.seed)
    sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
    return int(bool(outcome.lost or outcome.doubled or outcome.out_of_order))


if __name__ == "__main__":
    raise SystemExit(main())
