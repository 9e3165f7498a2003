"""What ends an agent that hangs, so that its supervisor starts it again; the outbox and the source lose nothing."""

import faulthandler
import logging
import os
import socket
import sys
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from typing import Final, Self

logger = logging.getLogger(__name__)

EXIT_CODE: Final = 70
"""EX_SOFTWARE of sysexits.h: for ``Restart=on-failure``."""


def end_process(silent: float) -> None:
    """Write where each thread is, and end at once: a native call that hangs cannot be interrupted from Python."""
    logger.critical("The agent was silent for %.1f s and ends; its supervisor starts it again.", silent)
    with suppress(Exception):  # stderr may be closed, and ending matters more
        faulthandler.dump_traceback(sys.stderr)
    os._exit(EXIT_CODE)


class Watchdog:
    """Calls ``on_silence`` when :meth:`beat` was not called for too long; tells systemd of beats where it watches too.

    Args:
        limit: Seconds of silence, on the monotonic clock.
        on_silence: Given the seconds; by default ends the process.
    """

    def __init__(self, limit: float, on_silence: Callable[[float], None] = end_process) -> None:
        self._limit, self._on_silence = limit, on_silence
        self._last = time.monotonic()
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._watch, name="watchdog", daemon=True)

    def __enter__(self) -> Self:
        self.beat()
        self._thread.start()
        notify("READY=1")
        return self

    def __exit__(self, *exception: object) -> None:
        self._stop.set()
        self._thread.join()
        notify("STOPPING=1")

    def beat(self) -> None:
        """Say that the agent is alive."""
        self._last = time.monotonic()

    @property
    def silent(self) -> float:
        """Seconds since the last beat."""
        return time.monotonic() - self._last

    def _watch(self) -> None:
        while not self._stop.wait(self._limit / 4):
            if self.silent > self._limit:
                self._on_silence(self.silent)
                return
            notify("WATCHDOG=1")


def notify(state: str) -> None:
    """Tell systemd, where it started this process and listens (sd_notify(3)); else nothing."""
    address = os.environ.get("NOTIFY_SOCKET", "")
    if not address:
        return
    with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as to:
        to.sendto(state.encode(), f"\0{address[1:]}" if address.startswith("@") else address)
