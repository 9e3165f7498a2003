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


def _upload(address: str, content: bytes) -> dict:
    head = b'--x\r\nContent-Disposition: form-data; name="file"; filename="a.pdf"\r\n\r\n'
    return _ask(f"{address}/jobs", head + content + b"\r\n--x--\r\n")


def _await_done(address: str, job: dict) -> dict:
    for _ in range(600):
        if (found := _ask(f"{address}/jobs/{job['id']}"))["state"] not in ("queued", "running"):
            return found
        time.sleep(0.1)
    raise TimeoutError(found)


def test_it_serves_works_and_ends_whole(server):
    process, address = server
    assert _ask(f"{address}/healthz")["status"] == "ok"
    first = _upload(address, b"abc")
    assert _await_done(address, first)["state"] == "done"

    [worker] = [each for each in _family(process) if "be_worker" in " ".join(each.cmdline())]
    worker.kill()
    worker.wait(10)
    assert _ask(f"{address}/jobs/{first['id']}/result") == {"sizes": [3], "opened": False}
    assert _await_done(address, _upload(address, b"four"))["state"] == "done"

    family = _family(process)
    assert len(family) >= 3, "gunicorn's worker, ours, and the process that its sandboxes are forked from"
    process.send_signal(signal.SIGINT)
    assert process.wait(30) == 0
    assert psutil.wait_procs(family, timeout=30)[1] == []


def test_killed_it_leaves_nothing_running(server):
    process, address = server
    assert _ask(f"{address}/healthz")["status"] == "ok"
    family = _family(process)
    assert len(family) >= 2
    process.kill()
    process.wait(30)
    assert psutil.wait_procs(family, timeout=60)[1] == []
