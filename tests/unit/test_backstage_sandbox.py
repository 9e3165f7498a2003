"""The sandbox passes on what goes well, and ends what does not."""

import importlib
import os
import time
from pathlib import Path
from types import ModuleType

import pytest

from evident_core import sandbox
from evident_core.errors import Cancelled, PasswordNeeded, ResourceExceeded
from evident_core.progress import Progress
from evident_core.settings import SandboxSettings

LIMITS = SandboxSettings(memory_mib=128, cpu_seconds=30, wall_seconds=60)


@pytest.fixture
def functions(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(Path(__file__).parent))
    return importlib.import_module("backstage_functions")


def test_result_comes_back(functions):
    assert sandbox.run(functions.add, 2, 3, limits=LIMITS) == 5


def test_progress_comes_back_in_order(functions):
    seen: list[Progress] = []
    assert sandbox.run(functions.report, 3, limits=LIMITS, on_progress=seen.append) == 3
    assert [progress.done for progress in seen] == [0, 1, 2]


def test_evident_errors_cross_intact(functions):
    with pytest.raises(PasswordNeeded) as caught:
        sandbox.run(functions.refuse, limits=LIMITS)
    assert caught.value.message == "The file is encrypted; give its password."
    assert caught.value.details == {"tried": 1}


def test_a_defect_keeps_its_traceback(functions):
    with pytest.raises(sandbox.Defect, match="ZeroDivisionError: a defect") as caught:
        sandbox.run(functions.fail, limits=LIMITS)
    assert caught.value.kind == "ZeroDivisionError"
    assert "backstage_functions.py" in caught.value.frames[-1]


def test_a_result_that_cannot_cross_is_a_defect(functions):
    with pytest.raises(sandbox.Defect, match="pickle"):
        sandbox.run(functions.unpicklable, limits=LIMITS)


@pytest.mark.parametrize(
    ("name", "limits", "limit"),
    [
        ("fill_memory", LIMITS, "memory_mib"),
        ("fill_memory_in_c", LIMITS, "memory_mib"),
        ("crash", LIMITS, "memory_mib"),
        ("burn", SandboxSettings(cpu_seconds=1), "cpu_seconds"),
        ("sleep", SandboxSettings(wall_seconds=0.5), "wall_seconds"),
    ],
)
def test_exhaustion_names_the_limit(functions, name, limits, limit):
    with pytest.raises(ResourceExceeded) as caught:
        sandbox.run(getattr(functions, name), limits=limits)
    assert caught.value.details["limit"] == limit
    assert f"{getattr(limits, limit):g}" in caught.value.message


def test_cancelling_ends_the_process_and_all_it_started(functions, tmp_path):
    note = tmp_path / "pid"

    def cancel_when_started() -> None:
        if note.exists() and note.read_text():
            raise Cancelled("Taken back.")

    with pytest.raises(Cancelled):
        sandbox.run(functions.leave_behind, str(note), limits=LIMITS, on_tick=cancel_when_started)
    assert _gone(int(note.read_text()))


def test_temporary_files_go_with_the_process(functions):
    left = sandbox.run(functions.scratch, limits=LIMITS)
    assert not Path(left).exists()


def _gone(pid: int) -> bool:
    for _ in range(100):
        try:
            state = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0]
        except FileNotFoundError:
            return True
        if state == "Z":
            return True
        time.sleep(0.05)
    os.kill(pid, 9)
    return False
