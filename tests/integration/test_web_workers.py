"""The figures of several worker processes are one sum, whichever of them is asked, and whichever has ended."""

import os
import re
import signal
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import psutil
import pytest

REQUESTS = 24


def fetch(url: str) -> str:
    with urllib.request.urlopen(url, timeout=10) as answer:
        return answer.read().decode()


def wait_until(condition, seconds: float = 60) -> None:
    until = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < until, "it did not come about"
        time.sleep(0.1)


@pytest.fixture
def metrics_folder(tmp_path: Path) -> Path:
    folder = tmp_path / "metrics"
    folder.mkdir()
    return folder


@pytest.fixture
def server(tmp_path: Path, metrics_folder: Path) -> Iterator[tuple[str, psutil.Process]]:
    """``evident serve`` with two gunicorn workers and no queue worker."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    environment = {
        **os.environ,
        "EVIDENT_STORE__DATA_DIR": str(tmp_path / "data"),
        "EVIDENT_JOBS__EMBEDDED": "false",
        "PROMETHEUS_MULTIPROC_DIR": str(metrics_folder),
        "WEB_CONCURRENCY": "2",
    }
    command = [sys.executable, "-c", "from evident_core.cli import main; main()", "serve", "--port", str(port)]
    with (tmp_path / "log").open("w") as log:
        process = subprocess.Popen(command, env=environment, cwd=tmp_path, stderr=log)
    url = f"http://127.0.0.1:{port}"

    def answers() -> bool:
        assert process.poll() is None, (tmp_path / "log").read_text()
        try:
            return bool(fetch(f"{url}/healthz"))
        except OSError:
            return False

    try:
        wait_until(answers)
        yield url, psutil.Process(process.pid)
    finally:
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0


def counted(url: str) -> int:
    labels = 'method="GET",route="/",service="landing",status="200"'
    found = re.search(rf"evident_requests_total\{{{labels}\}} (\S+)", fetch(f"{url}/metrics"))
    return int(float(found[1])) if found else 0


@pytest.mark.slow
def test_counters_of_all_workers_are_summed_and_survive_them(server, metrics_folder):
    url, arbiter = server
    workers = arbiter.children()
    assert len(workers) == 2
    asked = 0

    def both_have_counted() -> bool:
        nonlocal asked
        fetch(f"{url}/")
        asked += 1
        return len(list(metrics_folder.glob("counter_*.db"))) == 2 and asked >= REQUESTS

    wait_until(both_have_counted)
    assert {counted(url) for _ in range(8)} == {asked}

    workers[0].kill()
    wait_until(lambda: len([each for each in arbiter.children() if each.pid != workers[0].pid]) == 2)
    fetch(f"{url}/")
    assert {counted(url) for _ in range(8)} == {asked + 1}
    assert 'evident_jobs{service="finance",state="queued"} 0.0' in fetch(f"{url}/metrics")
