"""Events of parts that nobody made, for endurance and for tests: the same number gives the same event."""

import hashlib
from datetime import UTC, datetime
from typing import Final

from evident_core.evidence import InputRef, Report
from evident_manufacturing.delivery.events import Event, event_of
from evident_manufacturing.inspection.schema import Decision, Defect, Inspection, Part, Reason, Seen, Verdict

STATION: Final = "endurance"
_BEGINNING: Final = datetime(2026, 1, 1, tzinfo=UTC)


def specimen(number: int) -> Event:
    """The event of the n-th generated part; the same number gives the same event."""
    defect = Defect(number=1, kind="short", bbox=(10.0, 20.0, 31.5, 44.0), score=0.97, seen=Seen.BOTH)
    sha256 = hashlib.sha256(f"board {number}".encode()).hexdigest()
    return event_of(
        Inspection(
            part=Part(part_id=f"board-{number:06d}", product="demo", lot=f"lot-{number // 500}", camera="top"),
            input=InputRef(sha256=sha256, name="board.png"),
            template=None,
            width=640,
            height=640,
            alignment=None,
            calibration=None,
            defects=(defect,),
            facts=(),
            claims=(),
            verdict=Verdict(
                decision=Decision.REJECT, specification="demo@1", reasons=(Reason(rule="short", defects=(1,)),)
            ),
            report=Report(title={"en": "Board"}, inputs=(), facts=(), claims=(), sections=()),
            model="generated",
            version="1",
        ),
        station=STATION,
        inspected=_BEGINNING,
    )
