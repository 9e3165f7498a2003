"""The store over SQLite: uploads whole or not at all, one owner each, results, corrections."""

import contextlib
import io
import os
import subprocess
import sys
import threading
import time
from pathlib import Path

import pytest
from sqlalchemy import text

from evident_core.errors import Conflict, InvalidInput, ModelNotReady, NotFound, TooLarge
from evident_core.settings import Settings, load
from evident_core.web.store import Store, result_key
from evident_core.web.tables import Input, Result, Table


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return load(store={"data_dir": tmp_path / "data"})


@pytest.fixture
def store(settings: Settings):
    with Store(settings) as opened:
        yield opened


def _files(store: Store) -> list[Path]:
    folders = (store.folder / "inputs", store.folder / "incoming")
    return [path for folder in folders for path in folder.rglob("*") if path.is_file()]


def _result(store: Store, upload: Input, key: str = "k") -> Result:
    with store.session() as session:
        return store.put_result(
            session, b"{}", owner=upload.owner, service="s", version="1", key=key, options={}, input_ids=[upload.id]
        )


def test_an_upload_is_kept_under_its_hash(store):
    upload = store.put_input(io.BytesIO(b"abc" * 10**6), name="报告.pdf", owner="me", media_type="application/pdf")
    assert (upload.size, upload.name) == (3 * 10**6, "报告.pdf")
    path = store.input_path(upload)
    assert path.name == upload.sha256
    assert path.read_bytes() == b"abc" * 10**6
    assert store.input(upload.id, "me").sha256 == upload.sha256
    assert store.inputs("me")[0].id == upload.id


@pytest.mark.parametrize(
    ("given", "shown"),
    [
        ("../../etc/passwd", "passwd"),
        ("C:\\Users\\me\\a.pdf", "a.pdf"),
        ("a\x00b\n.pdf", "ab.pdf"),
        ("/", "unnamed"),
        ("", "unnamed"),
        ("x" * 500, "x" * 255),
    ],
)
def test_a_name_is_shown_and_never_a_path(store, given, shown):
    assert store.put_input(b"abc", name=given, owner="me").name == shown


def test_the_same_content_is_the_same_upload_of_its_owner(store):
    first, second = (store.put_input(b"abc", name=name, owner="me") for name in ("a", "b"))
    assert first.id == second.id
    assert store.input(first.id, "me").name == "b"
    other = store.put_input(b"abc", name="a", owner="you")
    assert other.id != first.id
    store.delete_input(first.id, "me")
    assert store.input_path(other).read_bytes() == b"abc"


def test_too_large_an_upload_leaves_nothing(store):
    with pytest.raises(TooLarge, match="more than 1 MiB"):
        store.put_input(bytes((1 << 20) + 1), name="a", owner="me", max_bytes=1 << 20)
    assert store.inputs("me") == []
    assert _files(store) == []


def test_a_broken_connection_leaves_nothing(store):
    class Broken(io.RawIOBase):
        def read(self, size: int = -1) -> bytes:
            raise ConnectionResetError

    with pytest.raises(ConnectionResetError):
        store.put_input(Broken(), name="a", owner="me")
    assert store.inputs("me") == []
    assert _files(store) == []


def test_twenty_threads_upload_and_delete_the_same_content(store):
    def work() -> None:
        upload = store.put_input(b"same", name="a", owner="me")
        if threading.current_thread().name.endswith(("1", "4", "7")):
            with contextlib.suppress(NotFound):  # another may be faster
                store.delete_input(upload.id, "me")

    threads = [threading.Thread(target=work, name=f"t{number}") for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    rows = store.inputs("me")
    assert len(rows) <= 1
    assert [store.input_path(row).read_bytes() for row in rows] == [b"same"] * len(rows)
    assert len(_files(store)) == len(rows)


def test_what_a_killed_process_left_is_tidied(store, settings):
    script = (
        "import os, sys\nfrom evident_core.settings import load\nfrom evident_core.web.store import Store\n"
        "class Stream:\n    def read(self, size):\n        os.kill(os.getpid(), 9)\n"
        f"Store(load(store={{'data_dir': {str(store.folder)!r}}})).put_input(Stream(), name='a', owner='me')\n"
    )
    killed = subprocess.run([sys.executable, "-c", script], check=False)
    assert killed.returncode == -9
    [left] = store.folder.glob("incoming/*")
    assert store.tidy() == 0, "it may still be coming in"
    long_ago = time.time() - 7200
    os.utime(left, (long_ago, long_ago))
    kept = store.put_input(b"abc", name="a", owner="me")
    os.utime(store.input_path(kept), (long_ago, long_ago))
    assert store.tidy() == 1
    assert store.input_path(kept).exists()


def test_nobody_finds_what_is_another_s(store):
    upload = store.put_input(b"abc", name="a", owner="me")
    result = _result(store, upload)
    for look in (
        lambda: store.input(upload.id, "you"),
        lambda: store.delete_input(upload.id, "you"),
        lambda: store.result(result.id, "you"),
        lambda: store.result_inputs(result.id, "you"),
        lambda: store.revise(result.id, "you", {}, author="you"),
        lambda: store.revisions(result.id, "you"),
    ):
        with pytest.raises(NotFound, match="may have been deleted"):
            look()
    assert store.find_result("you", "k") is None


def test_a_result_is_found_by_all_that_decides_it(store):
    upload = store.put_input(b"abc", name="a", owner="me")
    key = result_key("s", "1", [upload.sha256], {"b": 1, "a": 2})
    assert key == result_key("s", "1", [upload.sha256], {"a": 2, "b": 1})
    others = {
        result_key("t", "1", [upload.sha256], {"a": 2, "b": 1}),
        result_key("s", "2", [upload.sha256], {"a": 2, "b": 1}),
        result_key("s", "1", [upload.sha256, "0"], {"a": 2, "b": 1}),
        result_key("s", "1", [upload.sha256], {"a": 2}),
    }
    assert key not in others
    assert len(others) == 4
    result = _result(store, upload, key)
    assert _result(store, upload, key).id == result.id
    assert store.find_result("me", key).id == result.id
    assert store.result(result.id, "me").body == b"{}"
    assert [each.id for each in store.results("me", "s")] == [result.id]
    assert store.results("me", "t") == []


def test_corrections_are_appended_and_seen_by_who_comes_late(store):
    result = _result(store, store.put_input(b"abc", name="a", owner="me"))
    assert store.revise(result.id, "me", {"fact": "revenue"}, author="Li", reason="typo", after=0).number == 1
    with pytest.raises(Conflict, match="Correction 1 came in after the one you saw"):
        store.revise(result.id, "me", {"fact": "assets"}, author="Wang", after=0)
    assert store.revise(result.id, "me", {"fact": "assets"}, author="Wang", after=1).number == 2
    kept = [(each.number, each.author, each.reason, each.change) for each in store.revisions(result.id, "me")]
    assert kept == [(1, "Li", "typo", {"fact": "revenue"}), (2, "Wang", "", {"fact": "assets"})]


def test_corrections_at_once_are_all_kept(store):
    result = _result(store, store.put_input(b"abc", name="a", owner="me"))
    threads = [
        threading.Thread(target=store.revise, args=(result.id, "me", {"n": n}), kwargs={"author": "Li"})
        for n in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(each.change["n"] for each in store.revisions(result.id, "me")) == list(range(8))


def test_deleting_a_file_removes_all_that_came_of_it(store):
    upload = store.put_input(b"abc", name="a", owner="me")
    kept = store.put_input(b"other", name="b", owner="me")
    result, other = _result(store, upload), _result(store, kept, "other")
    store.revise(result.id, "me", {}, author="Li")
    store.delete_input(upload.id, "me")
    for look in (lambda: store.input(upload.id, "me"), lambda: store.result(result.id, "me")):
        with pytest.raises(NotFound):
            look()
    assert _files(store) == [store.input_path(kept)]
    assert store.result(other.id, "me").id == other.id
    with store.reading() as session:
        counts = {name: session.scalar(text(f"select count(*) from {name}")) for name in ("revisions", "result_inputs")}
    assert counts == {"revisions": 0, "result_inputs": 1}


def test_what_is_deleted_is_overwritten(store):
    upload = store.put_input(b"%PDF of nobody's business", name="confidential.pdf", owner="me")
    with store.session() as session:
        body = b'{"what": "a report, unheard of elsewhere"}' * 1000
        store.put_result(
            session, body, owner="me", service="s", version="1", key="k", options={}, input_ids=[upload.id]
        )

    def everything() -> bytes:
        return b"".join(path.read_bytes() for path in store.folder.rglob("*") if path.is_file())

    for words in (b"confidential.pdf", b"nobody's business", b"unheard of"):
        assert words in everything()
    store.delete_input(upload.id, "me")
    for words in (b"confidential.pdf", b"nobody's business", b"unheard of"):
        assert words not in everything()


def test_a_failed_transaction_keeps_nothing(store):
    upload = store.put_input(b"abc", name="a", owner="me")

    def fail() -> None:
        with store.session() as session:
            store.delete_input_in(session, upload.id, "me")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        fail()
    assert store.input(upload.id, "me").id == upload.id
    assert store.input_path(upload).read_bytes() == b"abc"
    assert _files(store) == [store.input_path(upload)]


def test_the_secret_key_is_made_once_and_is_the_owner_s_alone(settings):
    found: list[bytes] = []

    def look() -> None:
        with Store(settings) as store:
            found.append(store.secret_key())

    threads = [threading.Thread(target=look) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 6
    assert len(set(found)) == 1
    path = settings.store.data_dir / "secret.key"
    assert path.stat().st_mode & 0o077 == 0
    assert list(settings.store.data_dir.glob("secret.*")) == [path]


def test_the_migrations_make_exactly_the_tables(store):
    from alembic.autogenerate import compare_metadata
    from alembic.runtime.migration import MigrationContext

    with store.engine.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True})
        assert compare_metadata(context, Table.metadata) == []


def test_tables_of_a_newer_version_are_left_alone(store, settings):
    with store.session() as session:
        session.execute(text("update alembic_version set version_num = '9999'"))
    with pytest.raises(Conflict, match="newer Evident"):
        Store(settings)


@pytest.mark.parametrize(
    ("url", "error", "message"),
    [
        ("no url", InvalidInput, "not a database URL"),
        ("mysql://host/db", InvalidInput, "mysql"),
        ("sqlite://", InvalidInput, "in memory"),
        ("sqlite:////proc/none/e.sqlite3", ModelNotReady, "cannot be used"),
        (
            "postgresql://u:hush@127.0.0.1:1/db",
            ModelNotReady,
            "postgresql+psycopg://u:***@127.0.0.1:1/db cannot be used",
        ),
    ],
)
def test_a_database_that_cannot_be_used_is_said_so(tmp_path, url, error, message):
    with pytest.raises(error) as caught:
        Store(load(store={"data_dir": tmp_path, "url": url}))
    assert message in caught.value.message
    assert "hush" not in caught.value.message
