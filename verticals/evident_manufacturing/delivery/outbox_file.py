"""The SQLite file of an outbox: one process has it open, transactions are whole, and errors are sentences.

A disk that is full takes no transaction, not even the one that writes down what was delivered: an outbox that filled it
would never get empty. So a reserve lies beside the file, and is given up for just that.
"""

import fcntl
import os
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO, Final, Literal

from evident_core.errors import Conflict, EvidentError, ResourceExceeded
from evident_manufacturing.delivery import recovery
from evident_manufacturing.delivery.outbox_tables import TABLES
from evident_manufacturing.delivery.recovery import Recovery

Durability = Literal["power", "process"]

RESERVE: Final = 1 << 20
"""Bytes: more than the log grows to before it is written back, and a few transactions."""
_PAGE: Final = 4096
_LOG_PAGES: Final = 128
_FULL: Final = ("SQLITE_FULL", "SQLITE_IOERR_WRITE", "SQLITE_IOERR_FSYNC", "SQLITE_CANTOPEN")


class OutboxFile:
    """The open file, and the lock of whoever reads, writes or waits for a change.

    Args:
        path: Its folder is made.
        owner: The agent's id, for the message of a second one.
        durability: See :class:`~evident_manufacturing.delivery.outbox.Outbox`.
        max_pages: Limit of its size, in pages of 4 KiB; None: the disk's.
        waiting: Gives the number of events that wait in it, for the message of a full disk.

    Attributes:
        recovery: What happened to a damaged file when this was opened; None where it was sound.
        counts: Number of events by their state, when this was opened.
        changed: Notified where something was put; held by every transaction.

    Raises:
        Conflict: Another agent has it open.
        ResourceExceeded: The folder cannot be written.
    """

    def __init__(
        self, path: Path, owner: str, durability: Durability, max_pages: int | None, waiting: Callable[[], int]
    ) -> None:
        self.path = path
        self.changed = threading.Condition(threading.RLock())
        self._waiting = waiting
        self._reserve = path.with_name(path.name + ".reserve")
        self._lock = _lock(path, owner)
        try:
            self.recovery: Recovery | None = recovery.make_sound(path)
            self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
            self._db.execute("PRAGMA journal_mode=WAL")
            self._db.execute(f"PRAGMA synchronous={'FULL' if durability == 'power' else 'NORMAL'}")
            self._db.execute(f"PRAGMA wal_autocheckpoint={_LOG_PAGES}")
            if max_pages is not None:
                self._db.execute(f"PRAGMA max_page_count={int(max_pages)}")
            self._db.executescript(TABLES)  # an older file lacks the newer ones
            self.counts: dict[int, int] = dict(self._db.execute("SELECT state, COUNT(*) FROM event GROUP BY state"))
        except (sqlite3.Error, OSError) as error:
            self._lock.close()
            raise ResourceExceeded(
                f"The outbox {path} cannot be opened: {error}. Check the disk and the rights of its folder.",
                path=str(path),
            ) from error
        with suppress(ResourceExceeded):
            self.keep_reserve()

    def close(self) -> None:
        """Close the file and let another agent have it."""
        with self.changed:
            self._db.close()
            self._lock.close()
            self.changed.notify_all()

    @contextmanager
    def reading(self) -> Iterator[sqlite3.Connection]:
        """The database, to read from.

        Raises:
            EvidentError: The file was damaged while it was open.
        """
        with self.changed:
            try:
                yield self._db
            except sqlite3.Error as error:
                raise self._told(error) from error

    @contextmanager
    def writing(self) -> Iterator[sqlite3.Connection]:
        """The database in a transaction: all of what is done within, or nothing.

        Raises:
            ResourceExceeded: The disk is full.
            EvidentError: The file was damaged while it was open.
        """
        with self.changed:
            try:
                self._db.execute("BEGIN IMMEDIATE")
                yield self._db
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back()
                raise self._told(error) from error
            except BaseException:
                self._roll_back()
                raise

    @property
    def free_bytes(self) -> int:
        """Within the file, of pages that hold nothing."""
        with self.reading() as db:
            return int(db.execute("PRAGMA freelist_count").fetchone()[0]) * _PAGE

    def keep_reserve(self) -> None:
        """See that the reserve is there.

        Raises:
            ResourceExceeded: There is no room for it, so there is none for new events.
        """
        with self.changed:
            if self._reserve.exists():
                return
            try:
                with self._reserve.open("wb") as file:
                    os.posix_fallocate(file.fileno(), 0, RESERVE)
            except OSError as error:
                self._reserve.unlink(missing_ok=True)
                raise self._full(str(error)) from error

    @contextmanager
    def on_reserve(self) -> Iterator[None]:
        """Let what is done within have the room of the reserve; it is taken back after, where that is possible."""
        with self.changed:
            self._reserve.unlink(missing_ok=True)
            self.write_back()
            try:
                yield
            finally:
                self.write_back()
                with suppress(ResourceExceeded):
                    self.keep_reserve()

    def write_back(self) -> None:
        """Move what is in the log to its place, which frees the log's room."""
        with self.changed, suppress(sqlite3.Error):  # what comes next tells whether there is room
            self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)")

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _full(self, why: str) -> ResourceExceeded:
        return ResourceExceeded(
            f"The outbox {self.path} cannot grow ({why}); {self._waiting()} events wait in it. Free space on its "
            "disk; nothing that was put is lost.",
            path=str(self.path),
            waiting=self._waiting(),
        )

    def _told(self, error: sqlite3.Error) -> EvidentError:
        name = getattr(error, "sqlite_errorname", "")
        if name in _FULL:
            return self._full(str(error))
        return EvidentError(
            f"The outbox {self.path} failed ({error}). Start the agent again: a damaged file is moved aside and what "
            "can be read of it is kept.",
            path=str(self.path),
        )


def _lock(path: Path, owner: str) -> IO[str]:
    """The lock that the kernel takes back when its process ends, however it ends; the file only says whose it is."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.with_name(path.name + ".lock").open("a+", encoding="utf-8")
    except OSError as error:
        raise ResourceExceeded(f"The folder of {path} cannot be written: {error}.", path=str(path)) from error
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        file.seek(0)
        holder = file.read().strip() or "another agent"
        file.close()
        raise Conflict(
            f"The outbox {path} is in use by {holder}, so agent {owner} cannot start. Stop the other one, or give this "
            "one an id and a data folder of its own.",
            path=str(path),
            holder=holder,
        ) from error
    with suppress(OSError):  # a full disk: the lock holds, and only does not say whose it is
        file.truncate(0)
        os.write(file.fileno(), f"agent {owner} (process {os.getpid()})\n".encode())
    return file
