"""The store over a real PostgreSQL does what it does over SQLite."""

import threading
from collections.abc import Callable
from pathlib import Path

import pytest
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext

from evident_core.errors import Conflict, NotFound
from evident_core.settings import Settings, load
from evident_core.web.audit import Audit
from evident_core.web.store import Store
from evident_core.web.tables import Table


@pytest.fixture
def settings(tmp_path: Path, new_postgres: Callable[[], str]) -> Settings:
    return load(store={"data_dir": tmp_path, "url": new_postgres()})


def _at_once(count: int, work) -> list[BaseException]:
    failed: list[BaseException] = []

    def guarded(number: int) -> None:
        try:
            work(number)
        except Exception as error:
            failed.append(error)

    threads = [threading.Thread(target=guarded, args=(number,)) for number in range(count)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    return failed


def test_processes_that_start_together_migrate_once(settings):
    def start(_: int) -> None:
        with Store(settings) as store:
            store.ping()

    assert _at_once(6, start) == []
    with Store(settings) as store, store.engine.connect() as connection:
        assert store.revision() is not None
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []


def test_uploads_results_and_corrections(settings):
    with Store(settings) as store:
        upload = store.put_input("报告".encode(), name="报告.pdf", owner="me")
        assert upload.created.tzinfo is not None
        with store.session() as session:
            result = store.put_result(
                session, b"{}", owner="me", service="s", version="1", key="k", options={"a": 1}, input_ids=[upload.id]
            )
        assert store.result(result.id, "me").body == b"{}"
        assert _at_once(8, lambda n: store.revise(result.id, "me", {"n": n}, author="Li")) == []
        assert [each.number for each in store.revisions(result.id, "me")] == list(range(1, 9))
        refused = _at_once(4, lambda n: store.revise(result.id, "me", {"n": n}, author="Li", after=8))
        assert [type(error) for error in refused] == [Conflict] * 3
        store.delete_input(upload.id, "me")
        assert not store.input_path(upload).exists()
        with pytest.raises(NotFound):
            store.result(result.id, "me")


def test_the_same_content_is_uploaded_and_deleted_at_once(settings):
    with Store(settings) as store:

        def work(number: int) -> None:
            upload = store.put_input(b"same", name="a", owner="me")
            if number % 3 == 0:
                try:
                    store.delete_input(upload.id, "me")
                except NotFound:
                    return  # another was faster

        assert _at_once(20, work) == []
        rows = store.inputs("me")
        assert len(rows) <= 1
        assert [store.input_path(row).read_bytes() for row in rows] == [b"same"] * len(rows)


def test_the_audit_log_is_one_chain(settings):
    with Store(settings) as store:
        audit = Audit(store)
        assert _at_once(12, lambda n: audit.record("me", "thing.do", str(n))) == []
        verdict = audit.verify()
        assert (verdict.intact, verdict.lines) == (True, 12)
