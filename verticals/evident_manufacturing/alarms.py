"""What a person should look at on a line: its cameras, its newest pictures, its charts, and what drifts."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Final, Literal

from evident_core.evidence import Frozen
from evident_manufacturing.inspection.assess.camera import frozen_camera
from evident_manufacturing.inspection.assess.spc import Chart, Drift
from evident_manufacturing.texts import text

if TYPE_CHECKING:
    from evident_manufacturing.line import Board

RECENT: Final = 20
"""Boards that drift compares with those before them."""
_REPEATS: Final = 5
Level = Literal["watch", "alarm"]


class Alarm(Frozen):
    """Something about the line that a person should look at.

    Attributes:
        code: For programs, and the key of its text.
        values: What the text names.
        job_id: The board that shows it, where there is one.
        message: The text in English.
    """

    code: str
    level: Level
    values: dict[str, str]
    message: str
    job_id: str | None = None


def alarms(done: Sequence[Board], charts: Sequence[Chart | None], drift: Mapping[str, Drift]) -> Iterator[Alarm]:
    """The alarms of a line.

    Args:
        done: Its inspected boards in the order of time.
        charts: Of the share that was not accepted, and of defects.
        drift: Of what is measured on each board, by name.
    """
    yield from _frozen(done)
    yield from _pictures(done)
    yield from _out_of_control(*charts)
    yield from _drifted(drift)


def _frozen(done: Sequence[Board]) -> Iterator[Alarm]:
    """A camera whose last frames are one frame; by camera, since several may send to one line.

    Only of boards with a named camera: equal pictures of a folder are no fault. What an agent tells of is left out, for
    it looks at its camera itself and sends an alarm of its own.
    """
    frames: dict[str, list[Board]] = {}
    for board in done:
        if board.record and board.record.inspection.part.camera and not board.told:
            frames.setdefault(board.record.inspection.part.camera, []).append(board)
    for camera, them in frames.items():
        if frozen_camera([board.record.pixels for board in them if board.record], _REPEATS):
            yield _alarm("frozen_camera", "alarm", job_id=them[-1].job_id, camera=camera, part=them[-1].part_id)


def _pictures(done: Sequence[Board]) -> Iterator[Alarm]:
    """What is wrong with the newest pictures."""
    for board in done[-RECENT:][::-1]:
        record = board.record
        if record and record.half_scan:
            yield _alarm("half_scan", "alarm", job_id=board.job_id, part=board.part_id, border=record.half_scan)
        for remark in record.remarks if record else ():
            if remark.code in ("over_exposed", "under_exposed", "blurred"):
                yield _alarm(remark.code, "watch", job_id=board.job_id, part=board.part_id)


def _out_of_control(*charts: Chart | None) -> Iterator[Alarm]:
    for chart in charts:
        for rule in chart.points[-1].signals if chart else ():
            level: Level = "alarm" if rule == "beyond_3_sigma" else "watch"
            yield _alarm(f"chart_{rule}", level, chart=chart.kind if chart else "")


def _drifted(drift: Mapping[str, Drift]) -> Iterator[Alarm]:
    for name, each in drift.items():
        if each.state in ("watch", "alarm"):
            level: Level = "alarm" if each.state == "alarm" else "watch"
            yield _alarm(f"drift_{name}", level, distance=f"{each.distance or 0.0:.2f}")


def _alarm(code: str, level: Level, *, job_id: str | None = None, **values: str) -> Alarm:
    message = text(f"alarm.{code}", "en", **values)
    return Alarm(code=code, level=level, values=values, message=message, job_id=job_id)
