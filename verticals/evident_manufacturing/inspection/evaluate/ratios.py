"""Ratios of times: two ways of doing the same, in turns in one run, so that others on the machine slow both."""

import time
from collections.abc import Callable

import numpy as np

from evident_core.evidence import Frozen


class Ratio(Frozen):
    """One comparison.

    Attributes:
        name: What is compared with what.
        target: What the value should be: at least, or with ``at_most`` at most.
        value: How many times longer theirs takes; with ``at_most``, ours. None: not measured.
        ours: Milliseconds, median.
        theirs: Milliseconds, median.
        note: Why it was not measured, or what to know of it.
    """

    name: str
    target: float
    at_most: bool = False
    value: float | None = None
    ours: float | None = None
    theirs: float | None = None
    note: str = ""


def in_turns(works: dict[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Milliseconds of each work, median over rounds in which all have a turn, after one turn to get warm."""
    took: dict[str, list[float]] = {name: [] for name in works}
    for number in range(rounds + 1):
        for name, work in works.items():
            began = time.perf_counter()
            work()
            if number:
                took[name].append((time.perf_counter() - began) * 1e3)
    return {name: float(np.median(each)) for name, each in took.items()}


def ratio(name: str, target: float, ours: float, theirs: float, note: str = "") -> Ratio:
    """How many times longer theirs takes; both in milliseconds."""
    return Ratio(
        name=name,
        target=target,
        value=round(theirs / ours, 3),
        ours=round(ours, 3),
        theirs=round(theirs, 3),
        note=note,
    )
