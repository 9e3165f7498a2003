"""What a person must see to at the station: told once when it begins and once when it is over, as events of the outbox.

A full disk keeps its own alarm from being written: it waits here, with its time, and follows when there is room again.
What was told to have begun is remembered in the outbox, so that an agent that was started again tells when it is over;
and so is how many refused images no event has told of yet.
"""

import logging
import time
from collections import deque
from contextlib import suppress
from datetime import UTC, datetime
from typing import Final

from evident_core.errors import EvidentError
from evident_manufacturing.delivery.events import ALARM_CODES, alarm_of
from evident_manufacturing.delivery.outbox import Outbox

logger = logging.getLogger(__name__)

_UNTOLD: Final = "refused images that no event tells of"
_MOST: Final = 200
_SOON: Final = 1.0
_LATE: Final = 60.0
"""Seconds between two events of refused images: the first pause, which doubles, and the longest."""


class Alarms:
    """The alarms of one agent.

    Args:
        outbox: Where their events go.
        station: The inspection point.
        events: Whether there are events at all, or only the log and the metrics.

    Attributes:
        raised: The message of each alarm that is not over, by its code.
    """

    def __init__(self, outbox: Outbox, station: str, *, events: bool = True) -> None:
        self._outbox, self._station, self._events = outbox, station, events
        told = outbox.notes() if events else {}
        self.raised: dict[str, str] = {code: told[name] for code in ALARM_CODES if (name := self._note(code)) in told}
        self._waiting: deque[tuple[str, bool, str, str, datetime, int]] = deque(maxlen=_MOST)
        untold, _, last = told.get(self._note(_UNTOLD), "0").partition("\n")  # of before the start
        self._untold = int(untold)
        self._refused: tuple[int, str, str] = (self._untold, last, "")
        self._pause, self._next = _SOON, 0.0

    def tell(self, code: str, message: str, part_id: str = "") -> None:
        """Say why there is an alarm, or with an empty message that there is none; what is known already is not said.

        Args:
            code: One of :data:`~evident_manufacturing.delivery.events.ALARM_CODES`.
            message: A sentence for a person.
            part_id: The part that shows it.
        """
        if bool(message) == (code in self.raised):
            return
        self._tell_refused(at_once=True)
        if message:
            self.raised[code] = message
            logger.error("Alarm %s: %s", code, message)
        else:
            message = self.raised.pop(code)
            logger.info("Alarm %s is over.", code)
        if self._events:
            self._waiting.append((code, code in self.raised, message, part_id, datetime.now(UTC), 1))
        self.flush()

    def refuse(self, message: str, part_id: str = "") -> None:
        """Tell of an image that cannot be inspected, until :meth:`tell` says that ``image_refused`` is over.

        Each is counted: the first is told at once, and those that follow it soon together, in fewer and fewer events.

        Args:
            message: A sentence for a person.
            part_id: The part that the image is of, as far as is known.
        """
        if "image_refused" not in self.raised:
            logger.error("Alarm image_refused: %s", message)
            self._pause, self._next = _SOON, 0.0
        self.raised["image_refused"] = message
        self._refused = (self._refused[0] + 1, message, part_id)
        self._untold += 1
        if not self._tell_refused() and self._events:
            with suppress(EvidentError):  # a full disk: it is told of, if this process lives to see room again
                self._outbox.put([], notes={self._note(_UNTOLD): f"{self._untold}\n{message}"})
        self.flush()

    def close(self) -> None:
        """Leave nothing untold that there is room for."""
        self._tell_refused(at_once=True)
        self.flush()

    def _tell_refused(self, *, at_once: bool = False) -> bool:
        """Let an event tell of them, when it is time; whether it is."""
        images, message, part_id = self._refused
        if not images or not (at_once or time.monotonic() >= self._next):
            return False
        self._next, self._pause = time.monotonic() + self._pause, min(2 * self._pause, _LATE)
        self._refused = (0, "", "")
        if self._events:
            said = message if images == 1 else f"{images} images could not be inspected. The last: {message}"
            self._waiting.append(("image_refused", True, said, part_id, datetime.now(UTC), images))
        return True

    def flush(self) -> None:
        """Put into the outbox what waits to be told; what does not fit waits on."""
        self._tell_refused()
        while self._waiting:
            code, raised, message, part_id, at, images = self._waiting[0]
            try:
                number = self._outbox.count(f"alarm {self._station}")
                event = alarm_of(
                    code,
                    station=self._station,
                    number=number,
                    raised=raised,
                    message=message,
                    at=at,
                    part_id=part_id,
                    images=images,
                )
                notes = {self._note(code): message if raised else None}
                told = images if code == "image_refused" and raised else 0
                if told:
                    left = self._untold - told
                    notes[self._note(_UNTOLD)] = f"{left}\n{self._refused[1] or message}" if left else None
                self._outbox.put([event], notes=notes)
            except EvidentError:
                return  # it is what the alarm is about, or is told by the next part
            self._untold -= told
            self._waiting.popleft()

    def _note(self, code: str) -> str:
        return f"alarm {self._station} {code}"
