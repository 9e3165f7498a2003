"""How fast this machine reads memory: the limit of decoding one sequence, which reads each weight once a token."""

from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from evident_core.bench.timing import seconds

Words = npt.NDArray[np.int64]

MEMORY_BYTES = 1 << 30
"""More than any cache holds."""

TRIES = 12


@dataclass(frozen=True)
class Bandwidth:
    """Bytes per second when memory is only read.

    Attributes:
        threads: That read, each its own part.
        memory: From a range that no cache holds.
        model: From a range as large as the model's int8 weights, again and again: part of it stays in the cache.
        model_bytes: The size of that range.
    """

    threads: int
    memory: float
    model: float
    model_bytes: int


class BandwidthBench:
    """Measured in a worker; ``run`` gives :class:`Bandwidth` as a dictionary."""

    def run(self, threads: int, model_bytes: int) -> dict[str, Any]:
        """The best of several tries each: a limit is what can be reached."""
        memory = np.zeros(MEMORY_BYTES // 8, np.int64)
        memory += 1  # so that each page is a page of its own
        model = memory[: model_bytes // 8]
        return asdict(
            Bandwidth(threads, _read_rate(memory, threads, TRIES // 3), _read_rate(model, threads, TRIES), model_bytes)
        )


def _read_rate(data: Words, threads: int, tries: int) -> float:
    """The better of two ways to read: NumPy's vectorised reduction, and a dot product, which has two streams."""
    parts = np.array_split(data, threads)
    with ThreadPoolExecutor(threads) as pool:
        return max(
            data.nbytes / min(seconds(lambda: list(pool.map(way, parts))) for _ in range(tries))  # noqa: B023  # now
            for way in (_fold, _dot)
        )


def _fold(part: Words) -> object:
    return np.bitwise_or.reduce(part)


def _dot(part: Words) -> object:
    first, second = np.array_split(part.view(np.float64)[: part.size // 2 * 2], 2)
    return np.dot(first, second)
