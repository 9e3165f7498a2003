"""Proof that nothing is lost or doubled: a sender that is killed without warning, again and again; a MES that counts.

``python -m evident_manufacturing.delivery.endurance --over rest|mqtt|sparkplug|opcua`` sends 10,000 events over 20
kills (SIGKILL) at random points and prints what arrived. Over HTTP the connection is cut at each kill, before or after
the MES has counted. Over MQTT and Sparkplug there is a real Mosquitto, and at each kill the link is cut and mended, or
the broker stopped and started, or (where the MES confirms) killed. Over OPC UA the sender is the server, and at each
kill the client's link is cut and mended; the client acknowledges. ``--rates`` measures how fast events are kept and
delivered.
"""

import argparse
import json
import logging
import random
import subprocess
import sys
import tempfile
import time
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, get_args

from evident_manufacturing.delivery.outbox import Outbox
from evident_manufacturing.delivery.outbox_file import Durability
from evident_manufacturing.delivery.specimen import STATION, specimen
from evident_manufacturing.delivery.trial import Confirm, Over, make_mes, sender


@dataclass(frozen=True, slots=True)
class Outcome:
    """What came of a run.

    Attributes:
        over: Which way events went, and who confirmed them.
        events: Put into the outbox, each of its own part.
        kills: How often the sender was killed.
        cuts: How often the link was cut, or the MES hung up.
        restarts: How often the broker was stopped or killed.
        lost: Parts that the MES does not have.
        doubled: Parts that it counted twice.
        out_of_order: Events of one part that came in the wrong order.
        repeated: Arrivals of what it had: harmless, and the price of losing nothing.
        seconds: Of the whole run.
    """

    over: str
    events: int
    kills: int
    cuts: int
    restarts: int
    lost: int
    doubled: int
    out_of_order: int
    repeated: int
    seconds: float


def endure(
    folder: Path,
    *,
    over: Over = "rest",
    confirm: Confirm = "mes",
    events: int = 10_000,
    kills: int = 20,
    seed: int = 0,
    seconds: float = 540.0,
) -> Outcome:
    """Let a sender process deliver so many events to a counting MES, and kill it so many times on the way.

    Args:
        folder: Empty, for the outbox and the broker's memory.
        over: Which way events go.
        confirm: Whose word makes an event delivered; over HTTP it is always the MES's.
        events: How many.
        kills: How many; each when a random share of the events has arrived.
        seed: Of the random points.
        seconds: After which the run is given up, and what is missing counts as lost.

    Raises:
        NotFound: Mosquitto is not installed.
    """
    chance = random.Random(seed)  # noqa: S311
    points = sorted(chance.sample(range(events), kills))
    began = time.monotonic()
    killed = 0
    with make_mes(over, folder, confirm) as mes:
        count = mes.ledger.count
        for point in [*points, events]:
            command = sender("send", folder, over, confirm, events, mes.address)
            with subprocess.Popen(command) as process:  # noqa: S603
                while count.booked < point and process.poll() is None and time.monotonic() - began < seconds:
                    time.sleep(0.002)
                if point < events:
                    mes.disturb(chance)
                    time.sleep(chance.uniform(0.0, 0.05))
                    killed += process.poll() is None
                    process.kill()
                else:
                    _finish(process, seconds - (time.monotonic() - began))
        end = time.monotonic() + 5.0  # what the broker has may still be on its way
        while count.booked < events and time.monotonic() < end:
            time.sleep(0.02)
        expected = {f"board-{number:06d}" for number in range(events)}
        return Outcome(
            over=over if over == "rest" else f"{over}, confirmed by the {mes.confirm}",
            events=events,
            kills=killed,
            cuts=mes.cuts,
            restarts=mes.restarts,
            lost=len(expected - mes.ledger.parts()),
            doubled=count.doubled,
            out_of_order=count.out_of_order,
            repeated=count.repeated,
            seconds=round(time.monotonic() - began, 1),
        )


def rates(folder: Path, *, events: int = 4000) -> dict[str, float]:
    """Events a second: kept one by one and by hundreds in both durabilities, and delivered each way in batches.

    The sender that delivers is a process of its own, as is the broker; the MES counts in this one.

    Raises:
        NotFound: Mosquitto is not installed.
    """
    made = [specimen(number) for number in range(events)]
    figures: dict[str, float] = {}
    kinds: tuple[Durability, ...] = ("power", "process")
    for durability in kinds:
        for size in (1, 100):
            path = folder / f"{durability}-{size}" / "outbox.sqlite3"
            with Outbox(path, owner="rates", durability=durability) as outbox:
                began = time.perf_counter()
                for first in range(0, events, size):
                    outbox.put(made[first : first + size])
                figures[f"put, {durability}, {size} a commit"] = events / (time.perf_counter() - began)
    ways: list[tuple[Over, Confirm]] = [("rest", "mes")]
    ways += [(over, confirm) for over in ("mqtt", "sparkplug") for confirm in ("broker", "mes")]
    ways += [("opcua", "mes")]
    for over, confirm in ways:
        place = folder / f"{over}-{confirm}"
        with Outbox(place / "outbox.sqlite3", owner=STATION) as outbox:
            outbox.put(made)
        with make_mes(over, place, confirm) as mes:
            command = sender("drain", place, over, confirm, events, mes.direct)
            done = subprocess.run(command, stdout=subprocess.PIPE, check=True)  # noqa: S603
        figures[f"drain, {over}, confirmed by the {confirm}"] = events / float(done.stdout)
    return {name: round(value) for name, value in figures.items()}


def _finish(process: "subprocess.Popen[bytes]", seconds: float) -> None:
    try:
        process.wait(max(1.0, seconds))
    except subprocess.TimeoutExpired:
        process.kill()


def main(arguments: Sequence[str] | None = None) -> int:
    """Run it and print the outcome; 1 where anything was lost, doubled or out of order."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--over", choices=get_args(Over), default="rest")
    parser.add_argument(
        "--confirm", choices=get_args(Confirm), default="mes", help="Whose word counts behind a broker."
    )
    parser.add_argument("--events", type=int, default=10_000)
    parser.add_argument("--kills", type=int, default=20)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--rates", action="store_true", help="Measure how fast events are kept and delivered.")
    options: Any = parser.parse_args(arguments)
    logging.getLogger("asyncua").setLevel(logging.CRITICAL)  # a lost connection is what is tried here
    with tempfile.TemporaryDirectory() as folder:
        if options.rates:
            sys.stdout.write(json.dumps(rates(Path(folder)), indent=1) + "\n")
            return 0
        outcome = endure(
            Path(folder),
            over=options.over,
            confirm=options.confirm,
            events=options.events,
            kills=options.kills,
            seed=options.seed,
        )
    sys.stdout.write(json.dumps(asdict(outcome)) + "\n")
    return int(bool(outcome.lost or outcome.doubled or outcome.out_of_order))


if __name__ == "__main__":
    raise SystemExit(main())
