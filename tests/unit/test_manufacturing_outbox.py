"""The outbox: what was put stays put, whatever happens to the process, the disk, the file or the clock."""

import itertools
import multiprocessing
import os
import sqlite3
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from evident_core.errors import Conflict, NotFound, ResourceExceeded, TooLarge, TooMany
from evident_manufacturing.delivery.courier import Backoff, Courier
from evident_manufacturing.delivery.events import Event
from evident_manufacturing.delivery.outbox import Outbox, Queued, Receipt


def event(number: int, *, part: str = "", image: str = "a", size: int = 20) -> Event:
    body = f'{{"n":{number}}}'.encode().ljust(size)
    return Event(event_id=f"id-{number}", part_id=part or f"part-{number}", fingerprint=image, body=body)


def put_without_end(outbox: Outbox) -> None:
    for number in itertools.count():
        outbox.put([event(number, size=2000)])


def drain(outbox: Outbox) -> list[str]:
    """Take and confirm all that waits; the event ids in the order they came."""
    order = []
    while batch := outbox.next_batch(3):
        order += [each.event_id for each in batch]
        outbox.settle(batch, Receipt({each.sequence for each in batch}))
    return order


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "机台" / "outbox.sqlite3"


@pytest.fixture
def outbox(path: Path) -> Iterator[Outbox]:
    with Outbox(path, owner="a") as opened:
        yield opened


def test_events_come_out_in_the_order_they_were_put_and_once(outbox: Outbox) -> None:
    assert outbox.put([event(n) for n in range(7)]) == [True] * 7
    assert outbox.waiting == 7
    assert drain(outbox) == [f"id-{n}" for n in range(7)]
    assert outbox.waiting == 0
    assert outbox.next_batch() == []


def test_a_part_put_again_is_known_also_after_its_delivery(outbox: Outbox) -> None:
    assert outbox.put([event(1)]) == [True]
    assert outbox.put([event(1)]) == [False]
    assert drain(outbox) == ["id-1"]
    assert outbox.put([event(1), event(2)]) == [False, True]
    assert drain(outbox) == ["id-2"]


def test_a_part_id_given_to_another_board_is_refused_with_all_that_was_put_beside_it(outbox: Outbox) -> None:
    outbox.put([event(1)])
    with pytest.raises(Conflict, match="part-1 was already reported with another image"):
        outbox.put([event(2), event(1, image="b")])
    assert drain(outbox) == ["id-1"]


def test_a_batch_has_one_event_of_a_part_and_a_failed_one_keeps_the_later_ones_back(outbox: Outbox) -> None:
    outbox.put([event(1, part="p"), event(2, part="p"), event(3, part="q")])
    batch = outbox.next_batch()
    assert [each.event_id for each in batch] == ["id-1", "id-3"]
    outbox.settle(batch, Receipt({batch[1].sequence}, problem="timeout"))
    assert [each.event_id for each in outbox.next_batch()] == ["id-1"]
    assert outbox.next_batch(held={batch[0].sequence}) == []
    assert outbox.next_batch()[0].attempts == 1


def test_a_refused_event_and_later_ones_of_its_part_wait_for_a_person(outbox: Outbox) -> None:
    outbox.put([event(1, part="p"), event(2, part="p"), event(3)])
    first, _ = outbox.next_batch()
    outbox.settle([first], Receipt(refused={first.sequence: "no such product"}))
    assert drain(outbox) == ["id-3"]
    assert (outbox.waiting, outbox.refused) == (1, 1)
    assert outbox.refusals() == [("id-1", "p", "no such product")]
    outbox.retry("id-1")
    assert drain(outbox) == ["id-1", "id-2"]
    with pytest.raises(NotFound, match="id-1"):
        outbox.retry("id-1")


def test_a_batch_is_bounded_by_number_and_by_bytes_but_never_empty(outbox: Outbox) -> None:
    outbox.put([event(n, size=100) for n in range(10)])
    assert len(outbox.next_batch(4)) == 4
    assert len(outbox.next_batch(10, max_bytes=350)) == 3
    assert len(outbox.next_batch(10, max_bytes=1)) == 1


def test_too_large_and_too_many_are_refused(path: Path) -> None:
    with Outbox(path, owner="a", max_waiting=2) as outbox:
        with pytest.raises(TooLarge, match="2000000 bytes"):
            outbox.put([event(1, size=2_000_000)])
        outbox.put([event(1), event(2)])
        with pytest.raises(TooMany, match="2 events wait"):
            outbox.put([event(3)])
        assert outbox.waiting == 2


def test_all_is_there_after_a_restart_and_sequences_go_on(path: Path) -> None:
    with Outbox(path, owner="a") as outbox:
        outbox.put([event(1), event(2)])
        before = outbox.last_sequence
        assert [outbox.count("bdseq", modulo=3) for _ in range(4)] == [0, 1, 2, 0]
    with Outbox(path, owner="a") as outbox:
        assert outbox.recovery is None
        assert (outbox.waiting, outbox.last_sequence) == (2, before)
        assert outbox.count("bdseq", modulo=3) == 1
        outbox.put([event(3)])
        assert outbox.last_sequence > before
        assert drain(outbox) == ["id-1", "id-2", "id-3"]


def _put_and_die(path: Path) -> None:
    outbox = Outbox(path, owner="dying")
    outbox.put([event(1), event(2)])
    os.kill(os.getpid(), 9)


def test_a_killed_process_loses_nothing_and_leaves_no_lock(path: Path) -> None:
    process = multiprocessing.get_context("spawn").Process(target=_put_and_die, args=(path,))
    process.start()
    process.join(60)
    assert process.exitcode == -9
    with Outbox(path, owner="next") as outbox:
        assert drain(outbox) == ["id-1", "id-2"]


def test_a_second_agent_is_refused_and_told_who_has_it(path: Path, outbox: Outbox) -> None:
    with pytest.raises(Conflict, match=rf"in use by agent a \(process {os.getpid()}\), so agent b cannot start"):
        Outbox(path, owner="b")
    outbox.put([event(1)])
    assert drain(outbox) == ["id-1"]


def test_a_full_disk_refuses_what_is_new_keeps_what_was_put_and_goes_on_when_there_is_space(path: Path) -> None:
    with Outbox(path, owner="a", max_pages=40) as outbox:
        with pytest.raises(ResourceExceeded, match=r"cannot grow .*Free space"):
            put_without_end(outbox)
        kept = outbox.waiting
        assert 10 < kept < 100
        assert outbox.put([event(0)]) == [False]
        assert drain(outbox) == [f"id-{n}" for n in range(kept)]
        assert outbox.put([event(kept, size=2000)]) == [True]


def test_a_disk_full_of_what_was_delivered_makes_room_for_what_is_new(path: Path) -> None:
    with Outbox(path, owner="a", max_pages=40) as outbox:
        for number in range(400):
            outbox.put([event(number)])
            assert drain(outbox) == [f"id-{number}"]
        assert outbox.put([event(399)]) == [False]


def test_a_full_disk_takes_none_of_what_is_put_together(path: Path) -> None:
    with Outbox(path, owner="a", max_pages=40) as outbox:
        with pytest.raises(ResourceExceeded):
            outbox.put([event(n, size=2000) for n in range(1000)])
        assert outbox.waiting == 0
        assert outbox.next_batch() == []


class Always:
    """A destination that confirms all, and remembers the order."""

    name = "all"

    def __init__(self) -> None:
        self.taken: list[str] = []

    def send(self, batch: list[Queued]) -> Receipt:
        self.taken += [each.event_id for each in batch]
        return Receipt({each.sequence for each in batch})

    def idle(self, station_problem: str = "") -> str:
        return ""

    def close(self) -> None:
        self.taken.append("closed")


class Moody(Always):
    """A destination that fails for one event only, so many times."""

    def __init__(self, event_id: str, times: int) -> None:
        super().__init__()
        self.event_id, self.times = event_id, times

    def send(self, batch: list[Queued]) -> Receipt:
        taken = [each for each in batch if each.event_id != self.event_id or self.times <= 0]
        self.times -= len(taken) < len(batch)
        self.taken += [each.event_id for each in taken]
        return Receipt({each.sequence for each in taken}, problem="not that one")


def test_a_clock_that_is_set_back_changes_neither_order_nor_expiry(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    clock = iter(range(10**9, 0, -86_400))
    monkeypatch.setattr(time, "time", lambda: float(next(clock)))
    monkeypatch.setattr(time, "time_ns", lambda: next(clock) * 10**9)
    for number in range(6):  # each in an opening of its own, as after a restart with the clock set back a day
        with Outbox(path, owner="a") as outbox:
            outbox.put([event(number, part="p" if number % 2 else "q")])
    with Outbox(path, owner="a") as outbox:
        sink = Always()
        assert Courier(outbox, sink).drain(30)
        assert sink.taken == [f"id-{n}" for n in range(6)]
        assert outbox.put([event(n, part="p" if n % 2 else "q") for n in range(6)]) == [False] * 6


def test_one_event_that_fails_does_not_hold_up_the_others(outbox: Outbox) -> None:
    outbox.put([event(n) for n in range(20)])
    sink = Moody("id-0", 3)
    courier = Courier(outbox, sink, limit=5, backoff=Backoff(first=0.2, longest=0.2))
    for _ in range(4):
        courier.step()
    assert sink.taken == [f"id-{n}" for n in range(1, 20)]
    assert courier.step() == pytest.approx(0.2, abs=0.2)
    assert courier.drain(30)
    assert sink.taken[-1] == "id-0"


def test_waits_double_up_to_their_limit_and_honour_what_is_asked() -> None:
    backoff = Backoff(first=1.0, longest=8.0, asked_longest=20.0)
    for failures, whole in ((1, 1.0), (2, 2.0), (3, 4.0), (4, 8.0), (50, 8.0), (10_000, 8.0)):
        assert whole / 2 <= backoff.seconds(failures) <= whole
    assert backoff.seconds(1, asked=12.0) == 12.0
    assert backoff.seconds(1, asked=1e9) == 20.0


def test_old_delivered_ids_are_forgotten_beyond_what_is_kept_and_waiting_events_never(path: Path) -> None:
    with Outbox(path, owner="a", keep=10) as outbox:
        outbox.put([event(0)])
        held = outbox.next_batch()[0].sequence
        for number in range(1, 301):
            outbox.put([event(number)])
            batch = outbox.next_batch(held={held})
            outbox.settle(batch, Receipt({each.sequence for each in batch}))
        with closing(sqlite3.connect(path)) as db:
            (rows,) = db.execute("SELECT COUNT(*) FROM event").fetchone()
        assert rows < 100
        assert drain(outbox) == ["id-0"]


# --- a damaged file -------------------------------------------------------------------------------------------------


def filled(path: Path, events: int = 400) -> int:
    with Outbox(path, owner="a") as outbox:
        outbox.put([event(n, size=400) for n in range(events)])
        batch = outbox.next_batch(10)
        outbox.settle(batch, Receipt({each.sequence for each in batch}))
        return outbox.last_sequence


@pytest.mark.parametrize("content", [b"", b"not a database at all" * 300, b"SQLite format 3\x00" + b"\xff" * 9000])
def test_what_is_no_database_is_moved_aside_and_said(path: Path, content: bytes) -> None:
    path.parent.mkdir()
    path.write_bytes(content)
    with Outbox(path, owner="a") as outbox:
        assert outbox.recovery is not None
        assert outbox.recovery.moved_to.read_bytes() == content
        assert "moved" not in str(outbox.recovery)
        assert str(outbox.recovery.moved_to) in str(outbox.recovery)
        outbox.put([event(1)])
        assert drain(outbox) == ["id-1"]
    with Outbox(path, owner="a") as outbox:
        assert outbox.recovery is None


def test_a_damaged_page_costs_what_is_on_it_and_sequences_still_rise(path: Path) -> None:
    last = filled(path)
    with path.open("r+b") as file:
        file.seek(path.stat().st_size // 2 // 4096 * 4096)
        file.write(os.urandom(4096))
    with Outbox(path, owner="a") as outbox:
        recovery = outbox.recovery
        assert recovery is not None
        assert 300 <= recovery.kept < 400
        assert outbox.waiting == recovery.kept
        order = drain(outbox)
        assert order == sorted(order, key=lambda each: int(each[3:]))
        assert "id-3" not in order
        missing = [n for n in range(10, 400) if f"id-{n}" not in order]
        assert outbox.put([event(n, size=400) for n in missing]) == [True] * len(missing)
        assert outbox.next_batch()[0].sequence > last
        assert outbox.put([event(3)]) == [False]


def test_a_file_cut_short_keeps_its_beginning(path: Path) -> None:
    filled(path)
    with path.open("r+b") as file:
        file.truncate(path.stat().st_size * 2 // 3 // 4096 * 4096)
    with Outbox(path, owner="a") as outbox:
        assert outbox.recovery is not None
        assert outbox.recovery.kept > 50
        assert drain(outbox)[0] == "id-10"


def test_two_damages_leave_two_files(path: Path) -> None:
    for _ in range(2):
        filled(path, 5)
        path.write_bytes(b"x" * 5000)
    with Outbox(path, owner="a") as outbox:
        first, second = sorted(path.parent.glob("*.damaged-*"))
        assert (first.name, second.name) == ("outbox.sqlite3.damaged-1", "outbox.sqlite3.damaged-2")
        outbox.put([event(1)])
        assert outbox.last_sequence > 2 << 40


def test_a_stop_in_the_middle_of_a_recovery_is_finished_at_the_next_start(path: Path) -> None:
    filled(path, 30)
    with Outbox(path, owner="a") as outbox:
        waiting = outbox.waiting
    # As it lies when the process ends after the damaged file was moved and before the new one took its name.
    path.rename(path.with_name(path.name + ".new"))
    path.with_name(path.name + ".damaged-1").write_bytes(b"damaged")
    path.with_name(path.name + "-wal").write_bytes(b"of the damaged one")
    with Outbox(path, owner="a") as outbox:
        assert (outbox.recovery, outbox.waiting) == (None, waiting)
        assert path.with_name(path.name + ".damaged-1-wal").read_bytes() == b"of the damaged one"


def test_a_folder_that_cannot_be_made_is_said(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(ResourceExceeded, match="cannot be written"):
        Outbox(tmp_path / "file" / "outbox.sqlite3", owner="a")
