"""Run a function in a process of its own, with limits on memory, processor and time.

Files come from strangers, and some are made to exhaust whoever opens them. Here they exhaust a process that is ended,
and the caller is told which limit it was. The limits are on resources: the process has its user's rights to all else.
"""

import contextlib
import functools
import multiprocessing
import os
import resource
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, Final, TypeVar, cast

from evident_core.errors import EvidentError, ResourceExceeded
from evident_core.progress import OnProgress, Progress
from evident_core.settings import MIB, SandboxSettings

ResultT = TypeVar("ResultT")

TICK_SECONDS: Final = 0.1

_context = multiprocessing.get_context("forkserver")


class Defect(RuntimeError):
    """The function raised something that is no answer to a person: of type ``kind``, at the last of ``frames``.

    The message is the error's own, and may quote the file: not for logs.
    """

    def __init__(self, kind: str, message: str, frames: list[str]) -> None:
        super().__init__(kind, message, frames)
        self.kind, self.message, self.frames = kind, message, frames

    def __str__(self) -> str:
        return f"{self.kind}: {self.message}"


def preload(modules: Iterable[str]) -> None:
    """Import modules once, in the process that others are forked from: a start then costs milliseconds.

    Waits for it. To be called before the first :func:`run` of this process; a module that cannot be imported is left
    to that.
    """
    _context.set_forkserver_preload([__name__, *modules])
    ready = _context.Process(target=_nothing, name="evident-ready")
    ready.start()
    ready.join()


def run(
    function: Callable[..., ResultT],
    *args: Any,
    limits: SandboxSettings,
    on_progress: OnProgress | None = None,
    on_tick: Callable[[], None] | None = None,
) -> ResultT:
    """Call ``function(*args)`` in a process of its own and return what it returns. All of it must be picklable.

    Args:
        function: A module's function.
        *args: Its arguments.
        limits: What the process may use.
        on_progress: Called here with what the function reports; the function is given an ``on_progress`` of its own.
        on_tick: Called here about ten times a second. When it or ``on_progress`` raises, the process is ended, and that
            error is this function's.

    Raises:
        ResourceExceeded: A limit was reached, or the process crashed.
        EvidentError: The function raised it.
        Defect: The function raised anything else.
    """
    here, there = _context.Pipe()
    with tempfile.TemporaryDirectory(prefix="evident-", ignore_cleanup_errors=True) as scratch:
        process = _context.Process(
            target=_inside,
            args=(there, scratch, limits, function, args, on_progress is not None),
            name=f"evident-{function.__name__}",
            daemon=True,
        )
        process.start()
        there.close()
        try:
            return cast(ResultT, _wait(process, here, limits, on_progress, on_tick))
        finally:
            _end(process)
            here.close()


def _wait(
    process: BaseProcess,
    here: Connection,
    limits: SandboxSettings,
    on_progress: OnProgress | None,
    on_tick: Callable[[], None] | None,
) -> object:
    deadline = time.monotonic() + limits.wall_seconds
    allowed: float | None = None
    while True:
        if here.poll(TICK_SECONDS):
            try:
                kind, value = here.recv()
            except (EOFError, ConnectionResetError):
                raise _death(process, limits) from None
            if kind == "begin":
                allowed = value + limits.memory_mib * MIB
            elif kind == "progress" and on_progress is not None:
                on_progress(value)
            elif kind == "result":
                return value
            elif kind == "error":
                raise value
            elif kind == "memory":
                raise _out_of_memory(limits)
        if time.monotonic() > deadline:
            raise ResourceExceeded(
                f"Reading the file took more than {limits.wall_seconds:g} seconds, which is all that is allowed; "
                "raise sandbox.wall_seconds if the file is to be trusted.",
                limit="wall_seconds",
                wall_seconds=limits.wall_seconds,
            )
        if allowed is not None and _resident_bytes(process.pid) > allowed:
            raise _out_of_memory(limits)
        if on_tick is not None:
            on_tick()


def _death(process: BaseProcess, limits: SandboxSettings) -> ResourceExceeded:
    process.join(5)
    code = process.exitcode or 0
    if code == -signal.SIGXCPU:
        return ResourceExceeded(
            f"Reading the file took more than {limits.cpu_seconds} seconds of processor time, which is all that is "
            "allowed; raise sandbox.cpu_seconds if the file is to be trusted.",
            limit="cpu_seconds",
            cpu_seconds=limits.cpu_seconds,
        )
    if code == -signal.SIGKILL:  # Nobody here has sent it: it was the kernel, short of memory.
        return _out_of_memory(limits)
    how = signal.Signals(-code).name if code < 0 else f"exit code {code}"
    return ResourceExceeded(
        f"The file crashed the program that reads it ({how}), most often by asking for more than the "
        f"{limits.memory_mib} MiB of memory that are allowed.",
        limit="memory_mib",
        memory_mib=limits.memory_mib,
        ended_by=how,
    )


def _out_of_memory(limits: SandboxSettings) -> ResourceExceeded:
    return ResourceExceeded(
        f"Reading the file takes more than {limits.memory_mib} MiB of memory, which is all that is allowed; "
        "raise sandbox.memory_mib if the file is to be trusted.",
        limit="memory_mib",
        memory_mib=limits.memory_mib,
    )


def _end(process: BaseProcess) -> None:
    if process.pid is not None:
        # The whole group, so that a program which the function started ends too. Too early, there is no group yet.
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(process.pid, signal.SIGKILL)
        process.kill()
        process.join()


def _nothing() -> None:
    """Run to show that the other process is there."""


# --- in the other process ---------------------------------------------------------------------------------------------


def _inside(
    there: Connection,
    scratch: str,
    limits: SandboxSettings,
    function: Callable[..., object],
    args: tuple[object, ...],
    with_progress: bool,
) -> None:
    os.setsid()  # Ctrl-C is for the caller, who ends this process.
    tempfile.tempdir = os.environ["TMPDIR"] = scratch
    threading.Thread(target=_end_with_caller, args=(there,), daemon=True).start()
    there.send(("begin", _resident_bytes(os.getpid())))
    _limit(limits)
    if with_progress:
        function = functools.partial(function, on_progress=functools.partial(_report, there))
    try:
        answer = ("result", function(*args))
    except MemoryError:
        answer = ("memory", None)
    except EvidentError as error:
        answer = ("error", error)
    except Exception as error:
        answer = ("error", _defect(error))
    try:
        there.send(answer)
    except MemoryError:
        there.send(("memory", None))
    except Exception as error:
        there.send(("error", _defect(error)))


def _report(there: Connection, progress: Progress) -> None:
    there.send(("progress", progress))


def _defect(error: Exception) -> Defect:
    frames = [f"{each.filename}:{each.lineno} {each.name}" for each in traceback.extract_tb(error.__traceback__)]
    return Defect(type(error).__name__, str(error), frames)


def _end_with_caller(there: Connection) -> None:
    """The caller never sends: what comes is the end of the line, and nobody waits for an answer any more."""
    with contextlib.suppress(EOFError, OSError):
        there.recv()
    os.killpg(0, signal.SIGKILL)


def _limit(limits: SandboxSettings) -> None:
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    _lower(resource.RLIMIT_CPU, int(time.process_time()) + limits.cpu_seconds)
    if sys.platform == "linux":
        # Data, not address space: what PyTorch and fonts only map costs no memory.
        _lower(resource.RLIMIT_DATA, _data_bytes() + limits.memory_mib * MIB)


def _lower(what: int, limit: int) -> None:
    hard = resource.getrlimit(what)[1]
    resource.setrlimit(what, (limit if hard == resource.RLIM_INFINITY else min(limit, hard), hard))


def _data_bytes() -> int:
    return int(Path("/proc/self/statm").read_text().split()[5]) * resource.getpagesize()


def _resident_bytes(pid: int | None) -> int:
    """What a process holds in memory; 0 where the system does not tell, or the process has ended."""
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except OSError:
        return 0
