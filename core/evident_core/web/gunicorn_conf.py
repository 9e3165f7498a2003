"""Settings of gunicorn for all services; `server` reads them, and so may ``gunicorn -c``.

Each worker process keeps its own counters in a shared folder; ``/metrics`` of any worker sums them. The folder is named
before a worker imports prometheus_client, which looks for it when it is imported.
"""

import os
import shutil
import tempfile
from typing import Any, Final

METRICS_FOLDER: Final = "PROMETHEUS_MULTIPROC_DIR"

workers = int(os.environ.get("WEB_CONCURRENCY", "2"))
# Each stream of server-sent events occupies a thread; `job_routes` leaves a quarter of them to everybody else.
worker_class = "gthread"
threads = 32
timeout = 60
graceful_timeout = 20
keepalive = 5
max_requests = 10_000
max_requests_jitter = 1_000
# The frame writes its own structured access log.
accesslog = None
# Gunicorn would open one in the home folder, which several servers may share.
control_socket_disable = True


def on_starting(server: Any) -> None:
    """Make a folder for this server's counters, unless whoever starts it names one."""
    server.made_metrics_folder = METRICS_FOLDER not in os.environ
    if server.made_metrics_folder:
        os.environ[METRICS_FOLDER] = tempfile.mkdtemp(prefix="evident-metrics-")


def child_exit(server: Any, worker: Any) -> None:  # noqa: ARG001
    """Let go of the gauges of a worker that has ended; its counters stay in the sum."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """Remove the folder of counters if it was made here."""
    if server.made_metrics_folder:
        shutil.rmtree(os.environ.pop(METRICS_FOLDER), ignore_errors=True)
