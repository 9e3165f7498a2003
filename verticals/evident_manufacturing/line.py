"""What a line's page shows: the last boards, throughput and yield, control charts, and alarms."""

from collections import Counter
from collections.abc import Iterator, Sequence
from datetime import datetime, timedelta
from statistics import median
from typing import Any, Final

from sqlalchemy import Select, select
from sqlalchemy.orm import aliased

from evident_core.evidence import Frozen
from evident_core.web.frame import current_frame
from evident_core.web.tables import OPEN_STATES, Input, Job, JobInput, Revision, now
from evident_manufacturing.alarms import RECENT, Alarm, alarms
from evident_manufacturing.desk import ARRIVED, TASK, Options, Record, light
from evident_manufacturing.inspection.assess.spc import (
    Chart,
    Drift,
    mean_drift,
    mix_drift,
    p_chart,
    score_drift,
    settled,
    u_chart,
)
from evident_manufacturing.inspection.schema import Decision

WINDOW: Final = 240
"""Boards that the figures are made of, the newest."""
SAMPLE: Final = 5
"""Boards in a row that make a sample of the control charts."""
PACED: Final = 5
"""Boards from which on a pace is told."""


class Board(Frozen):
    """One board of the line: its job, and its record once it is inspected.

    Attributes:
        pictured: Its picture is here; an agent may tell of a board without.
        template: The template's picture is.
        told: An agent inspected it, and told of it.
    """

    job_id: str
    name: str
    state: str
    created: datetime
    finished: datetime | None = None
    error: dict[str, Any] | None = None
    result_id: str | None = None
    options: Options
    record: Record | None = None
    pictured: bool = True
    template: bool = False
    told: bool = False

    @property
    def part_id(self) -> str:
        """Which part it is, as far as is known."""
        return self.record.inspection.part.part_id if self.record else self.options.part_id or self.name

    @property
    def revision(self) -> int:
        """Above 1 where the part was inspected again on purpose."""
        if self.record is None:
            return 1
        return (self.record.event or self.record.inspection.part).revision

    @property
    def decision(self) -> Decision | None:
        """What was decided; None before it is."""
        return self.record.inspection.verdict.decision if self.record else None


class Sample(Frozen):
    """Boards in a row: how many, how many of them were not accepted, and how many defects they have."""

    boards: int
    bad: int
    defects: int


class LastBoard(Frozen):
    """One board as a line of the list; ``superseded``: its part has a higher revision."""

    job_id: str
    part_id: str
    revision: int
    superseded: bool
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
        failed: How many pictures could not be inspected, here or by an agent.
        accepted: Share of the boards; None: there are none.
        last_hour: Boards inspected within the last hour.
        per_minute: Pace of the newest twenty; None: fewer than five, of which a pace would say little.
        milliseconds: Median time of a whole inspection without its report.
        p: Chart of the share of boards that were not accepted, with limits from twenty samples on; None: no boards.
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
    return _read(_boards().limit(limit))


def labelled() -> tuple[Board, ...]:
    """All of the caller's boards that have labels, however long ago they came; the newest first."""
    return _read(_boards().where(Job.result_id.in_(select(Revision.result_id))))


def board_of(job_id: str) -> Board | None:
    """The caller's board of a job, whatever became of it; None: there is none."""
    return next(iter(_read(_boards().where(Job.id == job_id))), None)


def boards_of(part_id: str) -> tuple[Board, ...]:
    """The caller's inspected boards of one part, the newest first."""
    given, stem = Job.options["part_id"].as_string(), Input.name.startswith(part_id, autoescape=True)
    found = _read(_boards().where((given == part_id) | ((given == "") & stem)).limit(WINDOW))
    return tuple(board for board in found if board.record and board.part_id == part_id)


def _boards() -> Select[Job, str, str]:
    """Jobs that are boards, the newest first, with the picture's name and the template's id."""
    frame = current_frame()
    first, second = aliased(JobInput), aliased(JobInput)
    return (
        select(Job, Input.name, second.input_id.label("template"))
        .outerjoin(first, (first.job_id == Job.id) & (first.position == 0))
        .outerjoin(Input, Input.id == first.input_id)
        .outerjoin(second, (second.job_id == Job.id) & (second.position == 1))
        .where(Job.owner == frame.caller.id, Job.service == TASK.service, Job.run.in_((TASK.run, ARRIVED)))
        .order_by(Job.created.desc())
    )


def _read(query: Select[Job, str, str]) -> tuple[Board, ...]:
    with current_frame().store.reading() as session:
        rows = session.execute(query).all()
    return tuple(
        Board(
            job_id=job.id,
            name=name or "",
            state=job.state,
            created=job.created,
            finished=job.finished,
            error=job.error,
            result_id=job.result_id,
            options=Options.model_construct(**job.options),
            record=light(job.result_id) if job.result_id else None,
            pictured=name is not None,
            template=template is not None,
            told=job.run == ARRIVED,
        )
        for job, name, template in rows
    )


def line(boards: Sequence[Board], size: int = SAMPLE, told: Sequence[Alarm] = ()) -> Line:
    """The figures of a line.

    Args:
        boards: The newest first.
        size: Boards in a row that make a sample.
        told: Alarms that come from elsewhere, and stand first.
    """
    results = results_of(boards)
    done = [board for board in boards if results.get(board.part_id) is board][::-1]  # by time, as charts go
    records = [record for board in done if (record := board.record)]
    decisions = Counter(record.inspection.verdict.decision for record in records)
    samples = tuple(_samples(records, size))
    counted = [each.boards for each in samples]
    p = settled(p_chart([each.bad for each in samples], counted)) if samples else None
    u = settled(u_chart([each.defects for each in samples], counted)) if samples else None
    drift = _drift(records)
    hour = now() - timedelta(hours=1)
    return Line(
        boards=len(records),
        waiting=sum(board.state in OPEN_STATES for board in boards),
        failed=sum(images_of(board) for board in boards if board.state == "failed"),
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
        alarms=(*told, *alarms(done, (p, u), drift)),
        last=tuple(
            LastBoard(
                job_id=board.job_id,
                part_id=board.part_id,
                revision=board.revision,
                superseded=board.revision < results.get(board.part_id, board).revision,
                state=board.state,
                decision=board.decision,
                weak=bool(board.record and board.record.inspection.verdict.weak),
                defects=len(board.record.inspection.defects) if board.record else 0,
                finished=board.finished,
            )
            for board in boards[:RECENT]
        ),
    )


def images_of(board: Board) -> int:
    """How many pictures a board that could not be inspected stands for: an agent tells of several at once."""
    return int((board.error or {}).get("images", 1))


def results_of(boards: Sequence[Board]) -> dict[str, Board]:
    """The inspected board that is each part's result: of the highest revision, and of those the newest.

    Args:
        boards: The newest first.
    """
    parts: dict[str, Board] = {}
    for board in boards:
        if board.record and board.revision > (parts[board.part_id].revision if board.part_id in parts else 0):
            parts[board.part_id] = board
    return parts


def _samples(records: Sequence[Record], size: int) -> Iterator[Sample]:
    for first in range(0, len(records), size):
        each = [record.inspection for record in records[first : first + size]]
        bad = sum(inspection.verdict.decision is not Decision.ACCEPT for inspection in each)
        yield Sample(boards=len(each), bad=bad, defects=sum(len(inspection.defects) for inspection in each))


def _pace(done: Sequence[Board]) -> float | None:
    times = [board.finished for board in done[-RECENT:] if board.finished]
    took = (max(times) - min(times)).total_seconds() if len(times) >= PACED else 0.0
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
        return [getattr(record.statistics, name) for record in part if record.statistics]

    means = {
        name: mean_drift(statistic(name, before), statistic(name, recent))
        for name in ("brightness", "contrast", "sharpness")
    }
    return {
        "kinds": mix_drift(kinds(before), kinds(recent)),
        "scores": score_drift(scores(before), scores(recent)),
    } | means
