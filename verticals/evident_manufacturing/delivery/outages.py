"""What goes wrong between an agent and its MES, for real: a Mosquitto that stops and dies, a wire that is cut.

For :mod:`~evident_manufacturing.delivery.endurance` and for tests; an agent needs none of it.
"""

import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import Final, Self

from evident_core.errors import NotFound

MOSQUITTO: Final = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin")
"""Where the broker is; None: not on this machine."""


def free_port() -> int:
    """A TCP port of 127.0.0.1 that nobody listens on."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


class Broker:
    """Mosquitto on a port of 127.0.0.1, with its memory in a folder.

    Args:
        folder: For its configuration and what it keeps.
        persistent: Whether it keeps sessions and queues when it is stopped.
        extra: Further lines of its configuration.

    Raises:
        NotFound: Mosquitto is not installed.
    """

    def __init__(self, folder: Path, *, persistent: bool = True, extra: Sequence[str] = ()) -> None:
        if MOSQUITTO is None:
            raise NotFound("Mosquitto is not installed: apt-get install mosquitto")
        self.port = free_port()
        self._command = [MOSQUITTO, "-c", str(folder / "mosquitto.conf")]
        lines = [
            f"listener {self.port} 127.0.0.1",
            "allow_anonymous true",
            f"persistence {'true' if persistent else 'false'}",
            f"persistence_location {folder}/",
            "max_queued_messages 0",
            "log_dest stderr",
            "user root",
            *extra,
        ]
        (folder / "mosquitto.conf").write_text("\n".join(lines) + "\n")
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *exception: object) -> None:
        self.stop()

    def start(self) -> None:
        """Start it, and return when it listens.

        Raises:
            TimeoutError: It does not.
        """
        self._process = subprocess.Popen(self._command, stderr=subprocess.DEVNULL)  # noqa: S603
        for _ in range(400):
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.02)
        raise TimeoutError("Mosquitto did not start within 8 s.")

    def stop(self) -> None:
        """As an administrator does: it writes down what it holds."""
        self._end(kill=False)

    def kill(self) -> None:
        """As a power cut does."""
        self._end(kill=True)

    def _end(self, *, kill: bool) -> None:
        process, self._process = self._process, None
        if process is not None:
            if kill:
                process.kill()
            else:
                process.terminate()
            process.wait(20)


class Wire:
    """A TCP proxy: while it is cut, open connections are torn and new ones refused; while stalled, nothing passes.

    Args:
        to_port: Of 127.0.0.1, where it leads.
    """

    def __init__(self, to_port: int) -> None:
        self._to_port = to_port
        self._flows = threading.Event()
        self._flows.set()
        self._pairs: list[socket.socket] = []
        self._lock = threading.Lock()
        self._listener: socket.socket | None = None
        self.port = free_port()

    def __enter__(self) -> Self:
        self.mend()
        return self

    def __exit__(self, *exception: object) -> None:
        self._flows.set()
        self.cut()

    def mend(self) -> None:
        """Let connections be made."""
        listener = socket.create_server(("127.0.0.1", self.port))
        self._listener = listener
        threading.Thread(target=self._accept, args=(listener,), daemon=True).start()

    def cut(self) -> None:
        """Tear all connections, and let none be made."""
        listener, self._listener = self._listener, None
        if listener is not None:
            with suppress(OSError):
                listener.shutdown(socket.SHUT_RDWR)
            listener.close()
        with self._lock:
            for each in self._pairs:
                with suppress(OSError):
                    each.shutdown(socket.SHUT_RDWR)
                each.close()
            self._pairs.clear()

    def stall(self) -> None:
        """Let nothing pass, without tearing anything."""
        self._flows.clear()

    def flow(self) -> None:
        """Let pass what was stalled."""
        self._flows.set()

    def _accept(self, listener: socket.socket) -> None:
        while True:
            try:
                near, _ = listener.accept()
            except OSError:
                return
            try:
                far = socket.create_connection(("127.0.0.1", self._to_port), 5)
            except OSError:
                near.close()
                continue
            with self._lock:
                torn = self._listener is not listener
                if not torn:
                    self._pairs += [near, far]
            if torn:  # cut while this one was made
                near.close()
                far.close()
                return
            for one, other in ((near, far), (far, near)):
                threading.Thread(target=self._pump, args=(one, other), daemon=True).start()

    def _pump(self, one: socket.socket, other: socket.socket) -> None:
        with suppress(OSError):
            while data := one.recv(65536):
                self._flows.wait()
                other.sendall(data)
        with suppress(OSError):
            other.shutdown(socket.SHUT_RDWR)
