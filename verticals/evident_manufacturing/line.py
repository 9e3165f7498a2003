"""What a line's page shows: the last boards, throughput and yield, control charts, and alarms."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Final, Literal

from sqlalchemy import select

from evident_core.evidence import Frozen
from evident_core.web.frame import current_frame
from evident_core.web.tables import OPEN_STATES, Input, Job, JobInput, now
from evident_manufacturing.desk import TASK, Options, Record, light
from evident_manufacturing.inspection.assess.camera import frozen_camera
from evident_manufacturing.inspection.assess.spc import (
    Chart,
    Drift,
    mean_drift,
    mix_drift,
    p_chart,
    score_drift,
    u_chart,
)
from evident_manufacturing.inspection.schema import Decision
from evident_manufacturing.texts import text

WINDOW: Final = 240
"""Boards that the figures are made of, the newest."""
RECENT: Final = 20
"""Boards that drift compares with those before them."""
SAMPLE: Final = 5
"""Boards in a row that make a sample of the control charts."""
Level = Literal["watch", "alarm"]


class Board(Frozen):
    """One board of the line: its job, and its record once it is inspected."""

    job_id: str
    name: str
    state: str
    created: datetime
    finished: datetime | None = None
    error: dict[str, Any] | None = None
    result_id: str | None = None
    options: Options
    record: Record | None = None

    @property
    def part_id(self) -> str:
        """Which part it is, as far as is known."""
        return self.record.inspection.part.part_id if self.record else self.options.part_id or self.name

    @property
    def decision(self) -> Decision | None:
        """What was decided; None before it is."""
        return self.record.inspection.verdict.decision if self.record else None


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


class Sample(Frozen):
    """Boards in a row: how many, how many of them were not accepted, and how many defects they have."""

    boards: int
    bad: int
    defects: int


class LastBoard(Frozen):
    """One board as a line of the list."""

    job_id: str
    part_id: str
    state: str
    decision: Decision | None
    weak: bool
    defects: int
    finished: datetime | None


class Line(Frozen):
    """The line's figures over its last boards.

    Attributes:
        boards: How many were inspected; a part that was inspected again counts once, by its newest verdict.
        waiting: How many wait or are being inspected.
        failed: How many pictures could not be inspected.
        accepted: Share of the boards; None: there are none.
        last_hour: Boards inspected within the last hour.
        per_minute: Pace of the newest twenty; None: fewer than two.
        milliseconds: Median time of a whole inspection without its report.
        p: Chart of the share of boards that were not accepted; None: no boards.
        u: Chart of defects per board.
        drift: Of what is measured on each board, the newest twenty against those before.
    """

    boards: int
    waiting: int
    failed: int
    decisions: dict[Decision, int]
    weak: int
    accepted: float | None
    last_hour: int
    per_minute: float | None
    milliseconds: float | None
    samples: tuple[Sample, ...]
    p: Chart | None
    u: Chart | None
    drift: dict[str, Drift]
    alarms: tuple[Alarm, ...]
    last: tuple[LastBoard, ...]


def window(limit: int = WINDOW) -> tuple[Board, ...]:
    """The caller's last boards, the newest first."""
    frame = current_frame()
    query = (
        select(Job.id, Input.name, Job.state, Job.created, Job.finished, Job.error, Job.result_id, Job.options)
        .join(JobInput, JobInput.job_id == Job.id)
        .join(Input, Input.id == JobInput.input_id)
        .where(Job.owner == frame.caller.id, Job.service == TASK.service, JobInput.position == 0)
        .order_by(Job.created.desc())
        .limit(limit)
    )
    with frame.store.reading() as session:
        rows = session.execute(query).all()
    return tuple(
        Board(
            job_id=row.id,
            name=row.name,
            state=row.state,
            created=row.created,
            finished=row.finished,
            error=row.error,
            result_id=row.result_id,
            options=Options.model_construct(**row.options),
            record=light(row.result_id) if row.result_id else None,
        )
        for row in rows
    )


def line(boards: Sequence[Board], size: int = SAMPLE) -> Line:
    """The figures of a line.

    Args:
        boards: The newest first.
        size: Boards in a row that make a sample.
    """
    newest = _newest(boards)
    done = newest[::-1]  # in the order of time, as charts go
    records = [record for board in done if (record := board.record)]
    decisions = Counter(record.inspection.verdict.decision for record in records)
    samples = tuple(_samples(records, size))
    counted = [each.boards for each in samples]
    p = p_chart([each.bad for each in samples], counted) if samples else None
    u = u_chart([each.defects for each in samples], counted) if samples else None
    drift = _drift(records)
    hour = now() - timedelta(hours=1)
    return Line(
        boards=len(records),
        waiting=sum(board.state in OPEN_STATES for board in boards),
        failed=sum(board.state == "failed" for board in boards),
        decisions={decision: decisions[decision] for decision in Decision},
        weak=sum(record.inspection.verdict.weak for record in records),
        accepted=decisions[Decision.ACCEPT] / len(records) if records else None,
        last_hour=sum(board.finished is not None and board.finished > hour for board in done),
        per_minute=_pace(done),
        milliseconds=median(times) if (times := [_took(record) for record in records]) else None,
        samples=samples,
        p=p,
        u=u,
        drift=drift,
        alarms=(*_frozen(done), *_pictures(done), *_out_of_control(p, u), *_drifted(drift)),
        last=tuple(
            LastBoard(
                job_id=board.job_id,
                part_id=board.part_id,
                state=board.state,
                decision=board.decision,
                weak=bool(board.record and board.record.inspection.verdict.weak),
                defects=len(board.record.inspection.defects) if board.record else 0,
                finished=board.finished,
            )
            for board in boards[:RECENT]
        ),
    )


def _newest(boards: Sequence[Board]) -> list[Board]:
    """The inspected boards, each part once."""
    parts: dict[str, Board] = {}
    for board in boards:
        if board.record:
            parts.setdefault(board.part_id, board)
    return list(parts.values())


def _samples(records: Sequence[Record], size: int) -> Iterator[Sample]:
    for first in range(0, len(records), size):
        each = [record.inspection for record in records[first : first + size]]
        bad = sum(inspection.verdict.decision is not Decision.ACCEPT for inspection in each)
        yield Sample(boards=len(each), bad=bad, defects=sum(len(inspection.defects) for inspection in each))


def _pace(done: Sequence[Board]) -> float | None:
    times = [board.finished for board in done[-RECENT:] if board.finished]
    took = (max(times) - min(times)).total_seconds() if len(times) > 1 else 0.0
    return (len(times) - 1) / took * 60 if took > 0 else None


def _took(record: Record) -> float:
    return record.inspection.milliseconds.get("whole", 0.0)


def _drift(records: Sequence[Record]) -> dict[str, Drift]:
    before, recent = records[:-RECENT], records[-RECENT:]

    def kinds(part: Sequence[Record]) -> Counter[str]:
        return Counter(defect.kind for record in part for defect in record.inspection.defects)

    def scores(part: Sequence[Record]) -> list[float]:
        return [defect.score for record in part for defect in record.inspection.defects]

    def statistic(name: str, part: Sequence[Record]) -> list[float]:
        return [getattr(record.statistics, name) for record in part]

    means = {
        name: mean_drift(statistic(name, before), statistic(name, recent))
        for name in ("brightness", "contrast", "sharpness")
    }
    return {
        "kinds": mix_drift(kinds(before), kinds(recent)),
        "scores": score_drift(scores(before), scores(recent)),
    } | means


def _frozen(done: Sequence[Board]) -> Iterator[Alarm]:
    """A camera whose last frames are one frame; by camera, since several may send to one line."""
    frames: dict[str, list[Board]] = {}
    for board in done:
        if board.record:
            frames.setdefault(board.record.inspection.part.camera, []).append(board)
    for camera, them in frames.items():
        if frozen_camera([board.record.pixels for board in them if board.record]):
            yield _alarm("frozen_camera", "alarm", job_id=them[-1].job_id, camera=camera or "–", part=them[-1].part_id)


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


def _drifted(drift: dict[str, Drift]) -> Iterator[Alarm]:
    for name, each in drift.items():
        if each.state in ("watch", "alarm"):
            level: Level = "alarm" if each.state == "alarm" else "watch"
            yield _alarm(f"drift_{name}", level, distance=f"{each.distance or 0.0:.2f}")


def _alarm(code: str, level: Level, *, job_id: str | None = None, **values: str) -> Alarm:
    message = text(f"alarm.{code}", "en", **values)
    return Alarm(code=code, level=level, values=values, message=message, job_id=job_id)
