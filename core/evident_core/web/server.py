"""Serve the services from one command: gunicorn for the pages, and beside it a worker process that is watched over."""

import logging
import os
import pickle
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping
from contextlib import nullcontext
from typing import Any, Final, Self

from flask import Flask
from gunicorn.app.base import BaseApplication  # type: ignore[import-untyped]
from gunicorn.arbiter import Arbiter  # type: ignore[import-untyped]
from gunicorn.errors import HaltServer  # type: ignore[import-untyped]

from evident_core.errors import Conflict, EvidentError, ModelNotReady
from evident_core.settings import Settings
from evident_core.web import gunicorn_conf, logs

_log = logging.getLogger("evident.jobs")

_WATCH_SECONDS: Final = 0.2
_RESTART_SECONDS: Final = 0.5
_STOP_SECONDS: Final = 20


def serve(
    settings: Settings,
    create: Callable[[Settings], Flask],
    on_ready: Callable[[str], None] | None = None,
    *,
    jobs: bool = True,
    options: Mapping[str, Any] | None = None,
) -> None:
    """Serve the app that ``create`` makes, and do its jobs, until SIGTERM or SIGINT.

    Args:
        settings: All settings.
        create: Makes the app; called in each process that serves.
        on_ready: Told the address when it can be opened.
        jobs: Whether it has any; without, there is no worker process, whatever the settings say.
        options: Settings of gunicorn that differ from those in `gunicorn_conf`.

    Raises:
        InvalidInput: It would be open to other machines without a key, or a URL is not one of a store or queue.
        MissingExtra: The driver of the store or queue is not installed.
        Conflict: Another program listens there.
        ModelNotReady: The store does not answer, or the app could not be made.
    """
    _refuse_what_cannot_start(settings)
    _refuse_taken_port(settings)
    server = _Server(settings, create, on_ready, options or {})
    logs.configure(settings.web.log_level)
    with EmbeddedWorker(settings) if jobs and settings.jobs.embedded else nullcontext():
        owner = os.getpid()
        try:
            server.run()
        except (HaltServer, SystemExit) as ended:
            # A process that gunicorn forked comes by here too, and only ends.
            if isinstance(ended, SystemExit) and (ended.code != Arbiter.WORKER_BOOT_ERROR or os.getpid() != owner):
                raise
            raise ModelNotReady("The server could not start; the log above says why.") from None


class EmbeddedWorker:
    """A worker process beside a server: started again when it ends unasked, and ended with the server."""

    def __init__(self, settings: Settings) -> None:
        self._settings, self._owner = settings, os.getpid()
        self._closing = threading.Event()
        self._watch = threading.Thread(target=self._watch_over, name="worker-watch", daemon=True)
        self.process = self._begin()

    def __enter__(self) -> Self:
        self._watch.start()
        return self

    def __exit__(self, *_: object) -> None:
        if os.getpid() != self._owner:
            return  # A process that gunicorn forked leaves the block too, and ends what is its own only.
        self._closing.set()
        self._watch.join()
        self.process.terminate()
        try:
            self.process.communicate(timeout=_STOP_SECONDS)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.communicate()

    def _begin(self) -> subprocess.Popen[bytes]:
        # A new interpreter, not a fork: the server has threads. It reads its settings from a pipe, and ends with it.
        process = subprocess.Popen(  # noqa: S603
            [sys.executable, "-P", "-c", f"from {__name__} import be_worker; be_worker()"],
            stdin=subprocess.PIPE,
            env={**os.environ, "PYTHONPATH": os.pathsep.join(filter(None, sys.path))},
            start_new_session=True,
        )
        assert process.stdin is not None  # noqa: S101  # because of PIPE above
        pickle.dump(self._settings, process.stdin)
        process.stdin.flush()
        return process

    def _watch_over(self) -> None:
        while not self._closing.wait(_WATCH_SECONDS):
            if self.process.poll() is not None:
                _log.warning("the worker process ended; starting another")
                if self.process.stdin is not None:
                    self.process.stdin.close()
                time.sleep(_RESTART_SECONDS)
                self.process = self._begin()


def be_worker() -> None:
    """Be the process that :class:`EmbeddedWorker` starts."""
    from evident_core.web import worker

    settings: Settings = pickle.load(sys.stdin.buffer)  # noqa: S301  # what our own parent process wrote
    logs.configure(settings.web.log_level)
    stop = threading.Event()

    def end_with_parent() -> None:
        sys.stdin.buffer.read()
        stop.set()

    threading.Thread(target=end_with_parent, daemon=True).start()
    worker.run_worker(settings, stop)


class _Server(BaseApplication):  # type: ignore[misc]  # gunicorn has no types
    """Gunicorn, set up by our settings instead of its own command line."""

    def __init__(
        self,
        settings: Settings,
        create: Callable[[Settings], Flask],
        on_ready: Callable[[str], None] | None,
        options: Mapping[str, Any],
    ) -> None:
        self._settings, self._create, self._on_ready, self._options = settings, create, on_ready, options
        super().__init__()

    def load_config(self) -> None:
        given: dict[str, Any] = {
            name: value for name, value in vars(gunicorn_conf).items() if name in self.cfg.settings
        }
        host = f"[{self._settings.web.host}]" if ":" in self._settings.web.host else self._settings.web.host
        given |= {
            "bind": f"{host}:{self._settings.web.port}",
            "loglevel": "warning",
            "proc_name": "evident",
            "when_ready": self._when_ready,
            **self._options,
        }
        for name, value in given.items():
            self.cfg.set(name, value)

    def _when_ready(self, server: Any) -> None:
        if self._on_ready is not None:
            host, port = server.LISTENERS[0].sock.getsockname()[:2]
            self._on_ready(f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}")

    def load(self) -> Flask:
        try:
            return self._create(self._settings)
        except EvidentError as error:
            logs.log.error(error.message)  # a sentence for a person, not a defect
            sys.exit(Arbiter.WORKER_BOOT_ERROR)


def _refuse_what_cannot_start(settings: Settings) -> None:
    """Say it before gunicorn and the worker start, whose processes could only fail one by one."""
    from evident_core.web.audit import Audit
    from evident_core.web.auth import Keys, refuse_open_doors
    from evident_core.web.jobs import Jobs
    from evident_core.web.store import Store

    with Store(settings) as store, Jobs(store, settings):
        refuse_open_doors(settings, Keys(store, Audit(store)))


def _refuse_taken_port(settings: Settings) -> None:
    family = socket.AF_INET6 if ":" in settings.web.host else socket.AF_INET
    with socket.socket(family) as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((settings.web.host, settings.web.port))
        except OSError as error:
            raise Conflict(
                f"{settings.web.host}:{settings.web.port} cannot be listened on ({error.strerror}); "
                "choose another with --port.",
                port=settings.web.port,
            ) from None
