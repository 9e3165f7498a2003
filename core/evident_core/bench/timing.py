"""How it is measured: pinned to the same cores, in turns, with medians and their spread.

On a shared machine a figure alone says little. What compares is the ratio of two that were measured in the same round.
"""

import os
import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Self

THREAD_VARIABLES = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS", "RAYON_NUM_THREADS")
"""What the libraries' thread pools read before anything else."""


@dataclass(frozen=True)
class Spread:
    """The median of several measurements, the least and the greatest of them, and how many there were."""

    median: float
    low: float
    high: float
    rounds: int

    @classmethod
    def of(cls, values: Sequence[float]) -> Self:
        """Of at least one value."""
        return cls(statistics.median(values), min(values), max(values), len(values))

    def scaled(self, factor: float) -> "Spread":
        """In another unit."""
        return Spread(self.median * factor, self.low * factor, self.high * factor, self.rounds)


def available_cpus() -> tuple[int, ...]:
    """The cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return tuple(sorted(os.sched_getaffinity(0)))
    return tuple(range(os.cpu_count() or 1))


def pin(cpus: Sequence[int]) -> bool:
    """Keep this process on some cores; whether the system can."""
    if not hasattr(os, "sched_setaffinity"):
        return False
    os.sched_setaffinity(0, cpus)
    return True


def seconds(action: Callable[[], object]) -> float:
    """How long it takes."""
    began = time.perf_counter()
    action()
    return time.perf_counter() - began


def in_turns(
    measures: Mapping[str, Callable[[], float]], rounds: int, told: Callable[[str], None] | None = None
) -> dict[str, list[float]]:
    """Take each measure once a round; each round begins with another one.

    Args:
        measures: What gives one figure, by name.
        rounds: How often.
        told: Called with a line after each round.
    """
    names = list(measures)
    figures: dict[str, list[float]] = {name: [] for name in names}
    for number in range(rounds):
        begin = number % max(1, len(names))
        for name in names[begin:] + names[:begin]:
            figures[name].append(measures[name]())
        if told is not None:
            told(f"round {number + 1} of {rounds}")
    return figures


def ratio(ours: Sequence[float], theirs: Sequence[float]) -> Spread:
    """Ours divided by theirs, round by round."""
    return Spread.of([mine / other for mine, other in zip(ours, theirs, strict=True)])


def fastest(ways: Mapping[str, Callable[[], float]], tries: int = 3) -> str:
    """The name of the way that takes the least seconds; they take turns several times, and the best of each counts."""
    took = in_turns(ways, tries)
    return min(took, key=lambda name: min(took[name]))
