"""A process of its own for each contestant: pinned, with as many threads as it is given, and asked line by line.

Requests and answers are JSON, a line each. What a library prints goes to standard error and cannot disturb them.
"""

import json
import os
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Sequence
from contextlib import suppress
from importlib import import_module
from pathlib import Path
from types import TracebackType
from typing import IO, Any, Self

from evident_core.bench.timing import THREAD_VARIABLES, pin
from evident_core.errors import EvidentError

_PATH = "__path__"


class WorkerFailed(EvidentError):
    """A contestant could not do what it was asked; the message is what it said."""


class Worker:
    """An object in another process.

    Args:
        target: ``module:class``; it is built there without arguments.
        cpus: Cores that the process may run on; its libraries get as many threads.
        most_seconds: After which a call that is not answered ends the process, and not the whole measurement.
    """

    def __init__(self, target: str, cpus: Sequence[int], most_seconds: float = 900) -> None:
        environment = os.environ | dict.fromkeys(THREAD_VARIABLES, str(len(cpus))) | {"TOKENIZERS_PARALLELISM": "false"}
        self.target, self._most_seconds = target, most_seconds
        self._said = tempfile.TemporaryFile("w+", errors="replace")  # noqa: SIM115  # closed with the process
        self._process = subprocess.Popen(  # noqa: S603  # this file, in this interpreter
            [sys.executable, "-m", __name__, target, ",".join(map(str, cpus))],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=self._said,
            text=True,
            env=environment,
        )

    def call(self, method: str, **arguments: object) -> Any:  # JSON
        """Call a method there, with arguments and a result that JSON can carry; paths may be arguments too.

        Raises:
            WorkerFailed: The method raised an error, or the process ended.
        """
        asked, answers = self._process.stdin, self._process.stdout
        assert asked is not None and answers is not None  # noqa: S101, PT018  # pipes, as asked for
        patience = threading.Timer(self._most_seconds, self._process.kill)
        patience.start()
        began = time.monotonic()
        try:
            asked.write(json.dumps([method, arguments], default=_path_out) + "\n")
            asked.flush()
            line = answers.readline()
        except BrokenPipeError:
            line = ""
        finally:
            patience.cancel()
        if not line:
            code = self._process.wait()
            self._said.seek(0)
            last = self._said.read().strip().rpartition("\n")[2]
            waited = time.monotonic() - began >= self._most_seconds
            late = f" It had not answered for {self._most_seconds:g} s." if waited else ""
            raise WorkerFailed(f"{self.target} ended with code {code} while asked to {method}.{late} {last}".strip())
        answer = json.loads(line)
        if "error" in answer:
            raise WorkerFailed(f"{self.target} could not {method}: {answer['error']}")
        return answer["result"]

    def close(self) -> None:
        """End the process."""
        for pipe in (self._process.stdin, self._process.stdout):
            if pipe is not None:
                with suppress(BrokenPipeError):
                    pipe.close()
        try:
            self._process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            self._process.kill()
            self._process.wait()
        self._said.close()

    def __enter__(self) -> Self:
        """The worker, whose process ends with the block."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, traceback: TracebackType | None
    ) -> None:
        """End the process."""
        self.close()


def serve(target: str, requests: IO[str], answers: IO[str]) -> None:
    """Build the object and answer requests until there are no more."""
    module, name = target.split(":")
    served = getattr(import_module(module), name)()
    for line in requests:
        method, arguments = json.loads(line, object_hook=_path_in)
        try:
            answer = {"result": getattr(served, method)(**arguments)}
        except Exception as error:  # told to whoever asked
            answer = {"error": f"{type(error).__name__}: {error}"}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


def _path_out(value: object) -> dict[str, str]:
    if isinstance(value, Path):
        return {_PATH: str(value)}
    raise TypeError(f"{value!r} cannot be sent to a worker.")


def _path_in(value: dict[str, Any]) -> object:
    return Path(value[_PATH]) if _PATH in value else value


def main(target: str, cores: str) -> None:
    """Pin this process before any library is loaded, keep the pipe for answers, and serve."""
    pin([int(core) for core in cores.split(",")])
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    serve(target, sys.stdin, answers)


if __name__ == "__main__":
    main(*sys.argv[1:])
