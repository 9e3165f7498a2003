"""A durable queue of events to one destination, in one SQLite file.

What :meth:`Outbox.put` returned from is on disk; what the destination confirmed is never sent again; what is in between
may be sent twice, under the same event id. Order is a sequence number, never a time: a clock that is set back changes
nothing. A part's events leave one after the other, in the order they were put.
"""

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Self

from evident_core.errors import NotFound, ResourceExceeded, TooLarge, TooMany
from evident_manufacturing.delivery import outbox_tables as tables
from evident_manufacturing.delivery.events import Event
from evident_manufacturing.delivery.outbox_file import Durability, OutboxFile
from evident_manufacturing.delivery.outbox_tables import REFUSED, WAITING
from evident_manufacturing.delivery.recovery import Recovery

MAX_BODY: Final = 1 << 20
_TRIM_EVERY: Final = 256
_SETTLE_AT_ONCE: Final = 10
_ROOM: Final = 1 << 17  # bytes of the file for the entries of events in its indices, amply


@dataclass(frozen=True, slots=True)
class Queued:
    """An event on its way. ``sequence`` only ever rises, across restarts and across a lost database."""

    sequence: int
    event_id: str
    part_id: str
    body: bytes
    attempts: int = 0


@dataclass(frozen=True, slots=True)
class Receipt:
    """What a destination said to a batch; an event that is in neither is tried again.

    Attributes:
        delivered: Sequences that it confirmed.
        refused: Sequences that it will never take, and why.
        problem: Why the others did not arrive.
        retry_after: Seconds that it asked to wait.
    """

    delivered: Collection[int] = ()
    refused: Mapping[int, str] = field(default_factory=dict)
    problem: str = ""
    retry_after: float | None = None


class Outbox:
    """The open outbox of one agent; only one process has it open.

    Args:
        path: The SQLite file; its folder is made.
        owner: The agent's id, for the message of a second one.
        durability: ``"power"`` flushes the disk at each :meth:`put` (``synchronous=FULL``): what was put survives a
            power cut. ``"process"`` survives a killed process; ``delivery.endurance --rates`` measures both.
        max_waiting: Events above which :meth:`put` refuses.
        keep: How many delivered ids are remembered, so that a part put again is known; about 150 bytes each.
        max_pages: Limit of the file's size, in pages of 4 KiB; None: the disk's.

    Attributes:
        recovery: What happened to a damaged file when this was opened; None where it was sound.

    Raises:
        Conflict: Another agent has it open.
        ResourceExceeded: The folder cannot be written.
    """

    def __init__(
        self,
        path: Path,
        *,
        owner: str,
        durability: Durability = "power",
        max_waiting: int = 1_000_000,
        keep: int = 200_000,
        max_pages: int | None = None,
    ) -> None:
        self.path, self.owner = path, owner
        self._max_waiting, self._keep = max_waiting, keep
        self._settled = self._waiting = self._refused = 0
        self._file = OutboxFile(path, owner, durability, max_pages, lambda: self._waiting)
        self._changed = self._file.changed
        self.recovery: Recovery | None = self._file.recovery
        self._waiting, self._refused = self._file.counts.get(WAITING, 0), self._file.counts.get(REFUSED, 0)

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def close(self) -> None:
        """Close the file and let another agent have it."""
        self._file.close()

    @property
    def waiting(self) -> int:
        """How many events are not delivered yet."""
        return self._waiting

    @property
    def refused(self) -> int:
        """How many events the destination will not take; they, and later ones of their parts, stay for a person."""
        return self._refused

    @property
    def installation(self) -> str:
        """Drawn once for this file: tells this agent from another one that was given the same id by mistake."""
        with self._file.writing() as db:
            return f"{tables.installation(db):014x}"

    @property
    def last_sequence(self) -> int:
        """The sequence of the newest event; 0 before the first."""
        with self._file.reading() as db:
            return tables.last_sequence(db)

    def put(self, events: Sequence[Event], *, notes: Mapping[str, str | None] | None = None) -> list[bool]:
        """Keep events, all or none; when this returns they are on disk.

        Args:
            events: New, or put before.
            notes: Texts to remember with them, by name, for :meth:`notes`; None: no longer.

        Returns:
            For each whether it is new; False: it was put before, and is not put again.

        Raises:
            Conflict: A part was put before with another image; none of the events is kept.
            TooLarge: A body has more than 1 MiB.
            TooMany: Too many are waiting.
            ResourceExceeded: The disk is full; none is kept, so keep their images and put them again.
        """
        for event in events:
            if len(event.body) > MAX_BODY:
                raise TooLarge(
                    f"The event of part {event.part_id} has {len(event.body)} bytes; at most {MAX_BODY} are sent."
                )
        if self._waiting + len(events) > self._max_waiting:
            raise TooMany(
                f"{self._waiting} events wait in {self.path}, and at most {self._max_waiting} may; "
                "see why its destination does not take them.",
                waiting=self._waiting,
            )
        self._file.keep_reserve()
        try:
            new = self._insert(events, notes or {})
        except ResourceExceeded:
            needed = 2 * sum(len(event.body) for event in events) + _ROOM
            with self._file.on_reserve():
                # New events matter more than old ids: what is put again is then sent again, under its old id.
                room = self._file.free_bytes >= needed or (self._forget_half() and self._file.free_bytes >= needed)
                new = self._insert(events, notes or {}) if room else []  # the file need not grow for them
            if not room:
                self._file.keep_reserve()
                new = self._insert(events, notes or {})  # the log was written back, which may have made room
        with self._changed:
            self._waiting += sum(new)
            self._changed.notify_all()
        return new

    def waits(self, event_id: str) -> bool:
        """Whether an event was put and is neither delivered nor refused."""
        with self._file.reading() as db:
            return tables.waits(db, event_id)

    def next_batch(self, limit: int = 100, *, max_bytes: int = 1 << 20, held: Collection[int] = ()) -> list[Queued]:
        """The oldest waiting events, at most one of each part, so that a batch may be sent in any order.

        Args:
            limit: Number of events.
            max_bytes: Of their bodies together; one event is always given.
            held: Sequences to leave out for now.

        Raises:
            EvidentError: The file was damaged while it was open.
        """
        with self._file.reading() as db:
            rows = tables.oldest(db, limit + len(held))
        batch: list[Queued] = []
        size = 0
        for queued in (Queued(*row) for row in rows if row[0] not in held):
            size += len(queued.body)
            if len(batch) == limit or (batch and size > max_bytes):
                break
            batch.append(queued)
        return batch

    def settle(self, batch: Sequence[Queued], receipt: Receipt) -> None:
        """Write down what the destination said, in one transaction; on a full disk in several.

        Raises:
            ResourceExceeded: Not even what frees room has room; what is not written down is sent again, under its id.
        """
        try:
            self._settle(batch, receipt)
        except ResourceExceeded:
            # Only what is settled makes room for what is new.
            with self._file.on_reserve():
                for first in range(0, len(batch), _SETTLE_AT_ONCE):
                    self._settle(batch[first : first + _SETTLE_AT_ONCE], receipt)
                    self._file.write_back()

    def _settle(self, batch: Sequence[Queued], receipt: Receipt) -> None:
        tried = [each.sequence for each in batch]
        delivered = [each for each in tried if each in receipt.delivered]
        refused = {each: receipt.refused[each] for each in tried if each in receipt.refused}
        with self._file.writing() as db:
            tables.settle(db, tried, delivered, refused, receipt.problem)
            self._settled += 1
            if self._settled % _TRIM_EVERY == 0:
                tables.trim(db, self._keep)
        with self._changed:
            self._waiting -= len(delivered) + len(refused)
            self._refused += len(refused)

    def refusals(self, limit: int = 100) -> list[tuple[str, str, str]]:
        """The (event id, part id, reason) of what the destination will not take, the oldest first."""
        with self._file.reading() as db:
            return tables.refusals(db, limit)

    def retry(self, event_id: str) -> None:
        """Send a refused event again, for example when the MES was corrected.

        Raises:
            NotFound: No refused event has that id.
        """
        with self._file.writing() as db:
            changed = tables.retry(db, event_id)
        if not changed:
            raise NotFound(f"No refused event has the id {event_id!r}.", event_id=event_id)
        with self._changed:
            self._waiting += 1
            self._refused -= 1
            self._changed.notify_all()

    def count(self, name: str, *, modulo: int = 1 << 53) -> int:
        """The next value of a counter that survives restarts: 0, 1, … below ``modulo``, then 0 again."""
        with self._file.writing() as db:
            return tables.count(db, name, modulo)

    def notes(self) -> dict[str, str]:
        """What :meth:`put` was given to remember, by name."""
        with self._file.reading() as db:
            return tables.notes(db)

    def wait(self, seconds: float) -> None:
        """Return when something was put, or after so many seconds."""
        with self._changed:
            self._changed.wait(seconds)

    def _insert(self, events: Sequence[Event], notes: Mapping[str, str | None]) -> list[bool]:
        with self._file.writing() as db:
            for name, text in notes.items():
                tables.note(db, name, text)
            return [tables.insert(db, event) for event in events]

    def _forget_half(self) -> int:
        with self._file.writing() as db:
            return tables.forget_half(db)
