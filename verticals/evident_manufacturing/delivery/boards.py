"""Boards whose events wait: their pictures and inspections on disk, for a destination that asks to see them.

An event is small, and goes to every MES. The pages want more: the picture, and the inspection with what it rests on. So
each board is held beside the outbox until its event is delivered; a destination that asks for none lets it go unseen.
"""

import contextlib
import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from evident_manufacturing.delivery.events import Event
from evident_manufacturing.inspection.schema import Inspection

logger = logging.getLogger(__name__)

_IMAGE, _INSPECTION, _PART = ".image", ".json", ".part"
_SUFFIXES: Final = (_INSPECTION, _IMAGE)


@dataclass(frozen=True, slots=True)
class HeldBoard:
    """What is held of one board; ``template`` is the golden sample's picture, None where there is none."""

    inspection: bytes
    image: bytes
    template: Path | None


class Boards:
    """The boards of one outbox; several threads may use it.

    Args:
        folder: Made where it is missing.
        template: The picture of the golden sample that all of them were compared with.
        max_bytes: Beyond which the oldest go: a destination may be away for long, and a disk is not endless.
    """

    def __init__(self, folder: Path, *, template: Path | None = None, max_bytes: int = 512 << 20) -> None:
        self.folder, self._template, self._max_bytes = folder, template, max_bytes
        self._lock = threading.Lock()
        folder.mkdir(parents=True, exist_ok=True)
        for path in folder.glob(f"*{_PART}"):
            path.unlink()
        sizes: dict[str, tuple[float, int]] = {}
        for path in folder.iterdir():
            stat, (age, size) = path.stat(), sizes.get(path.stem, (0.0, 0))
            sizes[path.stem] = max(age, stat.st_mtime), size + stat.st_size
        self._sizes = OrderedDict((name, size) for name, (_, size) in sorted(sizes.items(), key=lambda each: each[1]))
        self._bytes = sum(self._sizes.values())

    def keep(self, event: Event, inspection: Inspection, image: bytes) -> None:
        """Hold a board until :meth:`drop`. A disk that takes no more costs the picture and never the event."""
        said = inspection.model_dump_json().encode()
        with self._lock:
            if event.event_id in self._sizes:
                return  # a part that is given again; another image of it is refused by the outbox
            while self._sizes and self._bytes + len(said) + len(image) > self._max_bytes:
                self._remove(next(iter(self._sizes)))
            if len(said) + len(image) > self._max_bytes:
                return
            try:
                # Not synced: after a power cut the event is there, and at worst has no picture.
                self._write(event.event_id + _IMAGE, image)
                self._write(event.event_id + _INSPECTION, said)
            except OSError as error:
                self._unlink(event.event_id)
                logger.warning("The picture of part %r cannot be held for the pages: %s", event.part_id, error)
                return
            self._sizes[event.event_id] = len(said) + len(image)
            self._bytes += len(said) + len(image)

    def find(self, event_id: str) -> HeldBoard | None:
        """What is held of a board; None where it is not, or not any more."""
        try:
            image, said = (self._path(event_id, suffix).read_bytes() for suffix in (_IMAGE, _INSPECTION))
        except OSError:
            return None
        return HeldBoard(said, image, self._template)

    def drop(self, event_id: str) -> None:
        """Let a board go: its event is delivered."""
        with self._lock:
            self._remove(event_id)

    def give_way(self) -> bool:
        """Let the older half go, so that an event has room on a full disk; whether there were any."""
        with self._lock:
            older = list(self._sizes)[: (len(self._sizes) + 1) // 2]
            for event_id in older:
                self._remove(event_id)
            return bool(older)

    def _remove(self, event_id: str) -> None:
        if (size := self._sizes.pop(event_id, None)) is not None:
            self._bytes -= size
            self._unlink(event_id)

    def _unlink(self, event_id: str) -> None:
        for suffix in _SUFFIXES:
            with contextlib.suppress(OSError):
                self._path(event_id, suffix).unlink()

    def _write(self, name: str, data: bytes) -> None:
        part = self.folder / f"{name}{_PART}"
        part.write_bytes(data)
        part.replace(self.folder / name)

    def _path(self, event_id: str, suffix: str) -> Path:
        return self.folder / f"{event_id}{suffix}"
