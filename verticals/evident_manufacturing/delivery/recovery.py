"""What happens to an outbox file that is damaged: moved aside, told, and read for all that can be read.

Nothing is deleted. The damaged file stays beside the new one as ``<name>.damaged-<n>`` with its ``-wal`` and ``-shm``.
A stop at any point leaves either the damaged file in its place or the complete new one: the next start goes on.
"""

import logging
import os
import shutil
import sqlite3
from collections.abc import Iterator
from contextlib import closing, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evident_manufacturing.delivery.outbox_tables import DELIVERED, REFUSED, TABLES, WAITING

logger = logging.getLogger(__name__)

_GENERATION: Final = 1 << 40
_COLUMNS: Final = "sequence, event_id, part_id, fingerprint, body, state, attempts, problem"


@dataclass(frozen=True, slots=True)
class Recovery:
    """What became of a damaged outbox.

    Attributes:
        moved_to: Where the damaged file lies.
        reason: What SQLite said of it.
        kept: Events read back that still wait.
        known: Further events read back: delivered, or refused.
    """

    moved_to: Path
    reason: str
    kept: int
    known: int

    def __str__(self) -> str:
        return (
            f"The outbox was damaged ({self.reason}) and lies in {self.moved_to}; {self.kept} waiting events and "
            f"{self.known} others were read back. Events that could not be read are only in that file: present the "
            "parts of that time again, those that arrived before are counted once."
        )


def make_sound(path: Path) -> Recovery | None:
    """See that a sound outbox file is at ``path``, made new, or out of what can be read of a damaged one.

    Raises:
        sqlite3.Error: It can be neither read nor made, for example because the disk is full.
        OSError: The same.
    """
    new = path.with_name(path.name + ".new")
    if not path.exists():
        if not new.exists():  # else the last start stopped between moving the damaged file and taking up the new one
            with closing(sqlite3.connect(new)) as db:
                db.executescript(TABLES)
        _finish(path, new)
    reason = _damage(path)
    if reason is None:
        return None
    aside = _aside(path)
    new.unlink(missing_ok=True)
    kept, known = _rebuild(path, new, generation=_number(aside))
    path.rename(aside)
    _finish(path, new)
    recovery = Recovery(aside, reason, kept, known)
    logger.error("%s", recovery)
    return recovery


def _damage(path: Path) -> str | None:
    try:
        with closing(sqlite3.connect(path)) as db:
            tables = {name for (name,) in db.execute("SELECT name FROM sqlite_master WHERE type = 'table'")}
            if not tables >= {"event", "counter"}:
                # An outbox is made in full before it gets its name, so this is what is left of one.
                return "its tables are not there"
            # The full check and not the quick one: an index that lost an entry would hide a waiting event for ever.
            findings = [str(row[0]) for row in db.execute("PRAGMA integrity_check(3)")]
    except sqlite3.DatabaseError as error:
        if isinstance(error, sqlite3.OperationalError) and not error.sqlite_errorname.startswith("SQLITE_CORRUPT"):
            raise
        return str(error)
    return None if findings == ["ok"] else "; ".join(findings)


def _rebuild(damaged: Path, new: Path, *, generation: int) -> tuple[int, int]:
    kept = known = 0
    copy = _whole_copy(damaged)
    with closing(sqlite3.connect(new, isolation_level=None)) as db:
        db.executescript(TABLES)
        db.execute("BEGIN")
        for table, columns in (("event", _COLUMNS), ("counter", "name, value"), ("note", "name, value")):
            marks = ", ".join("?" * (columns.count(",") + 1))
            for row in _readable(copy, f"SELECT {columns} FROM {table} NOT INDEXED ORDER BY rowid"):  # noqa: S608
                if table == "event" and not _makes_sense(row):
                    continue
                with suppress(sqlite3.IntegrityError, sqlite3.InterfaceError):
                    added = db.execute(f"INSERT OR IGNORE INTO {table} ({columns}) VALUES ({marks})", row).rowcount  # noqa: S608
                    if table == "event":
                        kept += added * (row[5] == WAITING)
                        known += added * (row[5] != WAITING)
        # Sequences go on above all that the damaged file can have given.
        (last,) = db.execute("SELECT COALESCE(MAX(sequence), 0) FROM event").fetchone()
        db.execute("DELETE FROM sqlite_sequence WHERE name = 'event'")
        db.execute(
            "INSERT INTO sqlite_sequence (name, seq) VALUES ('event', ?)",
            (max(generation, last // _GENERATION + 1) * _GENERATION,),
        )
        db.execute("COMMIT")
    for each in copy.parent.glob(f"{copy.name}*"):
        each.unlink()
    return kept, known


def _whole_copy(damaged: Path) -> Path:
    """A copy to read from, as long as its header says: SQLite reads nothing of a file that was cut short."""
    copy = damaged.with_name(damaged.name + ".salvage")
    for end in ("", "-wal"):
        if damaged.with_name(damaged.name + end).exists():
            shutil.copyfile(damaged.with_name(damaged.name + end), copy.with_name(copy.name + end))
    with copy.open("r+b") as file:
        header = file.read(32)
        if header.startswith(b"SQLite format 3") and len(header) == 32:
            page_size, pages = int.from_bytes(header[16:18], "big"), int.from_bytes(header[28:32], "big")
            # A page size of 1 stands for 65,536; more than 64 GiB is damage in the header itself.
            length = (page_size if page_size > 1 else 65536) * pages
            if copy.stat().st_size < length < 1 << 36:
                file.truncate(length)
    return copy


def _makes_sense(row: tuple[object, ...]) -> bool:
    sequence, event_id, part_id, _, body, state, *_ = row
    typed = isinstance(sequence, int) and isinstance(event_id, str) and isinstance(part_id, str)
    return typed and state in (WAITING, DELIVERED, REFUSED) and (state == DELIVERED or isinstance(body, bytes))


def _readable(path: Path, query: str) -> Iterator[tuple[object, ...]]:
    """The rows from the first on and from the last back, each until the damage: what lies before it, and behind it."""
    for direction in ("ASC", "DESC"):
        try:
            with closing(sqlite3.connect(path)) as db:
                yield from db.execute(f"{query} {direction}")
        except sqlite3.DatabaseError as error:
            logger.warning("Reading %s (%s) stopped: %s", path, direction, error)


def _aside(path: Path) -> Path:
    number = 1
    while any(path.with_name(f"{path.name}.damaged-{number}{end}").exists() for end in ("", "-wal", "-shm")):
        number += 1
    return path.with_name(f"{path.name}.damaged-{number}")


def _number(aside: Path) -> int:
    return int(aside.name.rpartition("-")[2])


def _finish(path: Path, new: Path) -> None:
    """Move what belongs to the damaged file after it, then take up the new one; the file itself was moved before."""
    aside = path.with_name(f"{path.name}.damaged-{_number(_aside(path)) - 1}")
    for end in ("-wal", "-shm"):
        belongs = path.with_name(path.name + end)
        if belongs.exists():
            belongs.rename(aside.with_name(aside.name + end))
    new.rename(path)
    folder = os.open(path.parent, os.O_RDONLY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
