"""Settings of gunicorn for all services.

``gunicorn -c python:evident_core.web.gunicorn_conf 'evident_core.web.service:serve_all()'`` serves them.

Each worker process keeps its own counters in a shared folder; ``/metrics`` of any worker sums them. The folder is named
before anything imports prometheus_client, which looks for it when it is imported.
"""

import os
import shutil
import tempfile
from typing import Any

_FOLDER = "PROMETHEUS_MULTIPROC_DIR"
_made = _FOLDER not in os.environ
if _made:
    os.environ[_FOLDER] = tempfile.mkdtemp(prefix="evident-metrics-")

workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
# Each server-sent event stream occupies a thread.
worker_class = "gthread"
threads = 16
timeout = 60
graceful_timeout = 20
keepalive = 5
max_requests = 10_000
max_requests_jitter = 1_000
# The frame writes its own structured access log.
accesslog = None


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001
    """Let go of the gauges of a worker that has ended; its counters stay in the sum."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:  # noqa: ARG001
    """Remove the folder of counters if it was made here."""
    if _made:
        shutil.rmtree(os.environ[_FOLDER], ignore_errors=True)
