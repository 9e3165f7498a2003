"""Functions that tests run in the sandbox: well-behaved, failing and hostile ones."""

import ctypes
import json
import os
import signal
import subprocess
import tempfile
import time
from pathlib import Path

from evident_core.errors import PasswordNeeded
from evident_core.progress import OnProgress, Progress
from evident_core.work import Work


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


# --- as a service's jobs ----------------------------------------------------------------------------------------------


def count_bytes(work: Work, *, on_progress: OnProgress) -> bytes:
    """Return how long each input is, telling a first fact on the way; ``slow`` seconds are spent in between."""
    on_progress(Progress(stage="ingest", done=0, total=2))
    if log := work.options.get("log"):
        with Path(log).open("a") as file:
            file.write(f"{work.inputs[0].name}\n")
    on_progress(Progress(stage="perceive", done=1, total=2, partial={"first": work.inputs[0].name}))
    time.sleep(work.options.get("slow", 0))
    if work.options.get("password") is None and work.secrets.get("password") == "wrong":
        raise PasswordNeeded("The password is not the file's.")
    sizes = [each.path.stat().st_size for each in work.inputs]
    return json.dumps({"sizes": sizes, "opened": "password" in work.secrets}).encode()


def fail_at_work(work: Work, *, on_progress: OnProgress) -> bytes:
    raise ZeroDivisionError("a defect")
