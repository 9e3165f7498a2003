"""The loop that takes events from an outbox to one destination, and waits longer the longer that does not answer.

Waiting is counted on the monotonic clock, so a wall clock that is set has no part in it.
"""

import logging
import random
import threading
import time
from dataclasses import dataclass
from typing import Final, Protocol

from evident_core.errors import EvidentError
from evident_manufacturing.delivery.outbox import Outbox, Queued, Receipt

logger = logging.getLogger(__name__)

_IDLE_SECONDS: Final = 1.0
_MAX_HELD: Final = 1000


class Sink(Protocol):
    """A destination. It connects by itself when it must, and never raises for a network that fails: it says so."""

    name: str

    def send(self, batch: list[Queued]) -> Receipt:
        """Send a batch and return what the destination confirmed, within a bounded time."""
        ...

    def idle(self, station_problem: str = "") -> str:
        """Called while there is nothing to send: be there; why that is not so, or an empty text.

        Args:
            station_problem: Why the station gives no images at present, for who has a word for that; empty: it does.
        """
        ...

    def close(self) -> None:
        """Take leave of the destination."""
        ...


class Stopped(EvidentError):
    """A destination said that this agent must not go on, for example because another has taken its id."""

    status, code, title = 409, "stopped", "This agent must not go on"


@dataclass(frozen=True, slots=True)
class Backoff:
    """How long to wait after the n-th failure in a row: doubling, with half of it left to chance, up to a limit.

    Attributes:
        first: Seconds after the first failure.
        longest: Seconds that are never exceeded, except where the destination itself asks for more.
        asked_longest: Seconds that a destination may ask for.
    """

    first: float = 0.5
    longest: float = 30.0
    asked_longest: float = 300.0

    def seconds(self, failures: int, asked: float | None = None) -> float:
        """The wait after so many failures in a row (from 1), or what the destination asked for where that is more."""
        whole = min(self.longest, self.first * 2.0 ** min(failures - 1, 30))
        # Chance keeps a hall of agents from coming back at one moment after an outage.
        chosen = whole * random.uniform(0.5, 1.0)  # noqa: S311
        return max(chosen, min(asked or 0.0, self.asked_longest))


class Courier:
    """Delivers one outbox to one sink.

    Args:
        outbox: Open.
        sink: Where to.
        limit: Events of a batch.
        max_bytes: Of a batch.
        backoff: After failures.

    Attributes:
        problem: Why nothing arrives at present; empty while things do.
        delivered: Events delivered since this was made.
        failures: Batches in a row of which nothing arrived.
        station_problem: Why the station gives no images at present; set by the agent.
    """

    def __init__(
        self,
        outbox: Outbox,
        sink: Sink,
        *,
        limit: int = 200,
        max_bytes: int = 1 << 20,
        backoff: Backoff | None = None,
    ) -> None:
        self.outbox, self.sink = outbox, sink
        self.problem, self.delivered, self.failures = "", 0, 0
        self.station_problem = ""
        self._limit, self._max_bytes = limit, max_bytes
        self._backoff = backoff or Backoff()
        self._held: dict[int, float] = {}

    def step(self) -> float | None:
        """Send one batch.

        Returns:
            Seconds to wait before the next; 0: there is more; None: nothing is there to send.

        Raises:
            Stopped: The destination says that this agent must not go on.
        """
        now = time.monotonic()
        self._held = {sequence: until for sequence, until in self._held.items() if until > now}
        batch = self.outbox.next_batch(self._limit, max_bytes=self._max_bytes, held=self._held)
        if not batch:
            if problem := self._idle():
                return self._failed(problem, None)
            self.failures, self.problem = 0, ""
            return min(self._held.values()) - now if self._held else None
        try:
            receipt = self.sink.send(batch)
            # Where this fails they arrived, and that is not written down: they go again, under the same ids.
            self.outbox.settle(batch, receipt)
        except Stopped:
            raise
        except EvidentError as error:
            return self._failed(str(error), None)
        taken = sum(1 for each in batch if each.sequence in receipt.delivered)
        self.delivered += taken
        for each in batch:
            if each.sequence in receipt.refused:
                logger.error("%s refuses part %s: %s", self.sink.name, each.part_id, receipt.refused[each.sequence])
        if not taken and not receipt.refused:
            return self._failed(receipt.problem or "nothing was confirmed", receipt.retry_after)
        if self.failures:
            logger.info("%s answers again after %d failures.", self.sink.name, self.failures)
        self.failures, self.problem = 0, receipt.problem
        for each in batch:  # what alone fails waits alone, so that it does not hold up the other parts
            settled = each.sequence in receipt.delivered or each.sequence in receipt.refused
            if not settled and len(self._held) < _MAX_HELD:
                pause = self._backoff.seconds(each.attempts + 1, receipt.retry_after)
                self._held[each.sequence] = time.monotonic() + pause
        return 0.0

    def run(self, stop: threading.Event) -> None:
        """Deliver until ``stop`` is set; then the sink is closed.

        Raises:
            Stopped: The destination says that this agent must not go on.
        """
        try:
            while not stop.is_set():
                pause = self.step()
                if pause is None:
                    self.outbox.wait(_IDLE_SECONDS)
                elif pause:
                    stop.wait(pause)
        finally:
            self.sink.close()

    def drain(self, seconds: float) -> bool:
        """Deliver what waits, for at most so long; whether nothing is left to send."""
        end = time.monotonic() + seconds
        while (left := end - time.monotonic()) > 0:
            pause = self.step()
            if pause is None or not self.outbox.waiting:
                return True
            time.sleep(min(pause, left))
        return self.outbox.waiting == 0

    def _idle(self) -> str:
        try:
            return self.sink.idle(self.station_problem)
        except Stopped:
            raise
        except EvidentError as error:
            return str(error)

    def _failed(self, problem: str, asked: float | None) -> float:
        self.failures += 1
        pause = self._backoff.seconds(self.failures, asked)
        if problem != self.problem:  # the same trouble is told once and not at each try
            logger.warning("%s does not take events: %s (again in %.1f s)", self.sink.name, problem, pause)
        self.problem = problem
        return pause
