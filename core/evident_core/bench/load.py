"""What else the machine does meanwhile: figures from a busy one are not figures."""

import os
import resource
import time
from pathlib import Path

_STAT = Path("/proc/stat")


class OtherLoad:
    """The share of all cores' time that others take from now on, as Linux counts it."""

    def __init__(self) -> None:
        self._began, self._all, self._own = time.monotonic(), _all_seconds(), _own_seconds()

    def share(self) -> float | None:
        """Since the beginning; processes that this one started count as its own once they have ended."""
        if self._all is None or (now := _all_seconds()) is None:
            return None
        others = (now - self._all) - (_own_seconds() - self._own)
        return max(0.0, others / ((time.monotonic() - self._began) * (os.cpu_count() or 1)))


def _all_seconds() -> float | None:
    """Seconds that any core did something, or would have if the host had let it (steal)."""
    if not _STAT.exists():
        return None
    user, nice, system, _idle, _waiting, *interrupts = map(int, _STAT.read_text().split("\n", 1)[0].split()[1:9])
    return (user + nice + system + sum(interrupts)) / os.sysconf("SC_CLK_TCK")


def _own_seconds() -> float:
    used = (resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN))
    return sum(each.ru_utime + each.ru_stime for each in used)
