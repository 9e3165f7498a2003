"""The audit log finds what was changed, and stays whole when many write at once."""

import multiprocessing
import threading
from pathlib import Path

import pytest
from sqlalchemy import delete, select, update

from evident_core.settings import Settings, load
from evident_core.web.audit import GENESIS, Audit
from evident_core.web.store import Store
from evident_core.web.tables import AuditEntry


@pytest.fixture(params=["sqlite", "postgres"])
def settings(tmp_path: Path, request: pytest.FixtureRequest) -> Settings:
    url = request.getfixturevalue("postgres") if request.param == "postgres" else ""
    return load(store={"data_dir": tmp_path, "url": url})


@pytest.fixture
def audit(settings: Settings):
    with Store(settings) as store:
        yield Audit(store)


def write(settings: Settings, writer: int, count: int) -> None:
    with Store(settings) as store:
        for number in range(count):
            Audit(store).record(f"writer-{writer}", "thing.do", str(number), size=number)


def test_an_empty_log_is_intact(audit):
    verdict = audit.verify()
    assert (verdict.intact, verdict.lines, verdict.head) == (True, 0, GENESIS)


def test_lines_follow_from_one_another(audit):
    for number in range(5):
        audit.record("local", "file.read", f"id-{number}", size=number, names=["年报.pdf"])
    lines = audit.lines()
    assert [line.number for line in lines] == [1, 2, 3, 4, 5]
    assert [line.previous for line in lines] == [GENESIS, *(line.hash for line in lines[:-1])]
    assert audit.verify().head == lines[-1].hash
    assert [line.subject for line in audit.lines(subject="id-3")] == ["id-3"]
    assert [line.number for line in audit.lines(after=2, limit=2)] == [3, 4]


CHANGES = {
    "details": {"details": {"size": 8}},
    "actor": {"actor": "somebody"},
    "action": {"action": "file.look"},
    "subject": {"subject": "other"},
    "request": {"request_id": "other"},
    "hash": {"hash": "f" * 64},
    "previous": {"previous": "f" * 64},
}


@pytest.mark.parametrize("change", CHANGES.values(), ids=CHANGES)
def test_a_changed_line_is_found(audit, settings, change):
    for number in range(5):
        audit.record("local", "file.read", f"id-{number}", size=number)
    with Store(settings) as store, store.session() as rows:
        rows.execute(update(AuditEntry).where(AuditEntry.number == 3).values(**change))
    verdict = audit.verify()
    assert (verdict.intact, verdict.broken, verdict.lines) == (False, 3, 2)
    assert "line 3" in verdict.reason


def test_a_line_taken_out_is_found(audit, settings):
    for _ in range(5):
        audit.record("local", "file.read")
    with Store(settings) as store, store.session() as rows:
        rows.execute(delete(AuditEntry).where(AuditEntry.number == 2))
    verdict = audit.verify()
    assert (verdict.broken, verdict.reason) == (2, "line 2 is missing")


def test_a_cut_end_is_found_by_who_kept_its_hash(audit, settings):
    for _ in range(5):
        audit.record("local", "file.read")
    head = audit.verify().head
    audit.record("local", "file.read")
    assert audit.verify(expect=head).intact
    with Store(settings) as store, store.session() as rows:
        rows.execute(delete(AuditEntry).where(AuditEntry.number >= 4))
    assert audit.verify().intact
    verdict = audit.verify(expect=head)
    assert (verdict.intact, verdict.broken) == (False, 4)


def test_a_line_is_kept_with_its_deed_or_not_at_all(audit, settings):
    def fail_after_the_line() -> None:
        with Store(settings) as store, store.session() as rows:
            audit.append(rows, "local", "file.delete", "x")
            raise RuntimeError

    with pytest.raises(RuntimeError):
        fail_after_the_line()
    assert audit.lines() == ()


@pytest.mark.slow
def test_many_writers_make_one_chain(audit, settings):
    """Threads and processes at once."""
    threads = [threading.Thread(target=write, args=(settings, number, 15)) for number in range(3)]
    processes = [multiprocessing.get_context("spawn").Process(target=write, args=(settings, 9, 15)) for _ in range(2)]
    for each in (*threads, *processes):
        each.start()
    for each in (*threads, *processes):
        each.join(60)
    assert [each.exitcode for each in processes] == [0, 0]
    verdict = audit.verify()
    assert (verdict.intact, verdict.lines) == (True, 75)


def test_long_logs_are_verified_to_the_end(audit, settings, monkeypatch):
    for _ in range(7):
        audit.record("local", "file.read")
    whole = Audit.lines
    monkeypatch.setattr(Audit, "lines", lambda self, **given: whole(self, **{**given, "limit": 3}))
    assert audit.verify().lines == 7
    with Store(settings) as store, store.session() as rows:
        last = rows.scalars(select(AuditEntry).where(AuditEntry.number == 7)).one()
        last.details = {"changed": True}
    assert audit.verify().broken == 7
