"""Queued work with real worker processes, which are killed, over SQLite, Redis and PostgreSQL."""

import importlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
from evident_core.errors import Conflict, InvalidInput, ModelNotReady, NotFound, TooMany
from evident_core.settings import Settings, load
from evident_core.web.jobs import Jobs, JobView, Task
from evident_core.web.server import EmbeddedWorker
from evident_core.web.store import Store

FUNCTIONS = str(Path(__file__).parents[1] / "unit")
COUNT = Task("specimen", "1", "backstage_functions:count_bytes")
FAIL = Task("specimen", "1", "backstage_functions:fail_at_work")


everywhere = pytest.mark.parametrize("settings", ["sqlite", "redis", "redis and postgresql"], indirect=True)


@pytest.fixture
def settings(request: pytest.FixtureRequest, tmp_path: Path) -> Settings:
    """Settings over each kind of queue and store, SQLite by default; a lost worker is noticed after four seconds."""
    kind = getattr(request, "param", "sqlite")
    jobs: dict[str, Any] = {"lease_seconds": 4, "max_attempts": 2}
    store: dict[str, Any] = {"data_dir": tmp_path}
    if "redis" in kind:
        jobs["url"] = request.getfixturevalue("redis_server")
    if "postgresql" in kind:
        store["url"] = request.getfixturevalue("postgres")
    return load(store=store, jobs=jobs)


@pytest.fixture(autouse=True)
def _importable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(FUNCTIONS)


@pytest.fixture
def jobs(settings: Settings) -> Iterator[Jobs]:
    with Store(settings) as store, Jobs(store, settings) as opened:
        yield opened


def _put(jobs: Jobs, data: bytes = b"abc", name: str = "a.pdf", owner: str = "me") -> str:
    return jobs.store.put_input(data, name=name, owner=owner).id


def _ended(jobs: Jobs, job: JobView, owner: str = "me", seconds: float = 60) -> JobView:
    for _ in jobs.follow(job.id, owner, seconds=seconds):
        pass
    return jobs.get(job.id, owner)


def _await_state(jobs: Jobs, job: JobView, state: str) -> JobView:
    for _ in range(600):
        if (found := jobs.get(job.id, "me")).state == state:
            return found
        time.sleep(0.05)
    raise TimeoutError(f"the job is {found.state}, not {state}")


def _states(jobs: Jobs, job: JobView) -> list[str]:
    return [event.data["state"] for event in jobs.events(job.id, "me") if event.kind == "state"]


@everywhere
def test_a_job_is_done_and_its_result_kept(jobs, settings):
    with EmbeddedWorker(settings):
        job = jobs.submit(COUNT, [_put(jobs), _put(jobs, b"four", "b.pdf")], owner="me")
        done = _ended(jobs, job)
        assert (done.state, done.attempts, done.error) == ("done", 1, None)
        assert json.loads(jobs.store.result(done.result_id, "me").body) == {"sizes": [3, 4], "opened": False}
        assert _states(jobs, job) == ["queued", "running", "done"]
        told = [event.data for event in jobs.events(job.id, "me") if event.kind == "progress"]
        assert [each["stage"] for each in told] == ["ingest", "perceive"]
        assert told[1]["partial"] == {"first": "a.pdf"}
        assert [each.id for each in jobs.store.result_inputs(done.result_id, "me")] == list(done.input_ids)

        again = jobs.submit(COUNT, list(done.input_ids), owner="me")
        assert (again.id, again.state) == (job.id, "done")

        failed = _ended(jobs, jobs.submit(FAIL, list(done.input_ids)[:1], owner="me"))
        assert (failed.state, failed.error["status"]) == ("failed", 500)
        assert "defect" in failed.error["message"]
        assert "ZeroDivision" not in json.dumps(failed.error)


@everywhere
def test_a_killed_worker_loses_and_doubles_nothing(jobs, settings, tmp_path):
    log = tmp_path / "begun"
    with EmbeddedWorker(settings) as worker:
        job = jobs.submit(COUNT, [_put(jobs)], owner="me", options={"slow": 3, "log": str(log)})
        waiting = [
            jobs.submit(COUNT, [_put(jobs, bytes([n]), f"{n}.pdf")], owner="me", options={"log": str(log)})
            for n in range(6)
        ]
        _until(lambda: log.exists() and "a.pdf" in log.read_text())
        killed = worker.process
        os.kill(killed.pid, signal.SIGKILL)
        assert _ended(jobs, job).state == "done"
        assert all(_ended(jobs, each).state == "done" for each in waiting)
        assert worker.process is not killed
    assert _states(jobs, job) == ["queued", "running", "queued", "running", "done"]
    assert len(jobs.store.results("me", "specimen")) == 7
    begun = log.read_text().splitlines()
    assert begun.count("a.pdf") == 2
    assert all(f"{n}.pdf" in begun for n in range(6))


def test_a_job_that_kills_its_workers_is_reported_failed(jobs, settings):
    with EmbeddedWorker(settings) as worker:
        job = jobs.submit(COUNT, [_put(jobs)], owner="me", options={"slow": 60})
        for attempt in (1, 2):
            _until(lambda: (now := jobs.get(job.id, "me")).state == "running" and now.attempts == attempt)  # noqa: B023
            os.kill(worker.process.pid, signal.SIGKILL)
        failed = _ended(jobs, job)
    assert (failed.state, failed.attempts) == ("failed", 2)
    assert "The worker was lost 2 times" in failed.error["message"]


@everywhere
def test_a_message_that_the_queue_lost_is_sent_again(jobs, settings):
    job = jobs.submit(COUNT, [_put(jobs)], owner="me")
    jobs.huey.flush()
    with EmbeddedWorker(settings):
        assert _ended(jobs, job).state == "done"
    assert _states(jobs, job) == ["queued", "running", "done"]


@everywhere
def test_twenty_uploads_at_once(jobs, settings):
    found: list[JobView] = []

    def upload(number: int) -> None:
        found.append(jobs.submit(COUNT, [_put(jobs, bytes(1 + number % 10), f"{number}.pdf")], owner="me"))

    with EmbeddedWorker(settings):
        threads = [threading.Thread(target=upload, args=(number,)) for number in range(20)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert len(found) == 20
        assert len({job.id for job in found}) == 10, "the same content is the same job"
        assert {_ended(jobs, job).state for job in found} == {"done"}
    assert len(jobs.store.results("me", "specimen")) == 10
    assert {_states(jobs, job).count("done") for job in found} == {1}


@everywhere
def test_cancelling_while_it_waits_and_while_it_runs(jobs, settings):
    waiting = jobs.submit(COUNT, [_put(jobs)], owner="me")
    assert jobs.cancel(waiting.id, "me").state == "cancelled"
    with EmbeddedWorker(settings):
        running = jobs.submit(COUNT, [_put(jobs)], owner="me", options={"slow": 600})
        assert running.id != waiting.id
        _await_state(jobs, running, "running")
        jobs.cancel(running.id, "me")
        with pytest.raises(Conflict, match="cancelled already"):
            jobs.cancel(running.id, "me")
        # The only worker threads are free again at once: otherwise these two would wait for ten minutes.
        others = [jobs.submit(COUNT, [_put(jobs, name.encode())], owner="me") for name in ("x", "yy")]
        assert {_ended(jobs, each).state for each in others} == {"done"}
        assert jobs.get(running.id, "me").state == "cancelled"
        assert jobs.get(waiting.id, "me").state == "cancelled"


def test_a_stopped_worker_gives_its_job_back(jobs, settings):
    with EmbeddedWorker(settings):
        job = jobs.submit(COUNT, [_put(jobs)], owner="me", options={"slow": 2})
        _await_state(jobs, job, "running")
    assert (jobs.get(job.id, "me").state, jobs.get(job.id, "me").attempts) == ("queued", 0)
    with EmbeddedWorker(settings):
        assert _ended(jobs, job).state == "done"


def test_deleting_an_input_ends_and_removes_all_that_came_of_it(jobs, settings):
    with EmbeddedWorker(settings):
        upload = jobs.store.put_input(b"abc", name="a.pdf", owner="me")
        done = _ended(jobs, jobs.submit(COUNT, [upload.id], owner="me"))
        running = jobs.submit(COUNT, [upload.id], owner="me", options={"slow": 600})
        _await_state(jobs, running, "running")
        jobs.store.delete_input(upload.id, "me")
        for job in (done, running):
            with pytest.raises(NotFound):
                jobs.get(job.id, "me")
        with pytest.raises(NotFound):
            jobs.store.result(done.result_id, "me")
        assert not jobs.store.input_path(upload).exists()
        others = [jobs.submit(COUNT, [_put(jobs, name.encode())], owner="me") for name in ("x", "yy")]
        assert {_ended(jobs, each).state for each in others} == {"done"}


def test_a_wrong_password_is_told_and_forgotten(jobs, settings):
    with EmbeddedWorker(settings):
        upload = _put(jobs)
        wrong = _ended(jobs, jobs.submit(COUNT, [upload], owner="me", secrets={"password": "wrong"}))
        assert (wrong.state, wrong.error["code"]) == ("failed", "password_needed")
        right = _ended(jobs, jobs.submit(COUNT, [upload], owner="me", secrets={"password": "right"}))
        assert json.loads(jobs.store.result(right.result_id, "me").body)["opened"] is True
    assert b"right" not in _all_rows(jobs)


def test_the_queue_is_bounded_and_each_owner_has_a_share(settings):
    tight = load(
        store=settings.store.model_dump(),
        jobs={**settings.jobs.model_dump(), "max_queued": 3, "max_queued_per_owner": 2},
    )
    with Store(tight) as store, Jobs(store, tight) as jobs:
        for n in (1, 2):
            jobs.submit(COUNT, [_put(jobs, bytes(n))], owner="me")
        with pytest.raises(TooMany, match="2 of your jobs"):
            jobs.submit(COUNT, [_put(jobs, bytes(3))], owner="me")
        jobs.submit(COUNT, [_put(jobs, bytes(1), owner="you")], owner="you")
        with pytest.raises(TooMany, match="3 jobs wait"):
            jobs.submit(COUNT, [_put(jobs, bytes(2), owner="you")], owner="you")
        assert jobs.depth() == 3
        assert [job.ahead for job in jobs.list("me", "specimen")] == [1, 0]


def test_nobody_sees_or_uses_what_is_another_s(jobs):
    mine = _put(jobs)
    job = jobs.submit(COUNT, [mine], owner="me")
    for forbidden in (
        lambda: jobs.get(job.id, "you"),
        lambda: jobs.cancel(job.id, "you"),
        lambda: jobs.events(job.id, "you"),
        lambda: jobs.submit(COUNT, [mine], owner="you"),
    ):
        with pytest.raises(NotFound):
            forbidden()
    assert jobs.list("you", "specimen") == ()


def test_a_command_of_its_own_works_too(jobs, settings):
    job = jobs.submit(COUNT, [_put(jobs)], owner="me")
    with _worker_command(settings) as process:
        assert _ended(jobs, job).state == "done"
    assert process.returncode == 0


def test_what_is_no_queue_is_refused(tmp_path):
    for url, error in (("amqp://host", InvalidInput), ("redis://127.0.0.1:1/0", ModelNotReady)):
        settings = load(store={"data_dir": tmp_path}, jobs={"url": url})
        with Store(settings) as store, pytest.raises(error), Jobs(store, settings) as jobs:
            jobs.ping()


def test_a_silent_queue_loses_no_job(tmp_path):
    settings = load(store={"data_dir": tmp_path}, jobs={"url": "redis://127.0.0.1:1/0", "lease_seconds": 1})
    with Store(settings) as store, Jobs(store, settings) as jobs:
        job = jobs.submit(COUNT, [_put(jobs)], owner="me")
        assert job.state == "queued"
    settings = load(store={"data_dir": tmp_path}, jobs={"lease_seconds": 1})
    with Store(settings) as store, Jobs(store, settings) as jobs, EmbeddedWorker(settings):
        assert _ended(jobs, job).state == "done"


@contextmanager
def _worker_command(settings: Settings) -> Iterator[subprocess.Popen[bytes]]:
    environment = {
        **os.environ,
        "PYTHONPATH": FUNCTIONS,
        "EVIDENT_STORE__DATA_DIR": str(settings.store.data_dir),
        "EVIDENT_STORE__URL": settings.store.url.get_secret_value(),
        "EVIDENT_JOBS__URL": settings.jobs.url.get_secret_value(),
    }
    command = [sys.executable, "-c", "from evident_core.cli import main; main()", "worker", "--workers", "1"]
    with subprocess.Popen(command, env=environment) as process:
        yield process
        process.send_signal(signal.SIGTERM)


def _until(condition) -> None:
    for _ in range(600):
        if condition():
            return
        time.sleep(0.05)
    raise TimeoutError


def _all_rows(jobs: Jobs) -> bytes:
    tables = importlib.import_module("evident_core.web.tables")
    with jobs.store.reading() as session:
        found = [session.execute(table.select()).all() for table in tables.Table.metadata.sorted_tables]
    return repr(found).encode()
