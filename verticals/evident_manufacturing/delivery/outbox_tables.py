"""The tables of an outbox, and every statement on them; each is given a connection, and opens no transaction itself."""

import secrets
import sqlite3
from collections.abc import Mapping, Sequence
from typing import Final

from evident_core.errors import Conflict
from evident_manufacturing.delivery.events import Event

WAITING, DELIVERED, REFUSED = 0, 1, 2
"""States of an event."""
TABLES: Final = """
CREATE TABLE IF NOT EXISTS event (
    sequence INTEGER PRIMARY KEY AUTOINCREMENT,
    event_id TEXT NOT NULL UNIQUE,
    part_id TEXT NOT NULL,
    fingerprint TEXT NOT NULL,
    body BLOB,
    state INTEGER NOT NULL DEFAULT 0,
    attempts INTEGER NOT NULL DEFAULT 0,
    problem TEXT NOT NULL DEFAULT ''
);
CREATE INDEX IF NOT EXISTS event_waiting ON event (sequence) WHERE state = 0;
CREATE INDEX IF NOT EXISTS event_open ON event (part_id, sequence) WHERE state != 1;
CREATE TABLE IF NOT EXISTS counter (name TEXT PRIMARY KEY, value INTEGER NOT NULL);
CREATE TABLE IF NOT EXISTS note (name TEXT PRIMARY KEY, value TEXT NOT NULL);
"""


def insert(db: sqlite3.Connection, event: Event) -> bool:
    """Add an event; whether it is new.

    Raises:
        Conflict: Its part was put before with another image.
    """
    row = db.execute(
        "INSERT INTO event (event_id, part_id, fingerprint, body) VALUES (?, ?, ?, ?)"
        " ON CONFLICT (event_id) DO NOTHING RETURNING 1",
        (event.event_id, event.part_id, event.fingerprint, event.body),
    ).fetchone()
    if row is not None:
        return True
    (before,) = db.execute("SELECT fingerprint FROM event WHERE event_id = ?", (event.event_id,)).fetchone()
    if before != event.fingerprint:
        raise Conflict(
            f"Part {event.part_id} was already reported with another image; if it was inspected again on purpose, "
            "give it the next revision (in a folder as PART.rev2.png), else correct its id.",
            part_id=event.part_id,
            event_id=event.event_id,
        )
    return False


def oldest(db: sqlite3.Connection, limit: int) -> list[tuple[int, str, str, bytes, int]]:
    """The (sequence, event id, part id, body, attempts) of waiting events, but for those behind one of their part."""
    return db.execute(
        "SELECT sequence, event_id, part_id, body, attempts FROM event AS mine WHERE state = 0 AND NOT EXISTS ("
        " SELECT 1 FROM event AS earlier WHERE earlier.part_id = mine.part_id AND earlier.state != 1"
        " AND earlier.sequence < mine.sequence) ORDER BY sequence LIMIT ?",
        (limit,),
    ).fetchall()


def waits(db: sqlite3.Connection, event_id: str) -> bool:
    """Whether an event is neither delivered nor refused."""
    return db.execute("SELECT 1 FROM event WHERE event_id = ? AND state = 0", (event_id,)).fetchone() is not None


def settle(
    db: sqlite3.Connection, tried: Sequence[int], delivered: Sequence[int], refused: Mapping[int, str], problem: str
) -> None:
    """Write down what a destination said of the sequences that were tried; those it did not speak of wait on."""
    db.executemany(
        "UPDATE event SET state = 1, body = NULL, problem = '' WHERE sequence = ?", [(each,) for each in delivered]
    )
    db.executemany(
        "UPDATE event SET state = 2, problem = ? WHERE sequence = ?",
        [(reason[:500], each) for each, reason in refused.items()],
    )
    db.executemany(
        "UPDATE event SET attempts = attempts + 1, problem = ? WHERE sequence = ? AND state = 0",
        [(problem[:500], each) for each in tried],
    )


def trim(db: sqlite3.Connection, keep: int) -> None:
    """Forget delivered events, but for those among the newest ``keep`` of all."""
    db.execute(
        "DELETE FROM event WHERE state = ? AND sequence <="
        " (SELECT sequence FROM event ORDER BY sequence DESC LIMIT 1 OFFSET ?)",
        (DELIVERED, keep),
    )


def forget_half(db: sqlite3.Connection) -> int:
    """Forget the older half of the delivered events; how many those were."""
    return db.execute(
        "DELETE FROM event WHERE state = ? AND sequence <= (SELECT sequence FROM event WHERE state = ?"
        " ORDER BY sequence LIMIT 1 OFFSET (SELECT COUNT(*) / 2 FROM event WHERE state = ?))",
        (DELIVERED,) * 3,
    ).rowcount


def refusals(db: sqlite3.Connection, limit: int) -> list[tuple[str, str, str]]:
    """The (event id, part id, reason) of refused events, the oldest first."""
    return db.execute(
        "SELECT event_id, part_id, problem FROM event WHERE state = ? ORDER BY sequence LIMIT ?", (REFUSED, limit)
    ).fetchall()


def retry(db: sqlite3.Connection, event_id: str) -> bool:
    """Let a refused event wait again; whether there was one."""
    return db.execute("UPDATE event SET state = 0 WHERE event_id = ? AND state = 2", (event_id,)).rowcount > 0


def last_sequence(db: sqlite3.Connection) -> int:
    """The sequence of the newest event; 0 before the first."""
    row = db.execute("SELECT seq FROM sqlite_sequence WHERE name = 'event'").fetchone()
    return int(row[0]) if row else 0


def count(db: sqlite3.Connection, name: str, modulo: int) -> int:
    """The next value of a counter: 0, 1, … below ``modulo``, then 0 again."""
    row = db.execute(
        "INSERT INTO counter (name, value) VALUES (?, 0) ON CONFLICT (name) DO UPDATE"
        " SET value = (value + 1) % ? RETURNING value",
        (name, modulo),
    ).fetchone()
    return int(row[0])


def installation(db: sqlite3.Connection) -> int:
    """A number that is drawn once for this file."""
    db.execute("INSERT OR IGNORE INTO counter (name, value) VALUES ('installation', ?)", (secrets.randbits(53),))
    return int(db.execute("SELECT value FROM counter WHERE name = 'installation'").fetchone()[0])


def note(db: sqlite3.Connection, name: str, text: str | None) -> None:
    """Remember a text by its name, in place of the one before; None: no longer."""
    db.execute("DELETE FROM note WHERE name = ?", (name,))
    if text is not None:
        db.execute("INSERT INTO note (name, value) VALUES (?, ?)", (name, text))


def notes(db: sqlite3.Connection) -> dict[str, str]:
    """The texts that are remembered, by name."""
    return dict(db.execute("SELECT name, value FROM note"))
