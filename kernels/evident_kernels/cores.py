"""How many cores this process really has: those it may run on, hyper-threads counted once, within its CPU quota."""

import math
import os
from pathlib import Path

_TOPOLOGY = Path("/sys/devices/system/cpu")
_QUOTAS = (Path("/sys/fs/cgroup/cpu.max"), Path("/sys/fs/cgroup/cpu"))


def physical_cores() -> int:
    """Physical cores that the process may run on, no more than its control group's quota; at least 1."""
    if hasattr(os, "sched_getaffinity"):
        logical = sorted(os.sched_getaffinity(0))
        physical = len({_siblings(number) for number in logical})
    else:
        physical = os.cpu_count() or 1
    return max(1, min(physical, _quota()))


def _siblings(number: int) -> str:
    """The logical CPUs of one core, as the system writes them; the number itself where it does not say."""
    try:
        return (_TOPOLOGY / f"cpu{number}/topology/thread_siblings_list").read_text().strip()
    except OSError:
        return str(number)


def _quota() -> int:
    """Whole cores that the control group (version 2, then 1) may use, rounded up; many where there is no limit."""
    unlimited = os.cpu_count() or 1
    unified, legacy = _QUOTAS
    try:
        if unified.exists():
            quota, period = unified.read_text().split()
        else:
            quota, period = ((legacy / f"cpu.cfs_{name}_us").read_text().strip() for name in ("quota", "period"))
        return unlimited if quota in {"max", "-1"} else math.ceil(int(quota) / int(period))
    except (OSError, ValueError):
        return unlimited
