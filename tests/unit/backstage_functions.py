"""Functions that tests run in the sandbox: well-behaved, failing and hostile ones."""

import ctypes
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from evident_core.errors import PasswordNeeded
from evident_core.progress import OnProgress, Progress


def add(a: int, b: int) -> int:
    return a + b


def report(count: int, *, on_progress: OnProgress) -> int:
    for done in range(count):
        on_progress(Progress(stage="perceive", done=done, total=count))
    return count


def refuse() -> None:
    raise PasswordNeeded("The file is encrypted; give its password.", tried=1)


def fail() -> None:
    raise ZeroDivisionError("a defect")


def fill_memory() -> None:
    kept = []
    while True:
        kept.append(bytes(16 << 20))


def fill_memory_in_c() -> None:
    libc = ctypes.CDLL(None)
    libc.malloc.restype = ctypes.c_void_p
    libc.malloc.argtypes = [ctypes.c_size_t]
    while True:
        block = libc.malloc(16 << 20)
        ctypes.memset(block, 1, 16 << 20)  # a null block crashes, as it does in a careless parser


def crash() -> None:
    os.kill(os.getpid(), signal.SIGSEGV)


def burn() -> None:
    while True:
        pass


def sleep() -> None:
    time.sleep(600)


def leave_behind(note: str) -> None:
    """Start a program that outlives its parent, write down its process id, and wait."""
    child = subprocess.Popen(["sleep", "600"])
    Path(note).write_text(str(child.pid))
    time.sleep(600)


def scratch() -> str:
    return tempfile.mkstemp()[1]


def unpicklable() -> object:
    return lambda: None
