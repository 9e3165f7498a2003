"""One command serves pages and does the work, and leaves nothing running behind it."""

import json
import os
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

PROGRAM = Path(__file__).parents[1] / "unit" / "counting_service.py"


@pytest.fixture
def server(tmp_path: Path) -> Iterator[tuple[subprocess.Popen[str], str]]:
    """A server process that is ready, and its address."""
    # A session of its own, as a terminal's: what is sent to the server is not sent to the tests.
    with subprocess.Popen(
        [sys.executable, str(PROGRAM), str(tmp_path), "0"],
        stdout=subprocess.PIPE,
        text=True,
        start_new_session=True,
        env={**os.environ, "WEB_CONCURRENCY": "1"},
    ) as process:
        assert process.stdout is not None
        yield process, process.stdout.readline().strip()
        process.kill()


def _family(process: subprocess.Popen[str]) -> list[psutil.Process]:
    return psutil.Process(process.pid).children(recursive=True)


def _ask(address: str, data: bytes | None = None) -> dict:
    request = urllib.request.Request(address, data)
    if data is not None:
        request.add_header("Content-Type", "multipart/form-data; boundary=x")
    with urllib.request.urlopen(request, timeout=60) as response:
        return json.load(response)


def _upload(address: str) -> dict:
    body = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\nabc\r\n--x--\r\n'
    return _ask(f"{address}/jobs", body)


def _await_done(address: str, job: dict) -> dict:
    for _ in range(600):
        if (found := _ask(f"{address}/jobs/{job['id']}"))["state"] not in ("queued", "running"):
            return found
        time.sleep(0.1)
    raise TimeoutError(found)


@pytest.mark.parametrize("ended_by", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_it_serves_works_and_ends_whole(server, ended_by):
    process, address = server
    assert _ask(f"{address}/healthz")["status"] == "ok"
    assert _await_done(address, _upload(address))["state"] == "done"
    family = _family(process)
    assert len(family) >= 3, "gunicorn's worker, ours, and the process that its sandboxes are forked from"
    process.send_signal(ended_by)
    process.wait(30)
    assert process.returncode == (0 if ended_by != signal.SIGKILL else -signal.SIGKILL)
    _gone, alive = psutil.wait_procs(family, timeout=30)
    assert alive == []


def test_a_killed_worker_is_started_again(server):
    process, address = server
    first = _await_done(address, _upload(address))
    [worker] = [each for each in _family(process) if "be_worker" in " ".join(each.cmdline())]
    worker.kill()
    worker.wait(10)
    assert _ask(f"{address}/jobs/{first['id']}/result") == {"sizes": [3], "opened": False}
    again = _ask(
        f"{address}/jobs",
        b'--x\r\nContent-Disposition: form-data; name="file"; filename="b.pdf"\r\n\r\nfour\r\n--x--\r\n',
    )
    assert _await_done(address, again)["state"] == "done"
