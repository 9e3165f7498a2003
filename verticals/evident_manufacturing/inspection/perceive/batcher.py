"""Many who ask at once: what waits is collected for a moment and computed together, in one call or in some at once."""

import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from types import TracebackType
from typing import Generic, Self, TypeVar

from evident_core.errors import Conflict, InvalidInput

Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class _Asked(Generic[Item, Result]):
    item: Item
    at: float
    answer: Future[Result] = field(default_factory=Future)


class Batcher(Generic[Item, Result]):
    """Collects items until there are enough or the first has waited long enough, and computes them in one call.

    It is a context manager; what was asked before its end is still answered.

    Args:
        work: Gives a result for each of several items, in their order.
        most: Items in one call.
        workers: Calls at once.
        budget: Seconds that an item waits at most for others to come; 0: only what waits already goes along.
        clock: Seconds, monotonic.
    """

    def __init__(
        self,
        work: Callable[[Sequence[Item]], Sequence[Result]],
        *,
        most: int = 8,
        workers: int = 1,
        budget: float = 0.0,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        if min(most, workers) < 1 or not 0 <= budget < float("inf"):
            raise InvalidInput(
                f"Batches of {most} by {workers} workers within {budget} s cannot be made; give at least 1, 1 and 0."
            )
        self._work, self._most, self._budget, self._clock = work, most, budget, clock
        self._waiting: deque[_Asked[Item, Result]] = deque()
        self._changed = threading.Condition()
        self._closed = False
        self._threads = [threading.Thread(target=self._serve, name="batcher", daemon=True) for _ in range(workers)]
        for each in self._threads:
            each.start()

    def submit(self, item: Item) -> Future[Result]:
        """Ask for the result of an item; its error, if it has one, is that of this item alone.

        Raises:
            Conflict: The batcher is closed.
        """
        with self._changed:
            if self._closed:
                raise Conflict("The batcher is closed and takes nothing more.")
            asked: _Asked[Item, Result] = _Asked(item, self._clock())
            self._waiting.append(asked)
            self._changed.notify()
        return asked.answer

    def __call__(self, items: Sequence[Item]) -> list[Result]:
        """The results of several items, as ``work`` would give them, together with what others ask."""
        return [each.result() for each in [self.submit(item) for item in items]]

    def close(self) -> None:
        """Answer what waits, and end."""
        with self._changed:
            self._closed = True
            self._changed.notify_all()
        for each in self._threads:
            each.join()

    def __enter__(self) -> Self:
        """Itself."""
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """Close it."""
        self.close()

    def _serve(self) -> None:
        while batch := self._next():
            live = [each for each in batch if each.answer.set_running_or_notify_cancel()]
            if live:
                self._answer(live)

    def _next(self) -> list[_Asked[Item, Result]]:
        """The next items, when they are due; none: it is closed, and nothing waits."""
        with self._changed:
            while True:
                left = patience([each.at for each in self._waiting], self._clock(), self._most, self._budget)
                if self._closed or left == 0:
                    batch = [self._waiting.popleft() for _ in range(min(self._most, len(self._waiting)))]
                    if self._waiting:
                        self._changed.notify()  # of another worker, who may think that nothing is due yet
                    return batch
                self._changed.wait(left)

    def _answer(self, batch: Sequence[_Asked[Item, Result]]) -> None:
        try:
            results = self._work([each.item for each in batch])
            answered = list(zip(batch, results, strict=True))  # before any of them is told
        except BaseException as error:
            if len(batch) == 1:
                batch[0].answer.set_exception(error)
                return
            for each in batch:  # one of them is at fault, and the others are not to suffer for it
                self._answer([each])
        else:
            for each, result in answered:
                each.answer.set_result(result)


def patience(arrivals: Sequence[float], now: float, most: int, budget: float) -> float | None:
    """Seconds until the items that wait are due: when there are enough, or the first has waited its budget.

    None: nothing waits.
    """
    if not arrivals:
        return None
    return 0.0 if len(arrivals) >= most else max(0.0, arrivals[0] + budget - now)
