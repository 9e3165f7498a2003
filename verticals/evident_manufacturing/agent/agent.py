"""The loop beside the line: take an image, inspect it, put its event in the outbox; another thread delivers.

The image is let go only when its event is on disk. So a kill at any point gives the part again, and the outbox and the
MES know by its id what they have.
"""

import logging
import threading
import time
from collections.abc import Callable, Sequence
from concurrent.futures import Future, ThreadPoolExecutor, wait
from dataclasses import dataclass
from datetime import UTC, datetime
from functools import partial
from typing import Final, TypeVar

from evident_core.errors import Conflict, EvidentError, ModelNotReady, ResourceExceeded, TooMany
from evident_manufacturing.agent.alarms import Alarms
from evident_manufacturing.agent.metrics import Metrics
from evident_manufacturing.agent.models import IMAGE_AT_FAULT, Inspect, ModelStore
from evident_manufacturing.agent.sources import Source, Taken, Unusable
from evident_manufacturing.agent.watchdog import Watchdog
from evident_manufacturing.delivery.boards import Boards
from evident_manufacturing.delivery.courier import Backoff, Courier, Sink
from evident_manufacturing.delivery.events import event_of
from evident_manufacturing.delivery.outbox import Outbox
from evident_manufacturing.inspection.schema import Inspection, Part

logger = logging.getLogger(__name__)

_T = TypeVar("_T")
_CALM: Final = 10  # tries that go well before an alarm is over: a disk that is nearly full takes one now and then
_SILENCE: Final = 30.0
_LATER: Final = (ResourceExceeded, TooMany, ModelNotReady)


@dataclass(frozen=True, slots=True)
class AgentSettings:
    """How an agent behaves.

    Attributes:
        station: The inspection point, which is in each event's id.
        pause: Seconds between looks at a source that has nothing, or nothing of use.
        retry: Seconds before an image is tried again that failed for a reason of ours: a full disk, no model; or that
            a source goes on giving.
        at_once: Images that are inspected at once where several wait: each by a thread of its own.
        metrics_port: Of ``/metrics`` on ``metrics_host``; None: not served.
    """

    station: str
    pause: float = 0.05
    retry: float = 1.0
    at_once: int = 1
    metrics_port: int | None = None
    metrics_host: str = "127.0.0.1"


class Agent:
    """An agent at a station.

    Two agents cannot share an outbox; that of one station on another computer is refused by the MQTT sink.

    Args:
        settings: See there.
        source: Of images.
        inspect: The whole inspection, or a :class:`~evident_manufacturing.agent.models.ModelStore`; asked by several
            threads where ``at_once`` is more than 1.
        outbox: Open, and this agent's own.
        sink: Where events go; None: they wait.
        backoff: Of the delivery.
        boards: Where a destination that asks for boards finds them; None: they are not held.
        alarms: Of what a person must see to; by default made here, with events in the outbox.
        looked: Told of each part, in the order of their images, when its inspection has ended, well or not.
        watchdog: Has a beat here before each image; who inspects for long gives it more. By default one of 30 seconds.

    Attributes:
        problem: Why this agent does not inspect, or stopped; empty while it does.
    """

    def __init__(
        self,
        settings: AgentSettings,
        source: Source,
        inspect: Inspect,
        outbox: Outbox,
        sink: Sink | None = None,
        *,
        backoff: Backoff | None = None,
        boards: Boards | None = None,
        alarms: Alarms | None = None,
        watchdog: Watchdog | None = None,
        looked: Callable[[Part], None] | None = None,
    ) -> None:
        self.settings, self.source, self.outbox = settings, source, outbox
        self._inspect, self._boards, self._looked = inspect, boards, looked
        self.courier = Courier(outbox, sink, backoff=backoff) if sink is not None else None
        self.alarms = alarms if alarms is not None else Alarms(outbox, settings.station)
        self.metrics = Metrics(lambda: outbox.waiting, lambda: outbox.refused, self.alarms.raised)
        self.problem = ""
        self._watchdog = watchdog if watchdog is not None else Watchdog(_SILENCE)
        self._stop = threading.Event()
        self._stopped_by: BaseException | None = None
        self._told = 0
        self._hindered = time.monotonic()  # an alarm of before the start is not over by having started
        self._model = self._part_id = ""
        self._pool = ThreadPoolExecutor(settings.at_once, "inspect") if settings.at_once > 1 else None

    def run(self) -> None:
        """Inspect until :meth:`stop` is called.

        Raises:
            EvidentError: The delivery may not go on, for example because another agent has this one's id.
        """
        courier = threading.Thread(target=self._deliver, name="courier")
        close_metrics = (
            self.metrics.serve(self.settings.metrics_port, self.settings.metrics_host)
            if self.settings.metrics_port is not None
            else None
        )
        try:
            with self._watchdog:
                courier.start()
                while not self._stop.is_set():
                    self._watchdog.beat()
                    pause = self.step()
                    if pause:
                        self._stop.wait(pause)
        finally:
            if self._pool is not None:
                self._pool.shutdown()
            self.alarms.close()
            self._stop.set()
            if courier.ident is not None:
                courier.join()
            if close_metrics is not None:
                close_metrics()
            self.source.close()
        if self._stopped_by is not None:
            raise self._stopped_by

    def stop(self) -> None:
        """Let :meth:`run` return after the part in hand; safe in a signal handler."""
        # Setting takes the lock that the wait which a signal interrupts may hold: another thread can wait for it.
        threading.Thread(target=self._stop.set, name="stop").start()

    def step(self) -> float:
        """Take one image through, or several that wait; returns the seconds to wait before the next."""
        began = time.perf_counter()
        self._tell()
        self._see_whether_it_is_over()
        taken, pause = self._take()
        for each, answer in zip(taken, self._inspections(taken), strict=True):
            pause = max(pause, self._finish(each, answer, began))
        return pause

    def _take(self) -> tuple[list[Taken], float]:
        """What is to be inspected now; the seconds to wait where there is nothing."""
        taken: list[Taken] = []
        try:
            while len(taken) < self.settings.at_once and (not taken or self.source.waits()):
                one = self.source.next()
                if one is None:
                    break
                taken.append(one)
        except Unusable as error:
            self._fail(error.token, error)
        finally:
            self._see_source()
        return taken, 0.0 if taken else self.settings.pause

    def _inspections(self, taken: Sequence[Taken]) -> list[Callable[[], Inspection]]:
        """What gives the inspection of each, which is made by now, or raises what hindered it."""

        def inspect(each: Taken) -> Inspection:
            return self._timed("inspect", lambda: self._inspect(each.data, each.part))

        if self._pool is not None and len(taken) > 1:
            made = [self._pool.submit(inspect, each) for each in taken]
            wait(made)
        else:
            made = [_done(partial(inspect, each)) for each in taken]
        for each in taken:
            if self._looked is not None:
                self._looked(each.part)
        return [each.result for each in made]

    def _finish(self, taken: Taken, answer: Callable[[], Inspection], began: float) -> float:
        """Put an inspection's event in the outbox and let its image go, or put the image aside."""
        try:
            inspection = answer()
            new = self._timed("enqueue", lambda: self._put(inspection, taken))
        except _LATER as error:
            # The image is sound and stays where it is.
            self.metrics.count_failure(error.code)
            self.problem = error.message
            self.alarms.tell("model_not_ready" if isinstance(error, ModelNotReady) else "outbox_full", error.message)
            self._hindered = time.monotonic()
            return self.settings.retry
        except (*IMAGE_AT_FAULT, Conflict) as error:
            self._fail(taken.token, error, taken.part.part_id)
            return self.settings.pause
        except Exception as error:
            # Whatever one image does to the inspection, the next part is under the camera already.
            logger.exception("The inspection of part %r failed.", taken.part.part_id)
            self._fail(taken.token, error, taken.part.part_id)
            return self.settings.pause
        self._let_go(taken)
        self.alarms.tell("image_refused", "")
        self.metrics.count_part(inspection.verdict.decision.value)
        self.metrics.observe("whole", time.perf_counter() - began)
        self.problem = ""
        again = not new and taken.part.part_id == self._part_id
        self._part_id = taken.part.part_id
        return self.settings.retry if again else 0.0  # a server may have one picture for long

    def _put(self, inspection: Inspection, taken: Taken) -> bool:
        event = event_of(
            inspection, station=self.settings.station, inspected=datetime.now(UTC), revision=taken.revision
        )
        if self._boards is not None:  # first, for the event may leave at once
            self._boards.keep(event, inspection, taken.data)
        try:
            while True:
                try:
                    return self.outbox.put([event])[0]
                except ResourceExceeded:
                    if self._boards is None or not self._boards.give_way():
                        raise
        finally:
            if self._boards is not None and not self.outbox.waits(event.event_id):
                self._boards.drop(event.event_id)  # it was delivered before, or is not put: nobody would let it go

    def _see_whether_it_is_over(self) -> None:
        if time.monotonic() - self._hindered > _CALM * self.settings.retry:
            self.alarms.tell("outbox_full", "")
            self.alarms.tell("model_not_ready", "")
        self.alarms.flush()

    def _see_source(self) -> None:
        problem = self.source.problem
        self.alarms.tell("source_lost", problem)
        if self.courier is not None:
            self.courier.station_problem = problem

    def _let_go(self, taken: Taken) -> None:
        try:
            self.source.done(taken)
        except OSError as error:
            # It is given again, and known: better than to stop for a folder that cannot be written.
            self._say(ResourceExceeded(f"Image {taken.token!r} cannot be put aside: {error}."))

    def _fail(self, token: str, error: Exception, part_id: str = "") -> None:
        self.metrics.count_failure(getattr(error, "code", "error"))
        logger.warning("Image %r was put aside: %s", token, error)
        named = f"Image {token!r}" if token else "An image"  # a server may give no name
        self.alarms.refuse(f"{named} could not be inspected: {error}", part_id)
        try:
            self.source.failed(token, str(error))
        except OSError as refused:
            self._say(ResourceExceeded(f"Image {token!r} cannot be put aside: {refused}."))
            self._stop.wait(self.settings.retry)

    def _say(self, error: EvidentError) -> None:
        self.metrics.count_failure(error.code)
        if error.message != self.problem:
            logger.error("%s", error.message)
        self.problem = error.message

    def _timed(self, step: str, work: Callable[[], _T]) -> _T:
        began = time.perf_counter()
        result = work()
        self.metrics.observe(step, time.perf_counter() - began)
        return result

    def _deliver(self) -> None:
        if self.courier is None:
            return
        try:
            self.courier.run(self._stop)
        except BaseException as error:  # told to the caller of run(), which it must not outlive
            self._stopped_by = error
            self.problem = str(error)
            self._stop.set()

    def _tell(self) -> None:
        if self.courier is not None:
            self.metrics.count_delivered(self.courier.delivered - self._told)
            self._told = self.courier.delivered
        if isinstance(self._inspect, ModelStore) and self._inspect.pointer.current != self._model:
            self._model = self._inspect.pointer.current
            self.metrics.use_model(self._model)


def _done(work: Callable[[], Inspection]) -> "Future[Inspection]":
    """What work gave or raised."""
    future: Future[Inspection] = Future()
    try:
        future.set_result(work())
    except Exception as error:
        future.set_exception(error)
    return future
