"""Queued work with real worker processes, which are killed, over SQLite, Redis and PostgreSQL."""

import hashlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from evident_core.errors import Conflict, InvalidInput, ModelNotReady, NotFound, TooMany
from evident_core.settings import Settings, load
from evident_core.web.job_rows import JobView
from evident_core.web.jobs import Jobs, Task
from evident_core.web.server import EmbeddedWorker
from evident_core.web.store import Store
from evident_core.web.tables import Table

FUNCTIONS = str(Path(__file__).parents[1] / "unit")
COUNT = Task("specimen", "1", "backstage_functions:count_bytes")
FAIL = Task("specimen", "1", "backstage_functions:fail_at_work")


KINDS = ("sqlite", "redis and postgresql")


def _settings(kind: str, folder: Path, request: pytest.FixtureRequest, **jobs: Any) -> Settings:
    """Settings over a kind of queue and store."""
    store: dict[str, Any] = {"data_dir": folder}
    if kind != "sqlite":
        jobs["url"] = request.getfixturevalue("redis_server")
        store["url"] = request.getfixturevalue("new_postgres")()
    return load(store=store, jobs=jobs)


@pytest.fixture(scope="module", autouse=True)
def _importable() -> Iterator[None]:
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(FUNCTIONS)
        yield


@pytest.fixture(scope="module", params=KINDS)
def working(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory, _importable: None
) -> Iterator[Jobs]:
    """A queue of each kind with a worker; the tests share it, each as an owner of its own."""
    settings = _settings(request.param, tmp_path_factory.mktemp("working"), request)
    with Store(settings) as store, Jobs(store, settings) as jobs, EmbeddedWorker(settings):
        yield jobs


@pytest.fixture(params=KINDS)
def lonely(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Jobs]:
    """A queue of each kind without a worker; a job is lost after a second."""
    settings = _settings(request.param, tmp_path, request, lease_seconds=1, max_queued=3, max_queued_per_owner=2)
    with Store(settings) as store, Jobs(store, settings) as jobs:
        yield jobs


@pytest.fixture
def me(request: pytest.FixtureRequest) -> str:
    """The owner that this test is."""
    return hashlib.sha256(request.node.nodeid.encode()).hexdigest()[:32]


def _put(jobs: Jobs, owner: str, data: bytes = b"abc", name: str = "a.pdf") -> str:
    return jobs.store.put_input(data, name=name, owner=owner).id


def _ended(jobs: Jobs, job: JobView, owner: str, seconds: float = 120) -> JobView:
    for _ in jobs.follow(job.id, owner, seconds=seconds):
        pass
    return jobs.get(job.id, owner)


def _until(condition: Callable[[], bool]) -> None:
    for _ in range(2400):
        if condition():
            return
        time.sleep(0.05)
    raise TimeoutError


def _states(jobs: Jobs, job: JobView, owner: str) -> list[str]:
    return [event.data["state"] for event in jobs.events(job.id, owner) if event.kind == "state"]


def test_a_job_is_done_and_its_result_kept(working, me):
    job = working.submit(COUNT, [_put(working, me), _put(working, me, b"four", "b.pdf")], owner=me)
    done = _ended(working, job, me)
    assert (done.state, done.attempts, done.error) == ("done", 1, None)
    assert json.loads(working.store.result(done.result_id, me).body) == {"sizes": [3, 4], "opened": False}
    assert _states(working, job, me) == ["queued", "running", "done"]
    told = [event.data for event in working.events(job.id, me) if event.kind == "progress"]
    assert [each["stage"] for each in told] == ["ingest", "perceive"]
    assert told[1]["partial"] == {"first": "a.pdf"}
    assert [each.id for each in working.store.result_inputs(done.result_id, me)] == list(done.input_ids)

    again = working.submit(COUNT, list(done.input_ids), owner=me)
    assert (again.id, again.state) == (job.id, "done")

    failed = _ended(working, working.submit(FAIL, list(done.input_ids)[:1], owner=me), me)
    assert (failed.state, failed.error["status"]) == ("failed", 500)
    assert "defect" in failed.error["message"]
    assert "ZeroDivision" not in json.dumps(failed.error)


@pytest.mark.parametrize("kind", KINDS)
def test_killed_workers_lose_and_double_nothing(kind, tmp_path, request, me):
    log = tmp_path / "begun"
    settings = _settings(kind, tmp_path, request, lease_seconds=4, max_attempts=2)
    with Store(settings) as store, Jobs(store, settings) as jobs, EmbeddedWorker(settings) as worker:
        fatal = jobs.submit(COUNT, [_put(jobs, me)], owner=me, options={"slow": 600, "log": str(log)})
        unlucky = jobs.submit(COUNT, [_put(jobs, me, b"b", "b.pdf")], owner=me, options={"slow": 3, "log": str(log)})
        others = [
            jobs.submit(COUNT, [_put(jobs, me, bytes([n]), f"{n}.pdf")], owner=me, options={"log": str(log)})
            for n in range(4)
        ]
        _until(lambda: log.exists() and {"a.pdf", "b.pdf"} <= set(log.read_text().split()))
        killed = worker.process
        os.kill(killed.pid, signal.SIGKILL)
        assert {_ended(jobs, each, me).state for each in (unlucky, *others)} == {"done"}
        assert worker.process is not killed
        _until(lambda: log.read_text().split().count("a.pdf") == 2)
        os.kill(worker.process.pid, signal.SIGKILL)
        failed = _ended(jobs, fatal, me)

        assert (failed.state, failed.attempts) == ("failed", 2)
        assert "The worker was lost 2 times" in failed.error["message"]
        assert _states(jobs, unlucky, me) == ["queued", "running", "queued", "running", "done"]
        assert [_states(jobs, each, me).count("done") for each in (unlucky, *others)] == [1] * 5
        assert len(store.results(me, "specimen")) == 5
    assert log.read_text().split().count("a.pdf") == 2


def test_twenty_uploads_at_once(working, me):
    found: list[JobView] = []

    def upload(number: int) -> None:
        found.append(working.submit(COUNT, [_put(working, me, bytes(1 + number % 10), f"{number}.pdf")], owner=me))

    threads = [threading.Thread(target=upload, args=(number,)) for number in range(20)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(found) == 20
    assert len({job.id for job in found}) == 10, "the same content is the same job"
    assert {_ended(working, job, me).state for job in found} == {"done"}
    assert len(working.store.results(me, "specimen")) == 10
    assert {_states(working, job, me).count("done") for job in found} == {1}


def test_cancelling_a_job_that_runs(working, me):
    running = working.submit(COUNT, [_put(working, me)], owner=me, options={"slow": 600})
    _until(lambda: working.get(running.id, me).state == "running")
    assert working.cancel(running.id, me).state == "cancelled"
    with pytest.raises(Conflict, match="cancelled already"):
        working.cancel(running.id, me)
    _assert_all_hands_are_free(working, me)
    assert working.get(running.id, me).state == "cancelled"
    assert working.submit(COUNT, [_put(working, me)], owner=me).id != running.id


def test_deleting_an_input_ends_and_removes_all_that_came_of_it(working, me):
    upload = working.store.put_input(b"abc", name="a.pdf", owner=me)
    done = _ended(working, working.submit(COUNT, [upload.id], owner=me), me)
    running = working.submit(COUNT, [upload.id], owner=me, options={"slow": 600})
    _until(lambda: working.get(running.id, me).state == "running")
    working.store.delete_input(upload.id, me)
    for job in (done, running):
        with pytest.raises(NotFound):
            working.get(job.id, me)
    with pytest.raises(NotFound):
        working.store.result(done.result_id, me)
    assert not working.store.input_path(upload).exists()
    _assert_all_hands_are_free(working, me)


def _assert_all_hands_are_free(jobs: Jobs, owner: str) -> None:
    """Both threads of the worker work at the same time: were one still busy, the second job would wait for minutes."""
    pair = [jobs.submit(COUNT, [_put(jobs, owner, n)], owner=owner, options={"slow": 1}) for n in (b"x", b"yy")]
    assert {_ended(jobs, each, owner, seconds=60).state for each in pair} == {"done"}
    first, second = (jobs.get(each.id, owner) for each in pair)
    assert second.started < first.finished


def test_a_wrong_password_is_told_and_forgotten(working, me):
    upload = _put(working, me)
    wrong = _ended(working, working.submit(COUNT, [upload], owner=me, secrets={"password": "wrong"}), me)
    assert (wrong.state, wrong.error["code"]) == ("failed", "password_needed")
    right = _ended(working, working.submit(COUNT, [upload], owner=me, secrets={"password": "opensesame"}), me)
    assert json.loads(working.store.result(right.result_id, me).body)["opened"] is True
    assert b"opensesame" not in _all_rows(working)


def test_a_command_of_its_own_works_and_gives_its_job_back_when_stopped(tmp_path, me):
    settings = load(store={"data_dir": tmp_path})
    environment = {**os.environ, "PYTHONPATH": FUNCTIONS, "EVIDENT_STORE__DATA_DIR": str(tmp_path)}
    command = [sys.executable, "-c", "from evident_core.cli import main; main()", "worker", "--workers", "1"]
    with Store(settings) as store, Jobs(store, settings) as jobs:
        quick = jobs.submit(COUNT, [_put(jobs, me)], owner=me)
        slow = jobs.submit(COUNT, [_put(jobs, me)], owner=me, options={"slow": 600})
        with subprocess.Popen(command, env=environment) as process:
            assert _ended(jobs, quick, me).state == "done"
            _until(lambda: jobs.get(slow.id, me).state == "running")
            process.send_signal(signal.SIGTERM)
        assert process.returncode == 0
        given_back = jobs.get(slow.id, me)
        assert (given_back.state, given_back.attempts) == ("queued", 0)


def test_a_job_that_waits_can_be_cancelled(lonely):
    waiting = lonely.submit(COUNT, [_put(lonely, "me")], owner="me")
    assert lonely.cancel(waiting.id, "me").state == "cancelled"
    assert _states(lonely, waiting, "me") == ["queued", "cancelled"]
    assert list(lonely.follow(waiting.id, "me"))[-1].data == {"state": "cancelled"}


def test_a_message_that_the_queue_lost_is_sent_again_once(lonely):
    lonely.submit(COUNT, [_put(lonely, "me")], owner="me")
    lonely.huey.flush()
    lonely.sweep()
    assert lonely.huey.pending_count() == 0, "its worker may have it in hand"
    time.sleep(1.1)
    lonely.sweep()
    lonely.sweep()
    assert lonely.huey.pending_count() == 1
    time.sleep(1.1)
    lonely.sweep()
    assert lonely.huey.pending_count() == 1, "the message is there: another is not needed"


def test_the_queue_is_bounded_and_each_owner_has_a_share(lonely):
    for n in (1, 2):
        lonely.submit(COUNT, [_put(lonely, "me", bytes(n))], owner="me")
    with pytest.raises(TooMany, match="2 of your jobs"):
        lonely.submit(COUNT, [_put(lonely, "me", bytes(3))], owner="me")
    lonely.submit(COUNT, [_put(lonely, "you")], owner="you")
    with pytest.raises(TooMany, match="3 jobs wait"):
        lonely.submit(COUNT, [_put(lonely, "you", bytes(2))], owner="you")
    assert lonely.depth() == 3
    assert [job.ahead for job in lonely.list("me", "specimen")] == [1, 0]


def test_nobody_sees_or_uses_what_is_another_s(lonely):
    mine = _put(lonely, "me")
    job = lonely.submit(COUNT, [mine], owner="me")
    for forbidden in (
        lambda: lonely.get(job.id, "you"),
        lambda: lonely.cancel(job.id, "you"),
        lambda: lonely.events(job.id, "you"),
        lambda: lonely.submit(COUNT, [mine], owner="you"),
    ):
        with pytest.raises(NotFound):
            forbidden()
    assert lonely.list("you", "specimen") == ()


def test_what_is_no_queue_is_refused(tmp_path):
    for url, error in (("amqp://host", InvalidInput), ("redis://127.0.0.1:1/0", ModelNotReady)):
        settings = load(store={"data_dir": tmp_path}, jobs={"url": url})
        with Store(settings) as store, pytest.raises(error), Jobs(store, settings) as jobs:
            jobs.ping()


def test_a_silent_queue_loses_no_job(tmp_path):
    silent = load(store={"data_dir": tmp_path}, jobs={"url": "redis://127.0.0.1:1/0", "lease_seconds": 0.1})
    with Store(silent) as store, Jobs(store, silent) as jobs:
        job = jobs.submit(COUNT, [_put(jobs, "me")], owner="me")
        time.sleep(0.2)
        jobs.sweep()
        assert jobs.get(job.id, "me").state == "queued"
    answering = load(store={"data_dir": tmp_path}, jobs={"lease_seconds": 0.1})
    with Store(answering) as store, Jobs(store, answering) as jobs:
        time.sleep(0.2)
        jobs.sweep()
        assert jobs.huey.pending_count() == 1


def _all_rows(jobs: Jobs) -> bytes:
    with jobs.store.reading() as session:
        found = [session.execute(table.select()).all() for table in Table.metadata.sorted_tables]
    return repr(found).encode()
