"""The audit log: who did what to which thing and when, each line sealed by the hash of the one before.

A line that is changed, taken out or put in breaks the chain at that place, and `Audit.verify` tells where. Lines cut
off at the end leave no trace in the chain itself; who keeps the hash of the last line elsewhere finds that too.
"""

import hashlib
import json
from collections.abc import Iterator
from datetime import datetime
from typing import Any, Final

from flask import g, has_request_context
from sqlalchemy import select, text
from sqlalchemy.orm import Session

from evident_core.evidence import Frozen
from evident_core.web.store import Store
from evident_core.web.tables import AuditEntry, now

GENESIS: Final = "0" * 64
_LOCK: Final = 0x65766964  # PostgreSQL's advisory lock of the chain's end: "evid".


class Verdict(Frozen):
    """What `Audit.verify` found: how many lines hold, the last good hash, and the first line that does not."""

    lines: int
    head: str
    broken: int | None = None
    reason: str = ""

    @property
    def intact(self) -> bool:
        """Whether every line holds."""
        return self.broken is None


class Audit:
    """The log of one store. Lines are appended and read; nothing changes or removes one."""

    def __init__(self, store: Store) -> None:
        self._store = store

    def record(self, actor: str, action: str, subject: str = "", **details: Any) -> None:
        """Append a line of its own."""
        with self._store.session() as rows:
            self.append(rows, actor, action, subject, **details)

    def append(self, rows: Session, actor: str, action: str, subject: str = "", **details: Any) -> None:
        """Append a line in the transaction of the deed: both are kept, or neither.

        Args:
            rows: The open transaction.
            actor: Owner id of who did it.
            action: What was done, as ``thing.verb``.
            subject: Id of what it was done to.
            **details: More, JSON-serialisable; never contents of files and never keys.
        """
        _take_turn(rows)
        last = rows.scalars(select(AuditEntry).order_by(AuditEntry.number.desc()).limit(1)).first()
        entry = AuditEntry(
            number=last.number + 1 if last else 1,
            at=now(),
            actor=actor,
            action=action,
            subject=subject,
            request_id=g.get("request_id", "") if has_request_context() else "",
            details=json.loads(json.dumps(details)),
            previous=last.hash if last else GENESIS,
        )
        entry.hash = seal(entry)
        rows.add(entry)
        rows.flush()

    def lines(self, *, after: int = 0, subject: str | None = None, limit: int = 1000) -> tuple[AuditEntry, ...]:
        """Lines in their order, all or those about one thing."""
        query = select(AuditEntry).where(AuditEntry.number > after).order_by(AuditEntry.number).limit(limit)
        with self._store.reading() as rows:
            return tuple(rows.scalars(query if subject is None else query.where(AuditEntry.subject == subject)))

    def verify(self, expect: str | None = None) -> Verdict:
        """Read the whole chain again.

        Args:
            expect: Hash of a line that must be in the chain, kept elsewhere: tells whether the end was cut off.
        """
        number, previous, seen = 0, GENESIS, expect is None
        for entry in self._all():
            reason = _flaw(entry, number + 1, previous)
            if reason:
                return Verdict(lines=number, head=previous, broken=number + 1, reason=reason)
            number, previous = entry.number, entry.hash
            seen = seen or entry.hash == expect
        if not seen:
            return Verdict(
                lines=number, head=previous, broken=number + 1, reason="the expected line is no longer there"
            )
        return Verdict(lines=number, head=previous)

    def _all(self) -> Iterator[AuditEntry]:
        after = 0
        while page := self.lines(after=after):
            yield from page
            after = page[-1].number


def _flaw(entry: AuditEntry, number: int, previous: str) -> str:
    if entry.number != number:
        return f"line {number} is missing"
    if entry.previous != previous:
        return f"line {number} does not follow from the line before"
    if entry.hash != seal(entry):
        return f"line {number} was changed"
    return ""


def seal(entry: AuditEntry) -> str:
    """The hash of a line: SHA-256 over all its fields and the hash of the line before, as canonical JSON."""
    at: datetime = entry.at
    fields = [
        entry.number,
        at.isoformat(timespec="microseconds"),
        entry.actor,
        entry.action,
        entry.subject,
        entry.request_id,
        entry.details,
        entry.previous,
    ]
    canonical = json.dumps(fields, ensure_ascii=False, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _take_turn(rows: Session) -> None:
    """One writer at a time sees the end of the chain, until its transaction ends."""
    if rows.get_bind().dialect.name == "postgresql":
        rows.execute(text("SELECT pg_advisory_xact_lock(:lock)"), {"lock": _LOCK})
